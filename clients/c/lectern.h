/* lectern.h: sends read events to a Lectern collector. One header, C99 and POSIX
 * sockets; works in C++.
 *
 * In one source file of a program:
 *
 *     #define LECTERN_IMPLEMENTATION
 *     #include "lectern.h"
 *
 * and in all others the include alone.
 *
 *     lectern_options o = {0};
 *     o.host = "collector.example.net";
 *     lectern *l = lectern_dial(&o);
 *     lectern_add(l, LECTERN_OPEN, lectern_id("slug", 4), lectern_id("reader", 6));
 *     lectern_poll(l);           (now and then: it sends what is old enough)
 *     lectern_close(l, 1000);
 *     lectern_free(l);
 *
 * An emitter allocates when it is dialled and never again, has no threads, and
 * is for one thread at a time: give each its own, or lock. Nothing but
 * lectern_close waits; a name, in place of an address, is resolved by lectern_dial
 * and lectern_poll alone, which takes as long as the resolver does.
 *
 * After fork() the child has an emitter of its own: with the first call it begins
 * a new source over a new socket, its numbers are 0, and what the parent has not
 * sent is the parent's.
 */
#ifndef LECTERN_H
#define LECTERN_H

#include <stddef.h>
#include <stdint.h>

#ifdef __cplusplus
extern "C" {
#endif

/* What a reader did. */
enum lectern_kind {
	LECTERN_OPEN = 0,   /* opened the content */
	LECTERN_READ = 1,   /* kept reading: a heartbeat */
	LECTERN_FINISH = 2, /* reached the end */
	LECTERN_SAVE = 3,   /* kept it for later */
	LECTERN_SHARE = 4,  /* passed it on */
	LECTERN_IMPRESSION = 5, /* was shown the content's headline, where others are listed with it */
	LECTERN_CLICK = 6       /* followed it */
};

/* How events travel. UDP forgets what it has sent; TCP keeps it until the
 * collector has made it durable, and sends it again until then. */
enum lectern_way { LECTERN_UDP = 0, LECTERN_TCP = 1 };

/* What a call says. */
enum lectern_result {
	LECTERN_OK = 0,
	LECTERN_INVALID = 1, /* not what a collector would take; nothing was done */
	LECTERN_CLOSED = 2   /* the emitter is closed */
};

/* One event. Zeroed memory is a good beginning. */
typedef struct lectern_event {
	uint64_t time;    /* Unix milliseconds; 0: now */
	uint64_t content; /* its number, or lectern_id of its text */
	uint64_t user;    /* likewise */
	uint32_t dwell;   /* milliseconds read since this reader's event before on this content; 4 h 39 min at most.
	                   * Of an impression or a click the variant of the headline, 1 to 255; 0 is 1 */
	uint8_t kind;
	uint8_t has_progress;
	uint8_t progress; /* 0 to 100, if has_progress */
} lectern_event;

/* Where the emitter stands between it and the system, for tests and for those
 * whose names are not resolved by getaddrinfo. A null function is the system's. */
typedef struct lectern_hooks {
	void *context;
	/* Milliseconds of the wall's clock, or of the monotonic one. */
	uint64_t (*now)(void *context, int monotonic);
	/* Writes where the host is into a struct sockaddr_storage and returns its size;
	 * 0: it cannot be found. It should not wait. */
	unsigned (*resolve)(void *context, const char *host, uint16_t port, void *address);
	/* send(2) of a datagram, without waiting. */
	long (*send)(void *context, int fd, const void *datagram, size_t size);
} lectern_hooks;

/* What seals frames, so that a collector knows that they are from here, and over TCP this side that
 * the answers are the collector's: C's standard library has neither AES nor HMAC, and this header
 * has none of its own. lectern_openssl.h has both by OpenSSL. */
typedef struct lectern_seal {
	void *context;
	/* HMAC-SHA256 of a message. */
	void (*hmac)(void *context, const uint8_t key[32], const void *message, size_t size, uint8_t mac[32]);
	/* The tag of AES-128-GCM without a plaintext: its nonce has 24 bytes. */
	void (*gmac)(void *context, const uint8_t key[16], const uint8_t nonce[24], const void *data, size_t size, uint8_t tag[16]);
} lectern_seal;

/* Options of an emitter. Every zero stands for its default. */
typedef struct lectern_options {
	const char *host;       /* name or address; "127.0.0.1" */
	uint16_t port;          /* 8420 */
	uint16_t stream;        /* of the application or site, 0 to 65534 */
	enum lectern_way way;   /* LECTERN_UDP */
	uint32_t flush_ms;      /* how long an event waits for others: 250 */
	uint32_t datagram_size; /* largest, over UDP: 1400; 65 to 65507 */
	uint32_t socket_age_ms; /* after which a socket that had events is replaced, over UDP: 300000; 1000 at least */
	uint32_t frame_size;    /* largest, over TCP: 32768; 65 to 65535 */
	uint32_t buffer_size;   /* of frames kept over TCP: 16 MiB; four frames at least */
	const char *key;        /* "EPOCH:SECRET", what a key file holds: seals what is sent. Null: nothing is sealed */
	const char *audience;   /* the collector's, or its cluster's: with a key */
	const lectern_seal *seal; /* with a key; it outlives the emitter */
	lectern_hooks hooks;
} lectern_options;

/* What became of the events. At every instant
 * added = sent + acked + buffered + queue + socket + closed + refused + unsure. */
typedef struct lectern_stats {
	uint64_t added;    /* that lectern_add was given and that were good */
	uint64_t sent;     /* UDP: in datagrams that the kernel took */
	uint64_t acked;    /* TCP: that the collector has made durable */
	uint64_t buffered; /* kept here, sent or not */
	uint64_t queue;    /* dropped: no room here. Numbered: the collector shows them as lost */
	uint64_t socket;   /* dropped: the kernel did not take their datagram. Numbered, too */
	uint64_t closed;   /* that came after lectern_close, or that it gave up */
	uint64_t refused;  /* in frames that the collector refused */
	uint64_t unsure;   /* sent under a source that ended before they were acknowledged */
	uint64_t datagrams, bytes; /* that the kernel took */
	uint64_t unreachable;      /* of sent, those to which the host answered that nobody listens; there may be more */
	uint64_t sources;          /* after the first */
	uint64_t connections;      /* that were answered, over TCP */
} lectern_stats_t;

typedef struct lectern lectern;

/* lectern_dial returns an emitter, or null: then errno is EINVAL for options that
 * make no sense, ENOMEM, or why there is no socket. It does not wait for a
 * connection, nor fail for want of one. */
lectern *lectern_dial(const lectern_options *o);

/* lectern_add takes an event of now. */
int lectern_add(lectern *l, enum lectern_kind kind, uint64_t content, uint64_t user);

/* lectern_add_event takes any event. What there is no room for is dropped and counted, and
 * the result is LECTERN_OK. */
int lectern_add_event(lectern *l, const lectern_event *e);

/* lectern_name says what a content is called: the text of which its id is the hash
 * (lectern_id), 1 to 512 bytes of UTF-8. Call it with each event of the content, or once:
 * it is sent once a day, over UDP, where nobody answers, once an hour. */
int lectern_name(lectern *l, const void *text, size_t size);

/* What lectern_describe says of a content. */
enum lectern_attribute {
	LECTERN_TITLE = 1,
	LECTERN_SECTION = 2,
	LECTERN_AUTHOR = 3,
	LECTERN_PUBLISHED = 4, /* Unix milliseconds, in decimal */
	LECTERN_WORDS = 5      /* how many it has, in decimal */
};

/* lectern_describe says more of a content, by its id, in at most 512 bytes. The last text
 * counts, and an empty one takes it back. It is sent when it changes, and as often as a name. */
int lectern_describe(lectern *l, uint64_t content, enum lectern_attribute what, const void *text, size_t size);

/* lectern_flush sends what waits for others. */
int lectern_flush(lectern *l);

/* lectern_key has what follows sealed by another key: over TCP by a new connection, when what is in
 * flight is acknowledged. */
int lectern_key(lectern *l, const char *key);

/* lectern_poll does what is due: it sends what is old enough, beats, renews,
 * reconnects, reads answers. It returns in how many milliseconds it wants to be called
 * again at the latest; call it earlier where lectern_fd can be read or written. */
uint32_t lectern_poll(lectern *l);

/* lectern_fd is the present socket, -1 for none, and in *events what to wait for on
 * it (POLLIN, POLLOUT). */
int lectern_fd(const lectern *l, short *events);

/* lectern_end begins the end: what waits is sent, over UDP then the last beats; over TCP all
 * that is not acknowledged within so many milliseconds is given up. lectern_poll
 * does it; lectern_ended says when it is done. */
void lectern_end(lectern *l, uint32_t ms);
int lectern_ended(const lectern *l);

/* lectern_close is lectern_end, and waits for it. It returns how many events it gave up. */
uint64_t lectern_close(lectern *l, uint32_t ms);

/* lectern_free gives the memory and the socket back, without a word to the collector. */
void lectern_free(lectern *l);

/* lectern_stats says what became of the events. */
lectern_stats_t lectern_stats(const lectern *l);

/* lectern_source is the number under which the collector knows this emitter. */
uint64_t lectern_source(const lectern *l);

/* lectern_id is the id of content or of a reader that has a text: XXH64, seed 0. */
uint64_t lectern_id(const void *text, size_t size);

#ifdef __cplusplus
}
#endif
#endif /* LECTERN_H */

