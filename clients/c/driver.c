/* The driver for lectern conform: wire/SPEC.md, section 14. */
#define LECTERN_IMPLEMENTATION
#include "lectern.h"

#ifdef WITH_OPENSSL
#include "lectern_openssl.h"
#define SEALED ",sealed"
#else
#define SEALED ""
#endif

#include <arpa/inet.h>
#include <inttypes.h>
#include <sys/wait.h>

#define LINE_MAX_ 8192

static uint64_t clock_ms = 1767225600000;
static long jam;
static char host_name[256], host_address[64];
static lectern *l;

static uint64_t now(void *context, int monotonic) {
	(void)context, (void)monotonic;
	return clock_ms;
}

static unsigned resolve(void *context, const char *host, uint16_t port, void *address) {
	struct sockaddr_in a;
	(void)context;
	memset(&a, 0, sizeof a);
	a.sin_family = AF_INET;
	a.sin_port = htons(port);
	if (inet_pton(AF_INET, strcmp(host, host_name) == 0 ? host_address : host, &a.sin_addr) != 1) return 0;
	memcpy(address, &a, sizeof a);
	return sizeof a;
}

static long send_(void *context, int fd, const void *datagram, size_t size) {
	(void)context;
	if (jam > 0) {
		jam--;
		errno = ENOBUFS;
		return -1;
	}
	return (long)send(fd, datagram, size, MSG_NOSIGNAL);
}

/* value is that of a key=value word, or otherwise. */
static uint64_t value(char **words, int n, const char *key, uint64_t otherwise) {
	int i;
	for (i = 0; i < n; i++) {
		size_t size = strlen(key);
		if (strncmp(words[i], key, size) == 0 && words[i][size] == '=') return strtoull(words[i] + size + 1, NULL, 10);
	}
	return otherwise;
}

/* text is that of a key=value word, or null. */
static const char *text(char **words, int n, const char *key) {
	int i;
	for (i = 0; i < n; i++) {
		size_t size = strlen(key);
		if (strncmp(words[i], key, size) == 0 && words[i][size] == '=') return words[i] + size + 1;
	}
	return NULL;
}

static const char *dial(char **words, int n) {
	lectern_options o;
	char *port = strchr(words[2], ':');
	memset(&o, 0, sizeof o);
	*port++ = 0;
	o.host = words[2];
	o.port = (uint16_t)atoi(port);
	o.way = strcmp(words[1], "udp") == 0 ? LECTERN_UDP : LECTERN_TCP;
	o.stream = (uint16_t)value(words, n, "stream", 0);
	o.flush_ms = (uint32_t)value(words, n, "flush", 0);
	o.datagram_size = (uint32_t)value(words, n, "datagram", 0);
	o.socket_age_ms = (uint32_t)value(words, n, "age", 0);
	o.frame_size = (uint32_t)value(words, n, "frame", 0);
	o.buffer_size = (uint32_t)value(words, n, "buffer", 0);
	o.key = text(words, n, "key");
	o.audience = text(words, n, "audience");
#ifdef WITH_OPENSSL
	o.seal = lectern_openssl();
#endif
	o.hooks.now = now, o.hooks.resolve = resolve, o.hooks.send = send_;
	lectern_free(l);
	l = lectern_dial(&o);
	if (!l) return errno == EINVAL ? "no invalid" : "error dial";
	return "ok";
}

static const char *add(char **words, int n) {
	static const char *const kinds[] = {"open", "read", "finish", "save", "share", "impression", "click"};
	lectern_event e;
	uint64_t many = value(words, n, "n", 1), progress = value(words, n, "progress", 1000);
	memset(&e, 0, sizeof e);
	for (e.kind = 0; e.kind < 7 && strcmp(words[1], kinds[e.kind]) != 0;) e.kind++;
	e.content = strtoull(words[2], NULL, 10);
	e.user = strtoull(words[3], NULL, 10);
	e.time = value(words, n, "at", 0);
	e.dwell = (uint32_t)value(words, n, "dwell", 0);
	e.has_progress = progress < 1000;
	e.progress = (uint8_t)(progress < 1000 ? progress : 0);
	for (; many > 0; many--, e.user++) {
		int result = l ? lectern_add_event(l, &e) : LECTERN_CLOSED;
		if (result == LECTERN_INVALID) return "no invalid";
		if (result == LECTERN_CLOSED) return "no closed";
	}
	return "ok";
}

/* text_of is the text that is written in hex. */
static size_t text_of(const char *hex, uint8_t *text) {
	size_t size = 0;
	unsigned byte;
	for (; hex && sscanf(hex + 2 * size, "%2x", &byte) == 1; size++) text[size] = (uint8_t)byte;
	return size;
}

