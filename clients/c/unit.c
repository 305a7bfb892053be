/* The client's own tests: unit VECTORS, the directory wire/testdata/vectors. */
#include <dirent.h>
#include <inttypes.h>
#include <stdlib.h>

/* Allocations are counted, since there must be none after the start. */
static unsigned allocations;
static void *counted_malloc(size_t n) { return allocations++, malloc(n); }
static void *counted_calloc(size_t n, size_t size) { return allocations++, calloc(n, size); }
#define malloc counted_malloc
#define calloc counted_calloc
#define LECTERN_IMPLEMENTATION
#include "lectern.h"
#undef malloc
#undef calloc

#include <arpa/inet.h>

static unsigned failures;

#define CHECK(condition, ...) \
	do { \
		if (!(condition)) { \
			fprintf(stderr, "FAILED line %d: %s: ", __LINE__, #condition); \
			fprintf(stderr, __VA_ARGS__); \
			fputc('\n', stderr); \
			failures++; \
		} \
	} while (0)

static uint64_t clock_ms = 1767225600000;
static uint64_t now(void *context, int monotonic) {
	(void)context, (void)monotonic;
	return clock_ms;
}

static unsigned resolve(void *context, const char *host, uint16_t port, void *address) {
	struct sockaddr_in a;
	(void)context, (void)host;
	memset(&a, 0, sizeof a);
	a.sin_family = AF_INET;
	a.sin_port = htons(port);
	a.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
	memcpy(address, &a, sizeof a);
	return sizeof a;
}

/* --- vectors: what is in a file of events has to come out with its bytes --- */

static uint8_t sent[65536];
static size_t sent_size;
static long keep(void *context, int fd, const void *datagram, size_t size) {
	(void)context, (void)fd;
	memcpy(sent, datagram, size);
	sent_size = size;
	return (long)size;
}

static uint64_t field(const char *line, const char *key) {
	char name[32];
	const char *at;
	snprintf(name, sizeof name, " %s=", key);
	at = strstr(line, name);
	return at ? strtoull(at + strlen(name), NULL, 10) : 0;
}

static uint8_t kind_of(const char *line) {
	static const char *const kinds[] = {"kind=open", "kind=read", "kind=finish", "kind=save", "kind=share", "kind=impression", "kind=click"};
	uint8_t k = 0;
	while (k < 6 && !strstr(line, kinds[k])) k++;
	return k;
}

/* vector reads a file, and returns whether it is one frame of events that an emitter writes: one whose
 * time is that of its oldest event. */
static int vector(const char *path) {
	static char line[1 << 16];
	static uint8_t want[65536];
	lectern_options o;
	lectern *l = NULL;
	lectern_event e;
	size_t size = 0;
	uint64_t time = 0;
	int frames = 0, body = 0, skip = 0, oldest = 0;
	FILE *f = fopen(path, "r");
	memset(&o, 0, sizeof o);
	o.hooks.now = now, o.hooks.resolve = resolve, o.hooks.send = keep;
	o.datagram_size = 65507;
	while (f && fgets(line, sizeof line, f)) {
		if (body) {
			char *at = line, *end;
			for (;;) {
				unsigned long b = strtoul(at, &end, 16);
				if (end == at) break;
				want[size++] = (uint8_t)b;
				at = end;
			}
		} else if (strcmp(line, "\n") == 0) body = 1;
		else if (strncmp(line, "expect: ", 8) == 0) skip |= strcmp(line, "expect: ok\n") != 0;
		else if (strncmp(line, "minimal: ", 9) == 0) skip = 1;
		else if (strncmp(line, "frame: ", 7) == 0) {
			time = field(line, "time");
			skip |= !strstr(line, "type=events flags=0 ") || frames++ > 0 || field(line, "count") == 0 || time < LECTERN_I_TIME_MIN || time + LECTERN_I_AT_MAX > LECTERN_I_TIME_MAX;
			o.stream = (uint16_t)field(line, "stream");
			if (!skip) l = lectern_dial(&o);
		} else if (strncmp(line, "event: ", 7) == 0 && l && !skip) {
			memset(&e, 0, sizeof e);
			e.content = field(line, "content"), e.user = field(line, "user");
			oldest |= field(line, "at") == 0;
			e.time = time + field(line, "at"), e.dwell = (uint32_t)field(line, "dwell");
			e.kind = kind_of(line);
			e.has_progress = strstr(line, "progress=-") == NULL;
			e.progress = (uint8_t)field(line, "progress");
			CHECK(lectern_add_event(l, &e) == LECTERN_OK, "%s", path);
		}
	}
	if (f) fclose(f);
	skip |= !l || !oldest;
	if (!skip) {
		lectern_flush(l);
		memcpy(want + 16, sent + 16, 24); /* source, sequence and position are this emitter's */
		CHECK(sent_size == size && memcmp(sent, want, size) == 0, "%s: %zu bytes, want %zu", path, sent_size, size);
	}
	lectern_free(l);
	return !skip;
}

static void vectors(const char *directory) {
	DIR *d = opendir(directory);
	struct dirent *entry;
	int n = 0;
	while (d && (entry = readdir(d))) {
		char path[1024];
		snprintf(path, sizeof path, "%s/%s", directory, entry->d_name);
		if (strstr(entry->d_name, ".txt")) n += vector(path);
	}
	if (d) closedir(d);
	CHECK(n > 30, "%d vectors in %s", n, directory);
}

/* --- a collector that acknowledges as it likes, over a real connection --- */

static uint32_t seed;
static uint32_t any(uint32_t below) {
	seed = seed * 1664525u + 1013904223u;
	return (uint32_t)((uint64_t)seed * below >> 32);
}

typedef struct collector {
	int listener, fd;
	uint16_t port;
	uint8_t in[1 << 17];
	size_t size;
	uint64_t source, next, durable, counted, placed;
} collector;

static void collect_open(collector *c) {
	struct sockaddr_in a;
	socklen_t size = sizeof a;
	memset(c, 0, sizeof *c);
	memset(&a, 0, sizeof a);
	a.sin_family = AF_INET;
	a.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
	c->listener = socket(AF_INET, SOCK_STREAM, 0);
	c->fd = -1;
	if (bind(c->listener, (struct sockaddr *)&a, sizeof a) != 0 || listen(c->listener, 8) != 0 || getsockname(c->listener, (struct sockaddr *)&a, &size) != 0) exit(1);
	fcntl(c->listener, F_SETFL, O_NONBLOCK);
	c->port = ntohs(a.sin_port);
}

static void collect_say(collector *c, uint64_t credit, int final) {
	uint8_t b[56];
	lectern_i_header(b, 3, 56, 0, 7, clock_ms, c->source, 0, 1);
	b[3] = final ? 2 : 0;
	lectern_i_put(b + 40, c->durable);
	lectern_i_put(b + 48, credit);
	if (c->fd >= 0 && send(c->fd, b, sizeof b, MSG_NOSIGNAL) != (ssize_t)sizeof b) close(c->fd), c->fd = -1;
}

/* collect_take takes a whole frame, which has to follow what came before. */
static void collect_take(collector *c, const uint8_t *b) {
	uint64_t sequence = lectern_i_get(b + 24, 8), position = lectern_i_get(b + 32, 8), count = lectern_i_get(b + 6, 2);
	if ((b[2] & 15) == 2) {
		/* What a stranger says can end a source: the next one is numbered from 0. */
		if (c->source != lectern_i_get(b + 16, 8)) c->next = c->placed = 0;
		c->source = lectern_i_get(b + 16, 8);
		collect_say(c, 100000, 0);
		return;
	}
	if (sequence < c->next) return; /* again */
	CHECK(position >= c->placed, "position %" PRIu64 " of frame %" PRIu64 ", %" PRIu64 " came (seed %u)", position, sequence, c->placed, seed);
	c->next = sequence + 1;
	c->placed = position + count;
	c->counted += count;
}

static void collect(collector *c) {
	int fd = accept(c->listener, NULL, NULL);
	ssize_t n;
	if (fd >= 0) {
		if (c->fd >= 0) close(c->fd);
		c->fd = fd, c->size = 0;
		fcntl(fd, F_SETFL, O_NONBLOCK);
	}
	if (c->fd < 0) return;
	n = recv(c->fd, c->in + c->size, sizeof c->in - c->size, 0);
	if (n == 0) close(c->fd), c->fd = -1;
	if (n > 0) c->size += (size_t)n;
	while (c->size >= 40 && c->size >= lectern_i_get(c->in + 4, 2)) {
		size_t size = (size_t)lectern_i_get(c->in + 4, 2);
		collect_take(c, c->in);
		memmove(c->in, c->in + size, c->size -= size);
	}
}

static void balanced(const lectern *l, const char *where) {
	lectern_stats_t s = lectern_stats(l);
	CHECK(s.added == s.sent + s.acked + s.buffered + s.queue + s.socket + s.closed + s.refused + s.unsure, "%s (seed %u)", where, seed);
}

/* Events of all sizes, a small ring, and a collector that is slow, ends, and comes back: each event is
 * acknowledged, or dropped and lost to the collector, once. */
static void ring(void) {
	static collector c;
	lectern_options o;
	lectern_stats_t s;
	lectern *l;
	unsigned i, had;
	uint32_t began = seed;
	collect_open(&c);
	memset(&o, 0, sizeof o);
	o.way = LECTERN_TCP, o.port = c.port, o.stream = 7;
	o.frame_size = 65 + any(400), o.buffer_size = 4096 + any(4096);
	o.hooks.now = now, o.hooks.resolve = resolve;
	l = lectern_dial(&o);
	had = allocations;
	for (i = 0; i < 20000; i++) {
		lectern_event e;
		memset(&e, 0, sizeof e);
		e.kind = (uint8_t)any(5), e.content = (uint64_t)any(1u << any(31)) << any(33), e.user = any(1u << any(31)), e.dwell = any(1u << any(26));
		e.has_progress = (uint8_t)any(2), e.progress = (uint8_t)any(101);
		if (any(3) == 0) e.time = clock_ms - any(1u << any(24));
		lectern_add_event(l, &e);
		clock_ms += any(3);
		if (any(4) == 0) lectern_poll(l);
		collect(&c);
		if (any(9) == 0) {
			c.durable += any((uint32_t)(c.next - c.durable + 1));
			collect_say(&c, any(8) == 0 ? 0 : any(100000), 0);
		}
		if (any(400) == 0) {
			if (any(2) == 0) collect_say(&c, 0, c.durable == c.next);
			if (c.fd >= 0) close(c.fd), c.fd = -1;
		}
		if (i % 64 == 0) balanced(l, "in the ring");
	}
	lectern_end(l, 4000000);
	for (i = 0; i < 100000 && !lectern_ended(l); i++) {
		clock_ms += 50;
		lectern_poll(l);
		collect(&c);
		c.durable = c.next;
		collect_say(&c, 100000, 0);
	}
	s = lectern_stats(l);
	balanced(l, "at the end");
	CHECK(lectern_ended(l) && s.closed == 0 && s.unsure == 0, "seed %u: %" PRIu64 " given up, %" PRIu64 " unsure", began, s.closed, s.unsure);
	CHECK(s.acked == c.counted && s.queue == c.placed - c.counted, "seed %u: acked %" PRIu64 " of %" PRIu64 " that came, dropped %" PRIu64 " and %" PRIu64 " show", began, s.acked, c.counted, s.queue, c.placed - c.counted);
	CHECK(allocations == had, "%u allocations after the start", allocations - had);
	lectern_free(l);
	if (c.fd >= 0) close(c.fd);
	close(c.listener);
}

/* Whatever a stranger answers, nothing breaks and the numbers add up. */
static void strangers(void) {
	static collector c;
	lectern_options o;
	lectern *l;
	unsigned i, k;
	collect_open(&c);
	memset(&o, 0, sizeof o);
	o.way = LECTERN_TCP, o.port = c.port, o.stream = 7, o.frame_size = 200, o.buffer_size = 4096, o.flush_ms = 1;
	o.hooks.now = now, o.hooks.resolve = resolve;
	l = lectern_dial(&o);
	for (i = 0; i < 30000; i++) {
		uint8_t b[600];
		size_t size = any(5) ? 56 : 40 + any(400);
		lectern_add(l, LECTERN_OPEN, i, i);
		clock_ms += any(3000);
		lectern_poll(l);
		collect(&c);
		for (k = 0; k < sizeof b; k++) b[k] = (uint8_t)any(256);
		lectern_i_header(b, any(2) ? 3 : 4, any(10) ? (uint32_t)size : any(65536), 0, 7, clock_ms, any(6) ? lectern_source(l) : any(9), any(3) ? any(100) : l->sequence - any(5), any(20) ? 1 : any(3));
		b[3] = any(10) ? 0 : (uint8_t)any(256);
		if (b[2] == 0x13) lectern_i_put(b + 40, any(5) ? any((uint32_t)l->sent_below + 2) : any(1000)), lectern_i_put(b + 48, any(10000));
		else if (any(4)) {
			static const char *const words[] = {"kind", "forgotten", "position", "sources", "unknown"};
			const char *word = words[any(5)];
			b[40] = (uint8_t)strlen(word);
			memcpy(b + 41, word, strlen(word));
		}
		if (any(12) == 0) b[any((uint32_t)size)] ^= (uint8_t)(1u << any(8));
		if (c.fd >= 0 && any(2)) {
			if (send(c.fd, b, any(9) ? size : any((uint32_t)size), MSG_NOSIGNAL) < 0 || any(40) == 0) close(c.fd), c.fd = -1;
		}
		lectern_poll(l);
		balanced(l, "with strangers");
	}
	lectern_free(l);
	if (c.fd >= 0) close(c.fd);
	close(c.listener);
}

/* said says what an emitter sends of the names that wait: attribute, content and text of each, and a space. */
static const char *said(lectern *l) {
	static char list[65536];
	size_t at = 40;
	char *end = list;
	sent_size = 0, *end = 0;
	lectern_flush(l);
	if (sent_size > 40 && sent[2] != 0x15) return "no frame of names";
	for (; at < sent_size; at += 11 + (size_t)(sent[at + 1] | sent[at + 2] << 8))
		end += sprintf(end, "%d %u %.*s ", sent[at], sent[at + 3], sent[at + 1] | sent[at + 2] << 8, (char *)sent + at + 11);
	return list;
}

/* Of a content the last of each attribute is remembered, for as long as a name. */
static void attributes(void) {
	lectern_options o;
	lectern *l;
	uint64_t i;
	const char *got;
	memset(&o, 0, sizeof o);
	o.hooks.now = now, o.hooks.resolve = resolve, o.hooks.send = keep;
	l = lectern_dial(&o);
	for (i = 0; i < 3; i++) {
		CHECK(lectern_describe(l, 42, LECTERN_TITLE, "A", 1) == LECTERN_OK, "a title");
		CHECK(lectern_describe(l, 42, LECTERN_WORDS, "1200", 4) == LECTERN_OK, "words");
	}
	got = said(l);
	CHECK(strcmp(got, "1 42 A 5 42 1200 ") == 0, "said \"%s\"", got);
	lectern_describe(l, 42, LECTERN_TITLE, "B", 1), lectern_describe(l, 42, LECTERN_TITLE, "A", 1);
	lectern_describe(l, 43, LECTERN_TITLE, "A", 1), lectern_describe(l, 42, LECTERN_SECTION, "A", 1), lectern_describe(l, 42, LECTERN_WORDS, NULL, 0);
	got = said(l);
	CHECK(strcmp(got, "1 42 B 1 42 A 1 43 A 2 42 A 5 42  ") == 0, "then \"%s\"", got);
	clock_ms += 3599999;
	lectern_describe(l, 42, LECTERN_TITLE, "A", 1), lectern_describe(l, 42, LECTERN_WORDS, "", 0);
	got = said(l);
	CHECK(strcmp(got, "") == 0, "within the hour \"%s\"", got);
	clock_ms++;
	lectern_describe(l, 42, LECTERN_TITLE, "A", 1);
	got = said(l);
	CHECK(strcmp(got, "1 42 A ") == 0, "behind it \"%s\"", got);
	{
		static const struct { int what; const char *text; } wrong[] = {{0, "A"}, {6, "A"}, {LECTERN_TITLE, "\xff"}, {LECTERN_WORDS, "many"}, {LECTERN_WORDS, "01"}, {LECTERN_PUBLISHED, "-1"}, {LECTERN_PUBLISHED, "281474976710656"}};
		static const char long_[514] = {0};
		for (i = 0; i < sizeof wrong / sizeof *wrong; i++)
			CHECK(lectern_describe(l, 42, (enum lectern_attribute)wrong[i].what, wrong[i].text, strlen(wrong[i].text)) == LECTERN_INVALID, "attribute %d %s", wrong[i].what, wrong[i].text);
		CHECK(lectern_describe(l, 42, LECTERN_TITLE, long_, 513) == LECTERN_INVALID && lectern_describe(l, 42, LECTERN_TITLE, long_, 512) == LECTERN_OK, "512 bytes");
		CHECK(lectern_describe(l, 42, LECTERN_PUBLISHED, "281474976710655", 15) == LECTERN_OK, "the largest number");
	}
	said(l);
	for (i = 0; i < 100000; i++) CHECK(lectern_describe(l, i, LECTERN_TITLE, "A", 1) == LECTERN_OK, "content %u", (unsigned)i);
	said(l);
	lectern_describe(l, 99999, LECTERN_TITLE, "A", 1);
	got = said(l);
	CHECK(strcmp(got, "") == 0, "the newest of many is said again: \"%s\"", got);
	lectern_describe(l, 0, LECTERN_TITLE, "A", 1);
	got = said(l);
	CHECK(strcmp(got, "1 0 A ") == 0, "the oldest of many is not: \"%s\"", got);
	lectern_end(l, 0);
	CHECK(lectern_describe(l, 42, LECTERN_TITLE, "late", 4) == LECTERN_CLOSED, "late");
	lectern_free(l);
}

/* What found no room in a full ring is said again by the next call. */
static void attributes_in_ring(void) {
	lectern_options o;
	lectern *l;
	uint64_t i;
	memset(&o, 0, sizeof o);
	o.hooks.now = now, o.hooks.resolve = resolve;
	o.way = LECTERN_TCP, o.frame_size = 200, o.buffer_size = 4096;
	l = lectern_dial(&o);
	for (i = 0; l->skipped_frames == 0; i++) {
		lectern_describe(l, i, LECTERN_TITLE, "A", 1);
		lectern_flush(l);
	}
	CHECK(i > 10 && l->names_size == 0, "%u fit into the ring", (unsigned)i);
	lectern_describe(l, i - 1, LECTERN_TITLE, "A", 1);
	CHECK(l->names_size > 0, "it is not said again");
	lectern_free(l);
}

static void invalid(void) {
	lectern_options o;
	lectern_event e;
	lectern *l;
	memset(&o, 0, sizeof o);
	memset(&e, 0, sizeof e);
	o.stream = 65535;
	CHECK(lectern_dial(&o) == NULL && errno == EINVAL, "the reserved stream");
	o.stream = 7, o.datagram_size = 64;
	CHECK(lectern_dial(&o) == NULL && errno == EINVAL, "a datagram without room for an event");
	o.datagram_size = 0, o.way = LECTERN_TCP, o.buffer_size = 1000;
	CHECK(lectern_dial(&o) == NULL && errno == EINVAL, "a buffer without room for four frames");
	o.way = LECTERN_UDP, o.hooks.send = keep;
	l = lectern_dial(&o);
	e.kind = 7;
	CHECK(lectern_add_event(l, &e) == LECTERN_INVALID, "a kind without a name");
	e.kind = 1, e.has_progress = 1, e.progress = 101;
	CHECK(lectern_add_event(l, &e) == LECTERN_INVALID, "a progress above 100");
	e.progress = 100, e.time = 1767225600;
	CHECK(lectern_add_event(l, &e) == LECTERN_INVALID, "seconds");
	e.time = 1ull << 48;
	CHECK(lectern_add_event(l, &e) == LECTERN_INVALID, "a time of 2^48");
	CHECK(lectern_stats(l).added == 0, "what is invalid is not added");
	lectern_free(l);
}

int main(int n, char **args) {
	unsigned i;
	if (n < 2) return 2;
	CHECK(lectern_id("abc", 3) == 0x44bc2cf5ad770999ull, "the id of abc");
	vectors(args[1]);
	invalid();
	attributes();
	attributes_in_ring();
	seed = n > 2 ? (uint32_t)strtoul(args[2], NULL, 10) : (uint32_t)time(NULL);
	printf("seed %u\n", seed);
	for (i = 0; i < 8; i++) ring();
	strangers();
	if (failures) fprintf(stderr, "%u failures\n", failures);
	return failures != 0;
}