#ifdef LECTERN_IMPLEMENTATION
#ifndef LECTERN_IMPLEMENTED
#define LECTERN_IMPLEMENTED

#include <errno.h>
#include <fcntl.h>
#include <netdb.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <poll.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

#ifdef __cplusplus
extern "C" {
#endif

#define LECTERN_I_HEADER 40u
#define LECTERN_I_TAG 16u
#define LECTERN_I_EVENT 25u           /* the longest event */
#define LECTERN_I_WIDE 32u            /* room behind a frame, for fields stored eight bytes wide */
#define LECTERN_I_AT_MAX 0xFFFFFFu
#define LECTERN_I_TIME_MAX 0xFFFFFFFFFFFFull
#define LECTERN_I_TIME_MIN 100000000000ull /* before March 1973: these are seconds */
#define LECTERN_I_NUMBER_MAX (1ull << 48)
#define LECTERN_I_RENUMBER (1ull << 47) /* here a source ends long before its numbers do */
#define LECTERN_I_NAME 11u            /* a name's bytes in front of its text */
#define LECTERN_I_NAME_MAX 512u
#define LECTERN_I_SAID 4096u          /* names and attributes that are remembered; a power of two */
#define LECTERN_I_HOUR 3600000u
#define LECTERN_I_BEATS 3
#define LECTERN_I_GAP 20u             /* ms between last beats */
#define LECTERN_I_BEAT_MIN 1000u
#define LECTERN_I_BEAT_MAX 16000u
#define LECTERN_I_RENEW_WAIT 1000u    /* between attempts to replace a socket */
#define LECTERN_I_CONNECT_WAIT 10000u /* for a connection and its first ack */
#define LECTERN_I_SILENCE_MAX 30000u  /* without a word while frames are in flight */
#define LECTERN_I_BACKOFF_MIN 100u
#define LECTERN_I_BACKOFF_MAX 10000u
#define LECTERN_I_ANSWER 600u         /* the largest refusal is 40 + 1 + 255 + 255 bytes */

#if !defined(MSG_NOSIGNAL)
#define MSG_NOSIGNAL 0
#endif

/* A slot of the ring is a header of 16 bytes and a frame, rounded up to 8. */
typedef struct lectern_i_slot {
	uint32_t size; /* of the frame; 0: the ring goes on at its beginning */
	uint32_t refused;
	uint32_t skipped_frames, skipped_events; /* dropped in front of it */
} lectern_i_slot;

/* What was said last of a content. */
typedef struct lectern_i_said {
	uint64_t id, text, at; /* hashes of the content with its attribute, and of the text; monotonic, and 1; 0: none */
} lectern_i_said;

enum lectern_i_state { LECTERN_I_IDLE, LECTERN_I_CONNECTING, LECTERN_I_HELLO, LECTERN_I_LIVE };

struct lectern {
	lectern_options o;
	char *host;
	lectern_stats_t stats;
	unsigned forks;  /* of the process, when this emitter began in it */
	pid_t pid;
	uint64_t random; /* of what need not be secret */

	/* Sealing; without a key all of it is zero. */
	int sealed;
	uint8_t secret[32], epoch, frame_key[16];
	size_t audience_size;
	char audience[64];
	uint64_t last_beat;
	/* Of a session. */
	uint8_t session_epoch, up_key[16], down_key[32], randoms[32], has_keys, rekeyed;

	/* The numbering. */
	uint64_t source, sequence, position;

	/* The frame that is being packed. */
	uint8_t *frame, *spare;
	uint32_t limit, size, count;
	uint64_t oldest, newest; /* Unix milliseconds */
	uint64_t content, user;  /* of the last event */
	uint64_t began;          /* monotonic; valid with count > 0 and stamped */
	int stamped;

	/* Names: a frame of those that wait, and those that were said. */
	uint8_t *names;
	uint32_t names_size; /* 0: none waits */
	uint32_t nameless; /* the collector does not know names */
	uint64_t names_began;
	lectern_i_said *said;

	int fd;
	struct sockaddr_storage address;
	socklen_t address_size;
	uint64_t last_sent, beat_wait;
	int closing, ended;
	uint64_t deadline; /* of closing */

	/* UDP. */
	uint64_t born, tried;     /* of the socket; when a new one was tried */
	int wanted;               /* a new socket is */
	uint64_t last_events;     /* in the last datagram */
	int old_fd, old_beats;    /* a socket that ends, and the beats that it still says */
	uint64_t old_source, old_sequence, old_position, old_due;
	int last_beats;           /* said of the present source, while closing */
	uint64_t last_due;

	/* TCP: a ring of frames, from head to tail; cursor is the next to send. */
	uint8_t *ring, *outgoing; /* outgoing: a sealed frame */
	size_t ring_size, head, tail, cursor;
	size_t frames, ahead; /* in the ring; of them from the cursor on */
	uint32_t skipped_frames, skipped_events; /* behind the newest */
	enum lectern_i_state state;
	uint64_t retry, since, heard;
	unsigned tries;
	int progress;
	uint64_t sent_below; /* sequences that a send was tried of are below */
	uint64_t sent_before, begin; /* sent_below when the connection began; first sequence on it */
	int started;
	uint64_t spool, durable, credit, flight;
	int has_spool;
	size_t partial; /* bytes of the frame at the cursor, or of the hello, that are written */
	int sending;    /* the frame at the cursor is in flight already */
	uint8_t answer[LECTERN_I_ANSWER];
	size_t answered;
	uint8_t hello[LECTERN_I_HEADER + 16 + LECTERN_I_TAG];
	size_t hello_size;
};

/* --- bytes --- */

static inline void lectern_i_put(uint8_t *b, uint64_t v) {
#if defined(__BYTE_ORDER__) && __BYTE_ORDER__ == __ORDER_LITTLE_ENDIAN__
	memcpy(b, &v, 8);
#else
	int i;
	for (i = 0; i < 8; i++) b[i] = (uint8_t)(v >> (8 * i));
#endif
}

static inline uint64_t lectern_i_get(const uint8_t *b, int n) {
	uint64_t v = 0;
	int i;
	for (i = 0; i < n; i++) v |= (uint64_t)b[i] << (8 * i);
	return v;
}

/* lectern_i_bytes is how many bytes a number takes, none for zero. */
static inline uint32_t lectern_i_bytes(uint64_t v) {
#if defined(__GNUC__)
	return v ? (uint32_t)(71 - __builtin_clzll(v)) >> 3 : 0;
#else
	uint32_t n = 0;
	for (; v; v >>= 8) n++;
	return n;
#endif
}

static void lectern_i_header(uint8_t *b, unsigned type, uint32_t size, uint32_t count, uint16_t stream, uint64_t time, uint64_t source, uint64_t sequence, uint64_t position) {
	lectern_i_put(b, 0x454Cu | (uint64_t)(0x10u | type) << 16 | (uint64_t)size << 32 | (uint64_t)count << 48);
	lectern_i_put(b + 8, stream | time << 16);
	lectern_i_put(b + 16, source);
	lectern_i_put(b + 24, sequence);
	lectern_i_put(b + 32, position);
}

static inline uint64_t lectern_i_rotate(uint64_t v, int n) { return v << n | v >> (64 - n); }

static uint64_t lectern_i_round(uint64_t lane, uint64_t input) {
	return lectern_i_rotate(lane + input * 0xC2B2AE3D27D4EB4Full, 31) * 0x9E3779B185EBCA87ull;
}

uint64_t lectern_id(const void *text, size_t size) {
	const uint64_t p1 = 0x9E3779B185EBCA87ull, p2 = 0xC2B2AE3D27D4EB4Full, p3 = 0x165667B19E3779F9ull, p4 = 0x85EBCA77C2B2AE63ull, p5 = 0x27D4EB2F165667C5ull;
	const uint8_t *b = (const uint8_t *)text;
	size_t left = size;
	uint64_t h = p5;
	if (left >= 32) {
		static const int turns[4] = {1, 7, 12, 18};
		uint64_t lanes[4];
		int i;
		lanes[0] = p1 + p2, lanes[1] = p2, lanes[2] = 0, lanes[3] = 0 - p1;
		for (; left >= 32; left -= 32, b += 32)
			for (i = 0; i < 4; i++) lanes[i] = lectern_i_round(lanes[i], lectern_i_get(b + 8 * i, 8));
		h = 0;
		for (i = 0; i < 4; i++) h += lectern_i_rotate(lanes[i], turns[i]);
		for (i = 0; i < 4; i++) h = (h ^ lectern_i_round(0, lanes[i])) * p1 + p4;
	}
	h += size;
	for (; left >= 8; left -= 8, b += 8) h = lectern_i_rotate(h ^ lectern_i_round(0, lectern_i_get(b, 8)), 27) * p1 + p4;
	if (left >= 4) {
		h = lectern_i_rotate(h ^ lectern_i_get(b, 4) * p1, 23) * p2 + p3;
		left -= 4, b += 4;
	}
	for (; left > 0; left--, b++) h = lectern_i_rotate(h ^ *b * p5, 11) * p1;
	h = (h ^ h >> 33) * p2;
	h = (h ^ h >> 29) * p3;
	return h ^ h >> 32;
}

/* --- the system --- */

static uint64_t lectern_i_clock(const lectern *l, int monotonic) {
	struct timespec t;
	if (l->o.hooks.now) return l->o.hooks.now(l->o.hooks.context, monotonic);
	clock_gettime(monotonic ? CLOCK_MONOTONIC : CLOCK_REALTIME, &t);
	return (uint64_t)t.tv_sec * 1000 + (uint64_t)t.tv_nsec / 1000000;
}

/* lectern_i_draw draws bytes from the kernel: after a fork they are others. */
static int lectern_i_draw(void *to, size_t size) {
	size_t had = 0;
	int fd = open("/dev/urandom", O_RDONLY | O_CLOEXEC);
	if (fd < 0) return -1;
	while (had < size) {
		ssize_t n = read(fd, (uint8_t *)to + had, size - had);
		if (n > 0) had += (size_t)n;
		else if (n == 0 || errno != EINTR) break;
	}
	close(fd);
	return had == size ? 0 : -1;
}

static uint64_t lectern_i_random(lectern *l) {
	l->random ^= l->random << 13;
	l->random ^= l->random >> 7;
	l->random ^= l->random << 17;
	return l->random;
}

/* How often this process was forked from another since the first emitter. */
static volatile unsigned lectern_i_forks;
static pthread_once_t lectern_i_once = PTHREAD_ONCE_INIT;
static void lectern_i_forked(void) { lectern_i_forks++; }
static void lectern_i_watch(void) { pthread_atfork(NULL, NULL, lectern_i_forked); }

static unsigned lectern_i_resolve(lectern *l, struct sockaddr_storage *a) {
	struct addrinfo hints, *list = NULL;
	char port[8];
	unsigned size = 0;
	if (l->o.hooks.resolve) return l->o.hooks.resolve(l->o.hooks.context, l->host, l->o.port, a);
	memset(&hints, 0, sizeof hints);
	hints.ai_socktype = l->o.way == LECTERN_UDP ? SOCK_DGRAM : SOCK_STREAM;
	snprintf(port, sizeof port, "%u", (unsigned)l->o.port);
	if (getaddrinfo(l->host, port, &hints, &list) == 0 && list && list->ai_addrlen <= sizeof *a) {
		memcpy(a, list->ai_addr, list->ai_addrlen);
		size = (unsigned)list->ai_addrlen;
	}
	if (list) freeaddrinfo(list);
	return size;
}

/* lectern_i_socket makes a socket that does not wait, and begins to connect it. */
static int lectern_i_socket(lectern *l) {
	int one = 1, kind = l->o.way == LECTERN_UDP ? SOCK_DGRAM : SOCK_STREAM;
	int fd = socket(l->address.ss_family, kind, 0);
	if (fd < 0) return -1;
	fcntl(fd, F_SETFD, FD_CLOEXEC);
	fcntl(fd, F_SETFL, fcntl(fd, F_GETFL) | O_NONBLOCK);
#ifdef SO_NOSIGPIPE
	setsockopt(fd, SOL_SOCKET, SO_NOSIGPIPE, &one, sizeof one);
#endif
	if (kind == SOCK_STREAM) setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &one, sizeof one);
	if (connect(fd, (struct sockaddr *)&l->address, l->address_size) != 0 && errno != EINPROGRESS) {
		int why = errno;
		close(fd);
		errno = why;
		return -1;
	}
	return fd;
}