static const char *said(int result) { return result == LECTERN_OK ? "ok" : result == LECTERN_INVALID ? "no invalid" : "no closed"; }

static const char *name(const char *hex) {
	uint8_t text[LINE_MAX_];
	size_t size = text_of(hex, text);
	return said(lectern_name(l, text, size));
}

static const char *describe(char **words, int n) {
	static const char *const attributes[] = {"title", "section", "author", "published", "words"};
	uint8_t text[LINE_MAX_];
	size_t size = text_of(n > 3 ? words[3] : NULL, text);
	int what = 0;
	while (what < 5 && strcmp(words[2], attributes[what]) != 0) what++;
	return said(lectern_describe(l, strtoull(words[1], NULL, 10), (enum lectern_attribute)(what + 1), text, size));
}

/* hash writes the answer to the id of a text in hex. */
static void hash(const char *hex, char *answer) {
	uint8_t text[LINE_MAX_];
	size_t size = text_of(hex, text);
	sprintf(answer, "ok id=%" PRIu64, lectern_id(text, size));
}

static void stats(char *answer) {
	lectern_stats_t s = lectern_stats(l);
	sprintf(answer, "ok added=%" PRIu64 " sent=%" PRIu64 " acked=%" PRIu64 " buffered=%" PRIu64 " queue=%" PRIu64 " socket=%" PRIu64 " closed=%" PRIu64 " refused=%" PRIu64 " unsure=%" PRIu64,
		s.added, s.sent, s.acked, s.buffered, s.queue, s.socket, s.closed, s.refused, s.unsure);
}

/* fork_ answers in the child, and in the parent when the child has ended. */
static const char *fork_(void) {
	pid_t child = fork();
	if (child < 0) return "error fork";
	if (child > 0) waitpid(child, NULL, 0);
	return "ok";
}

/* quiet lets the emitter do what it can now. */
static void quiet(void) {
	int i;
	for (i = 0; l && i < 4; i++) lectern_poll(l);
}

static void answer(char **words, int n, char *said) {
	const char *is = "error no such command";
	if (strcmp(words[0], "hello") == 0) is = "ok client=c/1 has=udp,tcp,fork,resolve,jam,names,attributes" SEALED;
	else if (strcmp(words[0], "resolve") == 0) {
		strcpy(host_name, words[1]), strcpy(host_address, words[2]);
		is = "ok";
	} else if (strcmp(words[0], "hash") == 0) {
		hash(n > 1 ? words[1] : NULL, said);
		return;
	} else if (strcmp(words[0], "jam") == 0) jam = atol(words[1]), is = "ok";
	else if (strcmp(words[0], "dial") == 0) is = dial(words, n);
	else if (strcmp(words[0], "add") == 0) is = add(words, n);
	else if (strcmp(words[0], "poll") == 0) is = "ok";
	else if (strcmp(words[0], "clock") == 0) clock_ms += strtoull(words[1], NULL, 10), is = "ok";
	else if (strcmp(words[0], "fork") == 0) is = fork_();
	else if (strcmp(words[0], "exit") == 0) _exit(0);
	else if (!l) is = "no closed";
	else if (strcmp(words[0], "name") == 0) is = name(n > 1 ? words[1] : NULL);
	else if (strcmp(words[0], "describe") == 0) is = describe(words, n);
	else if (strcmp(words[0], "flush") == 0) is = lectern_flush(l) == LECTERN_OK ? "ok" : "no closed";
	else if (strcmp(words[0], "key") == 0) is = lectern_key(l, words[1]) == LECTERN_OK ? "ok" : "no invalid";
	else if (strcmp(words[0], "close") == 0) lectern_end(l, (uint32_t)atol(words[1])), is = "ok";
	quiet();
	if (l && strcmp(words[0], "stats") == 0) {
		stats(said);
		return;
	}
	if (l && strcmp(is, "ok") == 0 && l->closing) is = lectern_ended(l) ? "ok closed" : "ok closing";
	strcpy(said, is);
}

int main(void) {
	static char line[LINE_MAX_], said[LINE_MAX_];
	char *words[64];
	setvbuf(stdin, NULL, _IONBF, 0); /* a child reads on where its parent stopped */
	while (fgets(line, sizeof line, stdin)) {
		int n = 0;
		char *word = strtok(line, " \n");
		for (; word && n < 64; word = strtok(NULL, " \n")) words[n++] = word;
		if (n == 0) continue;
		answer(words, n, said);
		puts(said);
		fflush(stdout);
	}
	lectern_free(l);
	return 0;
}