/* --- sealing --- */

static uint32_t lectern_i_tag(const lectern *l) { return l->sealed ? LECTERN_I_TAG : 0; }

/* lectern_i_derive makes a key: what it is for, and of a session its source and both randoms. */
static void lectern_i_derive(const lectern *l, uint8_t label, uint8_t epoch, int session, uint8_t key[32]) {
	uint8_t message[4 + 8 + 32 + 64 + 8];
	size_t size = 4;
	message[0] = label, message[1] = epoch;
	message[2] = (uint8_t)l->o.stream, message[3] = (uint8_t)(l->o.stream >> 8);
	if (session) {
		lectern_i_put(message + 4, l->source);
		memcpy(message + 12, l->randoms, 32);
		size += 40;
	}
	memcpy(message + size, l->audience, l->audience_size);
	l->o.seal->hmac(l->o.seal->context, l->secret, message, size + l->audience_size, key);
}

/* lectern_i_mark sets the flags and the size of a frame that gets a tag. */
static void lectern_i_mark(uint8_t *b, uint32_t size, uint8_t epoch) {
	b[3] = (uint8_t)(b[3] | 1 | epoch << 2);
	b[4] = (uint8_t)(size + LECTERN_I_TAG), b[5] = (uint8_t)((size + LECTERN_I_TAG) >> 8);
}

/* lectern_i_seal puts the tag behind a frame of events, and returns its size then. */
static uint32_t lectern_i_seal(const lectern *l, uint8_t *b, uint32_t size, const uint8_t key[16], uint8_t epoch) {
	lectern_i_mark(b, size, epoch);
	l->o.seal->gmac(l->o.seal->context, key, b + 8, b, size, b + size);
	return size + LECTERN_I_TAG;
}

/* lectern_i_key takes the text of a key, or says that it is none. */
static int lectern_i_key(lectern *l, const char *text) {
	uint8_t secret[32], key[32];
	int i;
	if (!text || strlen(text) < 66 || (text[66] && strcmp(text + 66, "\n") != 0) || text[0] < '0' || text[0] > '3' || text[1] != ':') return 0;
	for (i = 0; i < 64; i++) {
		const char *digits = "0123456789abcdef", *at;
		char c = text[2 + i];
		if (c >= 'A' && c <= 'F') c = (char)(c - 'A' + 'a');
		if (!(at = strchr(digits, c)) || !c) return 0;
		secret[i / 2] = (uint8_t)(i % 2 ? secret[i / 2] | (at - digits) : (at - digits) << 4);
	}
	memcpy(l->secret, secret, sizeof secret);
	l->epoch = (uint8_t)(text[0] - '0');
	lectern_i_derive(l, 1, l->epoch, 0, key);
	memcpy(l->frame_key, key, sizeof l->frame_key);
	return 1;
}

static int lectern_i_audience(lectern *l, const char *name) {
	size_t i;
	l->audience_size = name ? strlen(name) : 0;
	if (l->audience_size < 1 || l->audience_size > 63) return 0;
	for (i = 0; i < l->audience_size; i++) {
		char c = name[i];
		if (!((c >= 'A' && c <= 'Z') || (c >= 'a' && c <= 'z') || (c >= '0' && c <= '9') || c == '.' || c == '_' || c == '-')) return 0;
	}
	memcpy(l->audience, name, l->audience_size);
	return 1;
}

/* lectern_i_proved says whether the collector sealed this answer. The first ack brings the keys. */
static int lectern_i_proved(lectern *l, const uint8_t *b, uint32_t size) {
	uint8_t key[32], mac[32], differs = 0;
	int i;
	if (!l->has_keys) {
		memcpy(l->randoms + 16, b + 56, 16);
		lectern_i_derive(l, 3, l->session_epoch, 1, key);
		memcpy(l->up_key, key, sizeof l->up_key);
		lectern_i_derive(l, 4, l->session_epoch, 1, l->down_key);
	}
	l->o.seal->hmac(l->o.seal->context, l->down_key, b, size - LECTERN_I_TAG, mac);
	for (i = 0; i < (int)LECTERN_I_TAG; i++) differs |= mac[i] ^ b[size - LECTERN_I_TAG + (uint32_t)i];
	if (!differs) l->has_keys = 1;
	return !differs;
}

/* --- packing --- */

static void lectern_i_finish(lectern *l);

static void lectern_i_clear(lectern *l) {
	l->size = LECTERN_I_HEADER;
	l->count = 0;
	l->stamped = 0;
}

/* lectern_i_rebase makes the frame's time earlier: every at is written anew. It fails where
 * the frame, and room more bytes, would be too large then. */
static int lectern_i_rebase(lectern *l, uint64_t oldest, uint32_t room) {
	const uint8_t *from = l->frame + LECTERN_I_HEADER, *end = l->frame + l->size;
	uint8_t *to = l->spare + LECTERN_I_HEADER, *swap;
	uint64_t late = l->oldest - oldest;
	while (from < end) {
		uint32_t ids = (uint32_t)(from[0] >> 4) + (from[0] & 15), shape = from[1];
		uint32_t a = shape >> 3 & 3, rest = (shape >> 5 & 3) + (shape >> 7);
		uint64_t at = lectern_i_get(from + 2 + ids, (int)a) + late;
		uint32_t wide = lectern_i_bytes(at);
		if ((size_t)(to - l->spare) + 2 + ids + wide + rest + room > l->limit) return 0;
		to[0] = from[0];
		to[1] = (uint8_t)((shape & ~0x18u) | wide << 3);
		memcpy(to + 2, from + 2, ids);
		lectern_i_put(to + 2 + ids, at);
		memcpy(to + 2 + ids + wide, from + 2 + ids + a, rest);
		to += 2 + ids + wide + rest;
		from += 2 + ids + a + rest;
	}
	l->size = (uint32_t)(to - l->spare);
	swap = l->frame, l->frame = l->spare, l->spare = swap;
	l->oldest = oldest;
	return 1;
}

/* lectern_i_pack puts an event into the frame, or reports that it belongs in the next. */
static inline int lectern_i_pack(lectern *l, const lectern_event *e) {
	uint64_t time = e->time, at;
	uint32_t dwell = e->dwell < LECTERN_I_AT_MAX ? e->dwell : LECTERN_I_AT_MAX;
	uint32_t c = 0, u = 0, a, d = lectern_i_bytes(dwell), p = e->has_progress != 0;
	uint8_t *b;
	if (l->count == 0) l->oldest = l->newest = time;
	if (l->count == 0 || e->content != l->content) c = lectern_i_bytes(e->content | 1);
	if (l->count == 0 || e->user != l->user) u = lectern_i_bytes(e->user | 1);
	if (time < l->oldest) {
		if (l->newest - time > LECTERN_I_AT_MAX || !lectern_i_rebase(l, time, 2 + c + u + d + p)) return 0;
	}
	at = time - l->oldest;
	a = lectern_i_bytes(at);
	if (at > LECTERN_I_AT_MAX || l->size + 2 + c + u + a + d + p > l->limit) return 0;
	b = l->frame + l->size;
	b[0] = (uint8_t)(c << 4 | u);
	b[1] = (uint8_t)(e->kind | a << 3 | d << 5 | p << 7);
	lectern_i_put(b + 2, e->content);
	lectern_i_put(b + 2 + c, e->user);
	lectern_i_put(b + 2 + c + u, at | (uint64_t)dwell << (8 * a) | (uint64_t)(p ? e->progress : 0) << (8 * (a + d)));
	l->size += 2 + c + u + a + d + p;
	l->content = e->content, l->user = e->user;
	if (time > l->newest) l->newest = time;
	l->count++;
	return 1;
}

/* --- UDP --- */

static int lectern_i_new_source(lectern *l) {
	uint64_t source = 0;
	if (lectern_i_draw(&source, sizeof source) != 0) return -1;
	l->source = source;
	l->sequence = l->position = 0;
	return 0;
}

/* lectern_i_send gives a datagram to the kernel. An answer that nobody listens is for the one
 * before, and comes in place of sending this one: so it is tried again. */
static int lectern_i_send(lectern *l, int fd, const uint8_t *b, uint32_t size, uint32_t events) {
	int try_, present = fd == l->fd;
	if (fd < 0) return 0;
	for (try_ = 0; try_ < 2; try_++) {
		long n = l->o.hooks.send ? l->o.hooks.send(l->o.hooks.context, fd, b, size) : (long)send(fd, b, size, MSG_NOSIGNAL);
		if (n >= 0) {
			l->stats.datagrams++;
			l->stats.bytes += size;
			if (present) l->last_events = events;
			return 1;
		}
		if (errno == EAGAIN || errno == EWOULDBLOCK || errno == ENOBUFS) return 0;
		if (present) {
			l->wanted = 1;
			if (errno == ECONNREFUSED) l->stats.unreachable += l->last_events, l->last_events = 0;
		}
		if (errno != ECONNREFUSED && errno != EINTR) return 0;
	}
	return 0;
}

static void lectern_i_fork(lectern *l, int packed);

/* lectern_i_number writes the header of the frame at b, and uses its numbers up. */
static void lectern_i_number(lectern *l, uint8_t *b, unsigned type, uint32_t size, uint32_t count, uint64_t time) {
	lectern_i_header(b, type, size, count, l->o.stream, time, l->source, l->sequence, l->position);
	l->sequence++;
	l->position += count;
}

static void lectern_i_beat(lectern *l) {
	uint8_t b[LECTERN_I_HEADER + LECTERN_I_TAG];
	uint32_t size = LECTERN_I_HEADER;
	lectern_i_number(l, b, 1, size, 0, lectern_i_clock(l, 0));
	if (l->sealed) size = lectern_i_seal(l, b, size, l->frame_key, l->epoch);
	lectern_i_send(l, l->fd, b, size, 0);
	l->last_sent = l->last_beat = lectern_i_clock(l, 1);
}

static void lectern_i_opening(lectern *l) {
	int i;
	for (i = 0; i < LECTERN_I_BEATS; i++) lectern_i_beat(l);
	l->beat_wait = LECTERN_I_BEAT_MIN;
}

static void lectern_i_finish_udp(lectern *l, uint8_t *b, unsigned type, uint32_t size, uint32_t count, uint64_t time) {
	lectern_i_number(l, b, type, size, count, time);
	if (l->sealed) size = lectern_i_seal(l, b, size, l->frame_key, l->epoch);
	if (lectern_i_send(l, l->fd, b, size, count)) l->stats.sent += count;
	else l->stats.socket += count;
	l->last_sent = lectern_i_clock(l, 1);
	l->beat_wait = LECTERN_I_BEAT_MIN;
}

/* lectern_i_retire says a last beat of a source whose socket was replaced. */
static void lectern_i_retire(lectern *l, uint64_t now) {
	uint8_t b[LECTERN_I_HEADER + LECTERN_I_TAG];
	while (l->old_fd >= 0 && now >= l->old_due) {
		uint32_t size = LECTERN_I_HEADER;
		lectern_i_header(b, 1, size, 0, l->o.stream, lectern_i_clock(l, 0), l->old_source, l->old_sequence++, l->old_position);
		if (l->sealed) size = lectern_i_seal(l, b, size, l->frame_key, l->epoch);
		lectern_i_send(l, l->old_fd, b, size, 0);
		l->old_due = now + LECTERN_I_GAP;
		if (++l->old_beats == LECTERN_I_BEATS) {
			close(l->old_fd);
			l->old_fd = -1;
		}
	}
}

/* lectern_i_renew goes on over a new socket with a new source. While there cannot be one, the
 * old one stays. */
static void lectern_i_renew(lectern *l, uint64_t now) {
	uint64_t source = l->source, sequence = l->sequence, position = l->position;
	struct sockaddr_storage address;
	unsigned size;
	int fd, old = l->fd;
	l->tried = now;
	memset(&address, 0, sizeof address);
	if ((size = lectern_i_resolve(l, &address)) == 0) return;
	l->address = address, l->address_size = (socklen_t)size;
	if ((fd = lectern_i_socket(l)) < 0) return;
	if (lectern_i_new_source(l) != 0) {
		close(fd);
		return;
	}
	l->old_fd = old, l->old_beats = 0, l->old_due = now;
	l->old_source = source, l->old_sequence = sequence, l->old_position = position;
	l->fd = fd, l->born = now, l->wanted = 0, l->last_events = 0;
	l->stats.sources++;
	lectern_i_opening(l);
	lectern_i_retire(l, now);
}

static void lectern_i_poll_udp(lectern *l, uint64_t now) {
	lectern_i_retire(l, now);
	if (l->closing) {
		while (l->last_beats < LECTERN_I_BEATS && now >= l->last_due) {
			lectern_i_beat(l);
			l->last_beats++;
			l->last_due = now + LECTERN_I_GAP;
		}
		if (l->last_beats == LECTERN_I_BEATS && l->old_fd < 0) l->ended = 1;
		return;
	}
	if (l->position > 0 && now - l->born >= l->o.socket_age_ms) l->wanted = 1;
	if (l->sequence >= LECTERN_I_RENUMBER || l->position >= LECTERN_I_RENUMBER || l->fd < 0) l->wanted = 1;
	if (l->wanted && l->old_fd < 0 && now - l->born >= LECTERN_I_RENEW_WAIT && now - l->tried >= LECTERN_I_RENEW_WAIT) lectern_i_renew(l, now);
	/* The time of a sealed beat opens its source at a collector that does not know it: one goes out among events, too. */
	if (l->sealed && now - l->last_beat >= LECTERN_I_BEAT_MAX) lectern_i_beat(l);
	if (now - l->last_sent >= l->beat_wait) {
		uint64_t wait = 2 * l->beat_wait;
		lectern_i_beat(l);
		l->beat_wait = wait < LECTERN_I_BEAT_MAX ? wait : LECTERN_I_BEAT_MAX;
	}
}

/* --- TCP --- */

static inline size_t lectern_i_slot_size(uint32_t frame) { return (sizeof(lectern_i_slot) + frame + 7) / 8 * 8; }

static lectern_i_slot *lectern_i_slot_at(lectern *l, size_t *at) {
	lectern_i_slot *s = (lectern_i_slot *)(void *)(l->ring + *at);
	if (l->ring_size - *at < sizeof *s || s->size == 0) {
		*at = 0;
		s = (lectern_i_slot *)(void *)l->ring;
	}
	return s;
}

static uint8_t *lectern_i_frame_of(lectern_i_slot *s) { return (uint8_t *)(s + 1); }
static uint64_t lectern_i_sequence_of(lectern_i_slot *s) { return lectern_i_get(lectern_i_frame_of(s) + 24, 8); }
static uint32_t lectern_i_count_of(lectern_i_slot *s) { return (uint32_t)lectern_i_get(lectern_i_frame_of(s) + 6, 2); }

/* lectern_i_room finds a place for a slot behind the newest, or says that there is none. */
static int lectern_i_room(lectern *l, size_t size) {
	if (l->frames == 0) l->head = l->tail = l->cursor = 0;
	if (l->tail >= l->head && (l->frames == 0 || l->tail > l->head)) {
		if (l->ring_size - l->tail >= size) return 1;
		if (l->head < size || l->frames == 0) return 0;
		if (l->ring_size - l->tail >= sizeof(lectern_i_slot)) memset(l->ring + l->tail, 0, sizeof(lectern_i_slot));
		if (l->ahead == 0) l->cursor = 0;
		l->tail = 0;
		return 1;
	}
	return l->head - l->tail >= size && l->head != l->tail;
}

/* lectern_i_keep numbers a frame and puts it into the ring; where there is no room it is
 * dropped, and its numbers are used up. */
static void lectern_i_keep(lectern *l, uint8_t *b, unsigned type, uint32_t size, uint32_t count, uint64_t time) {
	lectern_i_number(l, b, type, size, count, time);
	if (!lectern_i_room(l, lectern_i_slot_size(size))) {
		l->skipped_frames++;
		l->skipped_events += count;
		l->stats.queue += count;
		if (type == 5) memset(l->said, 0, LECTERN_I_SAID * sizeof *l->said); /* it is said again, with all others */
		return;
	}
	{
		lectern_i_slot *s = (lectern_i_slot *)(void *)(l->ring + l->tail);
		s->size = size, s->refused = 0;
		s->skipped_frames = l->skipped_frames, s->skipped_events = l->skipped_events;
		l->skipped_frames = l->skipped_events = 0;
		memcpy(lectern_i_frame_of(s), b, size);
		if (l->ahead == 0) l->cursor = l->tail;
		l->tail += lectern_i_slot_size(size);
		l->frames++, l->ahead++;
		l->stats.buffered += count;
	}
}

/* lectern_i_release removes the oldest frame. */
static void lectern_i_release(lectern *l) {
	lectern_i_slot *s = lectern_i_slot_at(l, &l->head);
	if (l->ahead == l->frames) {
		l->ahead--;
		l->cursor = l->head + lectern_i_slot_size(s->size);
	}
	l->head += lectern_i_slot_size(s->size);
	l->frames--;
	if (l->frames == 0) l->head = l->tail = l->cursor = 0;
}

static void lectern_i_release_durable(lectern *l) {
	size_t had = l->frames;
	while (l->frames > 0) {
		lectern_i_slot *s = lectern_i_slot_at(l, &l->head);
		if (l->ahead == l->frames && l->sending) break; /* it has to be written whole */
		if (!s->refused && lectern_i_sequence_of(s) >= l->durable) break;
		if (!s->refused) {
			if (l->ahead < l->frames && l->state == LECTERN_I_LIVE) l->flight -= s->size + lectern_i_tag(l);
			l->stats.acked += lectern_i_count_of(s);
			l->stats.buffered -= lectern_i_count_of(s);
		}
		lectern_i_release(l);
	}
	if (l->frames < had) l->progress = 1;
}

/* lectern_i_hang_up leaves the connection; soon says that there is reason to come again at once. */
static void lectern_i_hang_up(lectern *l, uint64_t now, int soon) {
	uint64_t most = LECTERN_I_BACKOFF_MAX;
	if (l->fd >= 0) close(l->fd);
	l->fd = -1;
	l->state = LECTERN_I_IDLE;
	l->cursor = l->head, l->ahead = l->frames, l->partial = 0, l->sending = 0;
	l->flight = 0, l->answered = 0;
	if (l->progress) l->tries = 0;
	if (l->tries < 7) most = (uint64_t)LECTERN_I_BACKOFF_MIN << l->tries;
	if (most > LECTERN_I_BACKOFF_MAX) most = LECTERN_I_BACKOFF_MAX;
	l->retry = soon && l->progress ? now : now + most / 2 + lectern_i_random(l) % (most / 2) + 1;
	if (!(soon && l->progress)) l->tries++;
	l->progress = 0;
	lectern_i_release_durable(l);
	l->progress = 0;
}

/* lectern_i_end_source begins a new source. The frames below limit may have been counted: they
 * are given up. The others become the first of the new one. */
static void lectern_i_end_source(lectern *l, uint64_t limit, uint64_t now) {
	size_t at, n;
	l->progress = l->progress || l->sent_below > 0;
	l->state = LECTERN_I_IDLE; /* nothing is in flight any more */
	l->cursor = l->head, l->ahead = l->frames, l->partial = 0, l->sending = 0;
	while (l->frames > 0) {
		lectern_i_slot *s = lectern_i_slot_at(l, &l->head);
		if (lectern_i_sequence_of(s) >= limit) break;
		if (!s->refused) {
			l->stats.unsure += lectern_i_count_of(s);
			l->stats.buffered -= lectern_i_count_of(s);
		}
		lectern_i_release(l);
	}
	if (lectern_i_new_source(l) != 0) l->source = lectern_i_random(l);
	l->stats.sources++;
	for (n = 0, at = l->head; n < l->frames; n++) {
		lectern_i_slot *s = lectern_i_slot_at(l, &at);
		uint8_t *b = lectern_i_frame_of(s);
		l->sequence += s->skipped_frames, l->position += s->skipped_events;
		lectern_i_put(b + 16, l->source);
		lectern_i_put(b + 24, l->sequence);
		lectern_i_put(b + 32, l->position);
		l->sequence++, l->position += lectern_i_count_of(s);
		at += lectern_i_slot_size(s->size);
	}
	l->sequence += l->skipped_frames, l->position += l->skipped_events;
	l->sent_below = 0, l->durable = 0, l->has_spool = 0;
	lectern_i_hang_up(l, now, 1);
}

/* lectern_i_ack takes an ack. It returns 0 when the connection is over. */
static int lectern_i_ack(lectern *l, const uint8_t *b, uint64_t now) {
	uint64_t durable = lectern_i_get(b + 40, 8), credit = lectern_i_get(b + 48, 8), spool = lectern_i_get(b + 32, 8);
	if (!l->has_spool) l->spool = spool, l->has_spool = 1;
	if (spool != l->spool || durable > l->sent_below) {
		lectern_i_end_source(l, l->sent_below, now);
		return 0;
	}
	if (l->state == LECTERN_I_HELLO) {
		l->state = LECTERN_I_LIVE;
		l->stats.connections++;
		l->sent_before = l->sent_below;
		l->started = 0, l->flight = 0;
		l->cursor = l->head, l->ahead = l->frames;
		l->last_sent = now, l->beat_wait = LECTERN_I_BEAT_MIN;
	}
	l->heard = now;
	l->credit = credit;
	if (durable > l->durable) l->durable = durable;
	if (b[3] & 2) { /* final: what is not durable is as if it had never been sent; but who says less than before knows nothing of it */
		l->credit = 0;
		if (durable == l->durable && l->sent_below > durable) l->sent_below = durable;
	}
	lectern_i_release_durable(l);
	return 1;
}

/* What a refusal's word means. */
enum lectern_i_word { LECTERN_I_UNKNOWN, LECTERN_I_FRAME, LECTERN_I_MOMENT, LECTERN_I_FORGOTTEN, LECTERN_I_POSITION };

static enum lectern_i_word lectern_i_word_of(const uint8_t *word, size_t size) {
	static const struct {
		const char *word;
		enum lectern_i_word is;
	} words[] = {
		{"short", LECTERN_I_FRAME}, {"magic", LECTERN_I_FRAME}, {"version", LECTERN_I_FRAME}, {"type", LECTERN_I_FRAME},
		{"flags", LECTERN_I_FRAME}, {"size", LECTERN_I_FRAME}, {"count", LECTERN_I_FRAME}, {"stream", LECTERN_I_FRAME},
		{"number", LECTERN_I_FRAME}, {"length", LECTERN_I_FRAME}, {"inherit", LECTERN_I_FRAME}, {"kind", LECTERN_I_FRAME},
		{"progress", LECTERN_I_FRAME}, {"name", LECTERN_I_FRAME}, {"body", LECTERN_I_FRAME}, {"truncated", LECTERN_I_FRAME}, {"rest", LECTERN_I_FRAME},
		{"sequence", LECTERN_I_FRAME}, {"time", LECTERN_I_FRAME}, {"sources", LECTERN_I_MOMENT}, {"connections", LECTERN_I_MOMENT},
		{"idle", LECTERN_I_MOMENT}, {"credit", LECTERN_I_MOMENT}, {"unexpected", LECTERN_I_MOMENT}, {"sealed", LECTERN_I_MOMENT},
		{"unsealed", LECTERN_I_MOMENT}, {"forgotten", LECTERN_I_FORGOTTEN}, {"position", LECTERN_I_POSITION},
	};
	size_t i;
	for (i = 0; i < sizeof words / sizeof *words; i++)
		if (strlen(words[i].word) == size && memcmp(words[i].word, word, size) == 0) return words[i].is;
	return LECTERN_I_UNKNOWN;
}

static void lectern_i_refuse(lectern *l, uint64_t sequence, uint64_t now) {
	size_t at = l->head, n;
	for (n = 0; n < l->frames - l->ahead; n++) {
		lectern_i_slot *s = lectern_i_slot_at(l, &at);
		if (lectern_i_sequence_of(s) == sequence && !s->refused) {
			s->refused = 1;
			l->stats.refused += lectern_i_count_of(s);
			l->stats.buffered -= lectern_i_count_of(s);
			l->progress = 1;
			break;
		}
		at += lectern_i_slot_size(s->size);
	}
	lectern_i_hang_up(l, now, 0);
}

/* lectern_i_nameless is for a collector that does not know names, and cannot say which
 * frame that was: those that are kept are not sent to it again, nor are others. */
static void lectern_i_nameless(lectern *l) {
	size_t at = l->head, n;
	for (n = 0; n < l->frames; n++) {
		lectern_i_slot *s = lectern_i_slot_at(l, &at);
		if (lectern_i_frame_of(s)[2] == 0x15 && !s->refused) s->refused = 1, l->nameless = 1, l->names_size = 0;
		at += lectern_i_slot_size(s->size);
	}
}

/* lectern_i_refusal takes a refusal: the connection is over. */
static void lectern_i_refusal(lectern *l, const uint8_t *b, uint32_t size, uint64_t now) {
	uint64_t source = lectern_i_get(b + 16, 8), sequence = lectern_i_get(b + 24, 8);
	enum lectern_i_word is = LECTERN_I_UNKNOWN;
	uint64_t below = l->sent_before;
	if (size > LECTERN_I_HEADER && size >= LECTERN_I_HEADER + 1u + b[40]) is = lectern_i_word_of(b + 41, b[40]);
	if (size >= LECTERN_I_HEADER + 5u && memcmp(b + 40, "\4type", 5) == 0) lectern_i_nameless(l);
	if (source != l->source || l->state != LECTERN_I_LIVE || !l->started) is = LECTERN_I_MOMENT;
	if (is == LECTERN_I_FORGOTTEN) {
		if (l->begin > 0) lectern_i_end_source(l, below, now);
		else lectern_i_hang_up(l, now, 0);
	} else if (is == LECTERN_I_POSITION && sequence > 0) {
		lectern_i_end_source(l, below > sequence ? below : sequence, now);
	} else if (is == LECTERN_I_FRAME || is == LECTERN_I_POSITION) {
		lectern_i_refuse(l, sequence, now);
	} else {
		lectern_i_hang_up(l, now, 0);
	}
}

/* lectern_i_hear takes whole answers. It returns 0 when the connection is over. */
static int lectern_i_hear(lectern *l, uint64_t now) {
	size_t at = 0;
	while (l->answered - at >= LECTERN_I_HEADER) {
		const uint8_t *b = l->answer + at;
		uint32_t size = (uint32_t)lectern_i_get(b + 4, 2), type = b[2] & 15;
		/* Before the first ack a collector has nothing to seal a refusal with: it is a hint then. */
		uint32_t flags = l->sealed && !(type == 4 && !l->has_keys && b[3] == 0) ? 1u | (uint32_t)l->session_epoch << 2 : 0;
		uint32_t tag = flags ? LECTERN_I_TAG : 0;
		int ack = type == 3 && size == LECTERN_I_HEADER + 16 + (flags ? 16u : 0) + tag && (b[3] & ~2u) == flags;
		int refusal = type == 4 && size > LECTERN_I_HEADER + tag && size <= LECTERN_I_HEADER + 1 + 255 + 255 + tag && b[3] == flags && (!flags || l->has_keys);
		if (b[0] != 'L' || b[1] != 'E' || b[2] >> 4 != 1 || (!ack && !refusal)) {
			lectern_i_hang_up(l, now, 0); /* that is no collector */
			return 0;
		}
		if (l->answered - at < size) break;
		if (flags && !lectern_i_proved(l, b, size)) {
			lectern_i_hang_up(l, now, 0); /* somebody answers in the collector's place, or the key is not its */
			return 0;
		}
		if (refusal) {
			lectern_i_refusal(l, b, size - tag, now);
			return 0;
		}
		if (lectern_i_get(b + 16, 8) != l->source || lectern_i_get(b + 40, 8) > LECTERN_I_NUMBER_MAX) {
			lectern_i_hang_up(l, now, 0);
			return 0;
		}
		if (!lectern_i_ack(l, b, now)) return 0;
		at += size;
	}
	memmove(l->answer, l->answer + at, l->answered - at);
	l->answered -= at;
	return 1;
}

static void lectern_i_read(lectern *l, uint64_t now) {
	while (l->fd >= 0) {
		ssize_t n = recv(l->fd, l->answer + l->answered, sizeof l->answer - l->answered, 0);
		if (n > 0) {
			l->answered += (size_t)n;
			if (!lectern_i_hear(l, now)) return;
		} else if (n < 0 && errno == EINTR) {
			continue;
		} else {
			if (n == 0 || (errno != EAGAIN && errno != EWOULDBLOCK)) lectern_i_hang_up(l, now, 0);
			return;
		}
	}
}

/* lectern_i_write writes the rest of something, and says whether all of it is written. */
static int lectern_i_write(lectern *l, const uint8_t *b, size_t size, uint64_t now) {
	while (l->partial < size) {
		ssize_t n = send(l->fd, b + l->partial, size - l->partial, MSG_NOSIGNAL);
		if (n >= 0) {
			l->partial += (size_t)n;
			l->stats.bytes += (uint64_t)n;
		} else if (errno != EINTR) {
			if (errno != EAGAIN && errno != EWOULDBLOCK) {
				lectern_i_read(l, now); /* the reason may be there */
				if (l->fd >= 0) lectern_i_hang_up(l, now, 0);
			}
			return 0;
		}
	}
	l->partial = 0;
	return 1;
}

/* lectern_i_transmit sends what the credit allows. */
static void lectern_i_transmit(lectern *l, uint64_t now) {
	while (l->state == LECTERN_I_LIVE && l->ahead > 0 && (!l->rekeyed || l->sending)) {
		lectern_i_slot *s = lectern_i_slot_at(l, &l->cursor);
		uint64_t sequence = lectern_i_sequence_of(s);
		uint32_t size = s->size + lectern_i_tag(l);
		uint8_t *b = lectern_i_frame_of(s);
		if (!s->refused && !l->sending) {
			/* One frame alone may be larger than a credit that is not 0. */
			if (l->credit == 0 || (l->flight > 0 && l->flight + size > l->credit)) return;
			if (l->flight == 0) l->heard = now;
			if (!l->started) l->started = 1, l->begin = sequence;
			l->flight += size;
			l->sending = 1;
			if (l->sealed) { /* in the ring frames have no tag: it is the connection's */
				memcpy(l->outgoing, b, s->size);
				lectern_i_seal(l, l->outgoing, s->size, l->up_key, l->session_epoch);
			}
			if (sequence >= l->sent_below) l->sent_below = sequence + 1;
		}
		if (!s->refused) {
			if (!lectern_i_write(l, l->sealed ? l->outgoing : b, size, now)) return;
			l->last_sent = now;
		}
		l->sending = 0;
		l->cursor += lectern_i_slot_size(s->size);
		l->ahead--;
	}
	lectern_i_release_durable(l);
}

/* lectern_i_sealed_hello adds this connection's random bytes, and the tag. */
static int lectern_i_sealed_hello(lectern *l) {
	uint8_t key[32], mac[32];
	if (lectern_i_draw(l->randoms, 16) != 0) return 0;
	l->session_epoch = l->epoch;
	memcpy(l->hello + LECTERN_I_HEADER, l->randoms, 16);
	lectern_i_mark(l->hello, LECTERN_I_HEADER + 16, l->epoch);
	lectern_i_derive(l, 2, l->epoch, 0, key);
	l->o.seal->hmac(l->o.seal->context, key, l->hello, LECTERN_I_HEADER + 16, mac);
	memcpy(l->hello + LECTERN_I_HEADER + 16, mac, LECTERN_I_TAG);
	l->hello_size = LECTERN_I_HEADER + 16 + LECTERN_I_TAG;
	return 1;
}

static void lectern_i_connect(lectern *l, uint64_t now) {
	struct sockaddr_storage address;
	unsigned size;
	l->since = now;
	memset(&address, 0, sizeof address);
	if ((size = lectern_i_resolve(l, &address)) > 0) {
		l->address = address, l->address_size = (socklen_t)size;
		l->fd = lectern_i_socket(l);
	}
	if (l->fd < 0) {
		lectern_i_hang_up(l, now, 0);
		return;
	}
	l->state = LECTERN_I_CONNECTING;
	l->answered = l->partial = 0;
	l->has_keys = l->rekeyed = 0;
	l->hello_size = LECTERN_I_HEADER;
	lectern_i_header(l->hello, 2, LECTERN_I_HEADER, 0, l->o.stream, lectern_i_clock(l, 0), l->source, 0, 0);
	if (l->sealed && !lectern_i_sealed_hello(l)) lectern_i_hang_up(l, now, 0);
}

/* lectern_i_session goes on with the connection as far as it goes without waiting. */
static void lectern_i_session(lectern *l, uint64_t now) {
	if (l->state == LECTERN_I_IDLE && now >= l->retry) lectern_i_connect(l, now);
	if (l->state == LECTERN_I_CONNECTING) {
		struct pollfd p;
		int why = 0;
		socklen_t size = sizeof why;
		p.fd = l->fd, p.events = POLLOUT, p.revents = 0;
		if (poll(&p, 1, 0) > 0) {
			if (getsockopt(l->fd, SOL_SOCKET, SO_ERROR, &why, &size) != 0 || why != 0) lectern_i_hang_up(l, now, 0);
			else if (lectern_i_write(l, l->hello, l->hello_size, now)) l->state = LECTERN_I_HELLO;
		}
	}
	if (l->state == LECTERN_I_HELLO || l->state == LECTERN_I_LIVE) lectern_i_read(l, now);
	if ((l->state == LECTERN_I_CONNECTING || l->state == LECTERN_I_HELLO) && now - l->since >= LECTERN_I_CONNECT_WAIT) lectern_i_hang_up(l, now, 0);
	lectern_i_transmit(l, now);
	if (l->state == LECTERN_I_LIVE && l->rekeyed && l->flight == 0) {
		l->progress = 1;
		lectern_i_hang_up(l, now, 1);
	}
	if (l->state == LECTERN_I_LIVE && l->flight > 0 && now - l->heard >= LECTERN_I_SILENCE_MAX) lectern_i_hang_up(l, now, 0);
}

static void lectern_i_poll_tcp(lectern *l, uint64_t now) {
	lectern_i_session(l, now);
	if (!l->closing && l->state == LECTERN_I_LIVE && l->frames == 0 && now - l->last_sent >= l->beat_wait) {
		uint8_t b[LECTERN_I_HEADER];
		uint64_t wait = 2 * l->beat_wait;
		lectern_i_keep(l, b, 1, LECTERN_I_HEADER, 0, lectern_i_clock(l, 0));
		lectern_i_transmit(l, now);
		l->last_sent = now;
		l->beat_wait = wait < LECTERN_I_BEAT_MAX ? wait : LECTERN_I_BEAT_MAX;
	}
	/* Drops behind the newest frame show by a beat. */
	if (l->closing && l->frames == 0 && l->skipped_frames > 0 && now < l->deadline) {
		uint8_t b[LECTERN_I_HEADER];
		lectern_i_keep(l, b, 1, LECTERN_I_HEADER, 0, lectern_i_clock(l, 0));
		lectern_i_transmit(l, now);
	}
	if (l->frames == 0 && l->count == 0 && (l->sequence >= LECTERN_I_RENUMBER || l->position >= LECTERN_I_RENUMBER)) lectern_i_end_source(l, 0, now);
	if (l->closing && (l->frames == 0 || now >= l->deadline)) {
		l->stats.closed += l->stats.buffered;
		l->stats.buffered = 0;
		if (l->fd >= 0) close(l->fd);
		l->fd = -1;
		l->ended = 1;
	}
}

/* --- what is common --- */

/* lectern_i_emit numbers a frame and sends or keeps it. */
static void lectern_i_emit(lectern *l, uint8_t *b, unsigned type, uint32_t size, uint32_t count, uint64_t time) {
	if (l->o.way == LECTERN_UDP) lectern_i_finish_udp(l, b, type, size, count, time);
	else {
		lectern_i_keep(l, b, type, size, count, time);
		l->beat_wait = LECTERN_I_BEAT_MIN;
	}
}

/* lectern_i_finish numbers the frame, and behind it the names that wait. */
static void lectern_i_finish(lectern *l) {
	if (l->count == 0 && l->names_size == 0) return;
	/* A fork that pthread_atfork did not hear of: whose events these are is not known. */
	if (getpid() != l->pid) {
		lectern_i_fork(l, 1);
		return;
	}
	if (l->count > 0) {
		l->stats.buffered -= l->count;
		lectern_i_emit(l, l->frame, 1, l->size, l->count, l->oldest);
		lectern_i_clear(l);
	}
	if (l->names_size > 0) {
		lectern_i_emit(l, l->names, 5, l->names_size, 0, lectern_i_clock(l, 0));
		l->names_size = 0;
	}
}

/* lectern_i_begin makes an emitter that has its memory begin in this process. */
static int lectern_i_begin(lectern *l) {
	uint64_t now = lectern_i_clock(l, 1);
	l->forks = lectern_i_forks;
	l->pid = getpid();
	if (lectern_i_new_source(l) != 0 || lectern_i_draw(&l->random, sizeof l->random) != 0) return -1;
	l->random |= 1;
	memset(&l->stats, 0, sizeof l->stats);
	lectern_i_clear(l);
	l->names_size = l->nameless = 0;
	memset(l->said, 0, LECTERN_I_SAID * sizeof *l->said);
	l->fd = l->old_fd = -1;
	l->closing = l->ended = l->last_beats = l->wanted = 0;
	l->born = l->tried = l->retry = now;
	l->last_sent = l->last_beat = now, l->beat_wait = LECTERN_I_BEAT_MIN;
	l->head = l->tail = l->cursor = l->frames = l->ahead = 0;
	l->skipped_frames = l->skipped_events = 0;
	l->state = LECTERN_I_IDLE, l->tries = 0, l->progress = 0;
	l->sent_below = l->durable = 0, l->has_spool = 0, l->partial = l->answered = 0, l->flight = 0, l->sending = 0;
	if (l->o.way == LECTERN_UDP) {
		if (l->address_size > 0) l->fd = lectern_i_socket(l);
		if (l->fd >= 0) lectern_i_opening(l);
	}
	return 0;
}

/* lectern_i_fork begins anew in a child. The sockets are the parent's, of which a copy is closed. */
static void lectern_i_fork(lectern *l, int packed) {
	uint64_t lost = packed ? l->count : 0;
	int ended = l->ended || l->closing;
	if (l->fd >= 0) close(l->fd);
	if (l->old_fd >= 0) close(l->old_fd);
	if (lectern_i_begin(l) != 0 || ended) l->closing = l->ended = 1;
	l->stats.added = l->stats.queue = lost;
}

static inline void lectern_i_here(lectern *l) {
	if (l->forks != lectern_i_forks) lectern_i_fork(l, 0);
}

lectern *lectern_dial(const lectern_options *given) {
	lectern_options o = *given;
	uint32_t size;
	lectern *l;
	if (!o.host) o.host = "127.0.0.1";
	if (!o.port) o.port = 8420;
	if (!o.flush_ms) o.flush_ms = 250;
	if (!o.datagram_size) o.datagram_size = 1400;
	if (!o.socket_age_ms) o.socket_age_ms = 300000;
	if (!o.frame_size) o.frame_size = 32768;
	if (!o.buffer_size) o.buffer_size = 16u << 20;
	size = o.way == LECTERN_UDP ? o.datagram_size : o.frame_size;
	if (o.stream == 65535 || (o.way != LECTERN_UDP && o.way != LECTERN_TCP) || size < LECTERN_I_HEADER + LECTERN_I_EVENT + (o.key ? LECTERN_I_TAG : 0) ||
		size > (o.way == LECTERN_UDP ? 65507u : 65535u) || o.socket_age_ms < LECTERN_I_RENEW_WAIT ||
		(o.way == LECTERN_TCP && (o.buffer_size / 4 < lectern_i_slot_size(size) || o.buffer_size > 1u << 30))) {
		errno = EINVAL;
		return NULL;
	}
	pthread_once(&lectern_i_once, lectern_i_watch);
	if (!(l = (lectern *)calloc(1, sizeof *l))) return NULL;
	l->o = o, l->fd = l->old_fd = -1;
	l->host = (char *)malloc(strlen(o.host) + 1);
	l->sealed = o.key != NULL;
	l->limit = size - lectern_i_tag(l);
	if ((o.key || o.audience) && (!o.seal || !o.key || !lectern_i_audience(l, o.audience) || !lectern_i_key(l, o.key))) {
		lectern_free(l);
		errno = EINVAL;
		return NULL;
	}
	l->o.key = l->o.audience = NULL; /* the caller's */
	l->frame = (uint8_t *)malloc(size + LECTERN_I_WIDE);
	l->spare = (uint8_t *)malloc(size + LECTERN_I_WIDE);
	l->names = (uint8_t *)malloc(size + LECTERN_I_WIDE);
	l->said = (lectern_i_said *)malloc(LECTERN_I_SAID * sizeof *l->said);
	if (o.way == LECTERN_TCP) {
		l->ring_size = o.buffer_size / 8 * 8;
		l->ring = (uint8_t *)malloc(l->ring_size);
		l->outgoing = (uint8_t *)malloc(size);
	}
	if (!l->host || !l->frame || !l->spare || !l->names || !l->said || (o.way == LECTERN_TCP && (!l->ring || !l->outgoing))) {
		lectern_free(l);
		errno = ENOMEM;
		return NULL;
	}
	strcpy(l->host, o.host);
	l->o.host = l->host;
	if (o.way == LECTERN_UDP && (l->address_size = (socklen_t)lectern_i_resolve(l, &l->address)) == 0) {
		lectern_free(l);
		errno = EHOSTUNREACH;
		return NULL;
	}
	if (lectern_i_begin(l) != 0 || (o.way == LECTERN_UDP && l->fd < 0)) {
		int why = errno;
		lectern_free(l);
		errno = why;
		return NULL;
	}
	lectern_poll(l);
	return l;
}

int lectern_add_event(lectern *l, const lectern_event *given) {
	lectern_event now;
	const lectern_event *e = given;
	lectern_i_here(l);
	if (given->time == 0) {
		now = *given;
		now.time = lectern_i_clock(l, 0);
		e = &now;
	}
	if (e->kind > LECTERN_CLICK || (e->kind > LECTERN_SHARE && (e->has_progress || e->dwell > 255)) || (e->has_progress && e->progress > 100) || e->time - LECTERN_I_TIME_MIN > LECTERN_I_TIME_MAX - LECTERN_I_TIME_MIN) return LECTERN_INVALID;
	l->stats.added++;
	if (l->closing) {
		l->stats.closed++;
		return LECTERN_CLOSED;
	}
	if (!lectern_i_pack(l, e)) {
		lectern_i_finish(l);
		lectern_i_pack(l, e);
	}
	l->stats.buffered++;
	if (!l->stamped) {
		l->began = lectern_i_clock(l, 1);
		l->stamped = 1;
	}
	return LECTERN_OK;
}

int lectern_add(lectern *l, enum lectern_kind kind, uint64_t content, uint64_t user) {
	lectern_event e;
	memset(&e, 0, sizeof e);
	e.kind = (uint8_t)kind, e.content = content, e.user = user;
	return lectern_add_event(l, &e);
}

/* lectern_i_text says whether these bytes are UTF-8. */
static int lectern_i_text(const uint8_t *b, size_t size) {
	size_t at = 0;
	while (at < size) {
		uint32_t c = b[at++], more = c < 0x80 ? 0 : c < 0xC2 ? 9 : c < 0xE0 ? 1 : c < 0xF0 ? 2 : c < 0xF5 ? 3 : 9;
		uint32_t least = c == 0xE0 ? 0xA0 : c == 0xF0 ? 0x90 : 0x80, most = c == 0xED ? 0x9F : c == 0xF4 ? 0x8F : 0xBF;
		if (more > size - at) return 0;
		for (; more > 0; more--, least = 0x80, most = 0xBF)
			if (b[at] < least || b[at++] > most) return 0;
	}
	return 1;
}

/* lectern_i_decimal says whether a text is a number below 2^48 without leading zeros, or nothing. */
static int lectern_i_decimal(const uint8_t *b, size_t size) {
	uint64_t n = 0;
	size_t i;
	if (size > 15 || (size > 1 && b[0] == '0')) return 0;
	for (i = 0; i < size; i++) {
		if (b[i] < '0' || b[i] > '9') return 0;
		n = 10 * n + (uint64_t)(b[i] - '0');
	}
	return n < LECTERN_I_NUMBER_MAX;
}

/* lectern_i_said_of is where it is remembered that something was said, or is to be. */
static lectern_i_said *lectern_i_said_of(lectern *l, uint64_t id) {
	lectern_i_said *group = l->said + ((id >> 7) & (LECTERN_I_SAID / 4 - 1)) * 4, *oldest = group;
	int i;
	for (i = 0; i < 4; i++) {
		if (group[i].at > 0 && group[i].id == id) return group + i;
		if (group[i].at < oldest->at) oldest = group + i;
	}
	return oldest;
}

/* lectern_i_say has a text wait for a frame of names, unless it was said lately. Its content is the hash for a name. */
static int lectern_i_say(lectern *l, uint64_t content, uint8_t what, const uint8_t *text, size_t size) {
	uint64_t now = lectern_i_clock(l, 1), for_ = l->o.way == LECTERN_UDP ? LECTERN_I_HOUR : 24ull * LECTERN_I_HOUR;
	uint64_t hash = what == 0 ? content : lectern_id(text, size), id = content;
	lectern_i_said *said;
	uint8_t *b, key[9];
	if (what > 0) {
		key[0] = what;
		lectern_i_put(key + 1, content);
		id = lectern_id(key, sizeof key);
	}
	said = lectern_i_said_of(l, id);
	if (said->at > 0 && said->id == id && said->text == hash && now + 1 - said->at < for_) return LECTERN_OK;
	if (what < LECTERN_PUBLISHED ? !lectern_i_text(text, size) : !lectern_i_decimal(text, size)) return LECTERN_INVALID;
	if (l->closing) return LECTERN_CLOSED;
	if (l->nameless) return LECTERN_OK;
	if (l->names_size + LECTERN_I_NAME + size > l->limit) lectern_i_finish(l);
	if (l->names_size == 0) l->names_size = LECTERN_I_HEADER, l->names_began = now;
	b = l->names + l->names_size;
	b[0] = what, b[1] = (uint8_t)size, b[2] = (uint8_t)(size >> 8);
	lectern_i_put(b + 3, content);
	memcpy(b + LECTERN_I_NAME, text, size);
	l->names_size += LECTERN_I_NAME + (uint32_t)size;
	said->id = id, said->text = hash, said->at = now + 1;
	return LECTERN_OK;
}

/* lectern_i_fits says whether a frame holds a text. */
static int lectern_i_fits(const lectern *l, size_t size) {
	return size <= LECTERN_I_NAME_MAX && LECTERN_I_HEADER + LECTERN_I_NAME + size <= l->limit;
}

int lectern_name(lectern *l, const void *text, size_t size) {
	lectern_i_here(l);
	if (size < 1 || !lectern_i_fits(l, size)) return LECTERN_INVALID;
	return lectern_i_say(l, lectern_id(text, size), 0, (const uint8_t *)text, size);
}

int lectern_describe(lectern *l, uint64_t content, enum lectern_attribute what, const void *text, size_t size) {
	lectern_i_here(l);
	if (what < LECTERN_TITLE || what > LECTERN_WORDS || !lectern_i_fits(l, size)) return LECTERN_INVALID;
	return lectern_i_say(l, content, (uint8_t)what, (const uint8_t *)(size > 0 ? text : ""), size);
}

int lectern_key(lectern *l, const char *key) {
	lectern_i_here(l);
	if (!l->sealed || !lectern_i_key(l, key)) return LECTERN_INVALID;
	l->rekeyed = 1;
	return LECTERN_OK;
}

int lectern_flush(lectern *l) {
	lectern_i_here(l);
	if (l->closing) return LECTERN_CLOSED;
	lectern_i_finish(l);
	if (l->o.way == LECTERN_TCP) lectern_i_transmit(l, lectern_i_clock(l, 1));
	return LECTERN_OK;
}

static uint64_t lectern_i_sooner(uint64_t a, uint64_t b) { return a < b ? a : b; }

/* lectern_i_due is when something has to be done, whatever comes. */
static uint64_t lectern_i_due(const lectern *l, uint64_t now) {
	uint64_t due = l->last_sent + l->beat_wait;
	if (l->count > 0) due = lectern_i_sooner(due, l->began + l->o.flush_ms);
	if (l->names_size > 0) due = lectern_i_sooner(due, l->names_began + l->o.flush_ms);
	if (l->o.way == LECTERN_UDP) {
		if (l->old_fd >= 0) due = lectern_i_sooner(due, l->old_due);
		if (l->closing) due = lectern_i_sooner(due, l->last_due);
		if (l->sealed) due = lectern_i_sooner(due, l->last_beat + LECTERN_I_BEAT_MAX);
		if (l->wanted) due = lectern_i_sooner(due, (l->tried > l->born ? l->tried : l->born) + LECTERN_I_RENEW_WAIT);
		if (l->position > 0) due = lectern_i_sooner(due, l->born + l->o.socket_age_ms > now ? l->born + l->o.socket_age_ms : now + LECTERN_I_RENEW_WAIT);
	} else {
		if (l->state != LECTERN_I_LIVE || l->frames > 0 || l->closing) due = now + LECTERN_I_SILENCE_MAX;
		if (l->count > 0) due = lectern_i_sooner(due, l->began + l->o.flush_ms);
		if (l->names_size > 0) due = lectern_i_sooner(due, l->names_began + l->o.flush_ms);
		if (l->state == LECTERN_I_IDLE) due = lectern_i_sooner(due, l->retry);
		else if (l->state != LECTERN_I_LIVE) due = lectern_i_sooner(due, l->since + LECTERN_I_CONNECT_WAIT);
		else if (l->flight > 0) due = lectern_i_sooner(due, l->heard + LECTERN_I_SILENCE_MAX);
		if (l->closing) due = lectern_i_sooner(due, l->deadline);
	}
	return due;
}

uint32_t lectern_poll(lectern *l) {
	uint64_t now, due;
	lectern_i_here(l);
	if (l->ended) return LECTERN_I_BEAT_MAX;
	now = lectern_i_clock(l, 1);
	if ((l->count > 0 && now - l->began >= l->o.flush_ms) || (l->names_size > 0 && now - l->names_began >= l->o.flush_ms)) lectern_i_finish(l);
	if (l->o.way == LECTERN_UDP) lectern_i_poll_udp(l, now);
	else lectern_i_poll_tcp(l, now);
	due = lectern_i_due(l, now);
	return due > now ? (uint32_t)(due - now) : 0;
}

int lectern_fd(const lectern *l, short *events) {
	if (events) {
		*events = POLLIN;
		if (l->o.way == LECTERN_TCP && (l->state == LECTERN_I_CONNECTING || l->partial > 0)) *events |= POLLOUT;
	}
	return l->o.way == LECTERN_TCP ? l->fd : -1;
}

void lectern_end(lectern *l, uint32_t ms) {
	lectern_i_here(l);
	if (l->closing) return;
	lectern_i_finish(l);
	l->closing = 1;
	l->last_due = lectern_i_clock(l, 1);
	l->deadline = l->last_due + ms;
	lectern_poll(l);
}

int lectern_ended(const lectern *l) { return l->ended; }

uint64_t lectern_close(lectern *l, uint32_t ms) {
	lectern_end(l, ms);
	while (!l->ended) {
		struct pollfd p;
		uint32_t wait = lectern_poll(l);
		if (l->ended) break;
		p.fd = lectern_fd(l, &p.events);
		poll(&p, p.fd >= 0, (int)(wait < 1000 ? wait : 1000));
	}
	return l->stats.closed;
}

void lectern_free(lectern *l) {
	if (!l) return;
	if (l->fd >= 0) close(l->fd);
	if (l->old_fd >= 0) close(l->old_fd);
	free(l->host);
	free(l->frame);
	free(l->spare);
	free(l->names);
	free(l->said);
	free(l->ring);
	free(l->outgoing);
	free(l);
}

lectern_stats_t lectern_stats(const lectern *l) { return l->stats; }

uint64_t lectern_source(const lectern *l) { return l->source; }

#ifdef __cplusplus
}
#endif
#endif /* LECTERN_IMPLEMENTED */
#endif /* LECTERN_IMPLEMENTATION */
