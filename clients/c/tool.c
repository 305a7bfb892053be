/* What clients/c/test runs against a real collector:
 *
 *	tool log WAY HOST:PORT STREAM             the events of standard input, see docs/CLIENTS.md
 *	tool storm WAY HOST:PORT STREAM N EVENTS  N processes that are forked from one
 */
#define LECTERN_IMPLEMENTATION
#include "lectern.h"

#include <inttypes.h>
#include <sys/wait.h>

#define CLOSE_MS 60000

static lectern *dial(char **args) {
	lectern_options o;
	lectern *l;
	char *port = strrchr(args[1], ':');
	memset(&o, 0, sizeof o);
	if (!port) {
		fprintf(stderr, "tool: %s is not HOST:PORT\n", args[1]);
		exit(1);
	}
	*port = 0;
	o.host = args[1];
	o.port = (uint16_t)atoi(port + 1);
	o.stream = (uint16_t)atoi(args[2]);
	o.way = strcmp(args[0], "udp") == 0 ? LECTERN_UDP : LECTERN_TCP;
	if (!(l = lectern_dial(&o))) {
		perror("tool: cannot dial");
		exit(1);
	}
	return l;
}

static void rest(long ms) {
	struct timespec t;
	t.tv_sec = ms / 1000, t.tv_nsec = ms % 1000 * 1000000;
	nanosleep(&t, NULL);
}

/* event reads a line: milliseconds, kind, content, user, parted by tabs. It returns the
 * text of the content, and null of what is no event. */
static const char *event(char *line, lectern_event *e) {
	static const char *const kinds[] = {"open", "read", "finish", "save", "share", "impression", "click"};
	char *time = strtok(line, "\t\n"), *kind = strtok(NULL, "\t\n"), *content = strtok(NULL, "\t\n"), *user = strtok(NULL, "\t\n");
	memset(e, 0, sizeof *e);
	if (!user) return NULL;
	e->time = strtoull(time, NULL, 10);
	while (e->kind < 7 && strcmp(kinds[e->kind], kind) != 0) e->kind++;
	e->content = lectern_id(content, strlen(content));
	e->user = lectern_id(user, strlen(user));
	return content;
}

/* wait_ waits until there is something to read, and meanwhile does what is due. */
static void wait_(lectern *l) {
	struct pollfd p[2];
	do {
		uint32_t due = lectern_poll(l);
		p[0].fd = STDIN_FILENO, p[0].events = POLLIN, p[0].revents = 0;
		p[1].fd = lectern_fd(l, &p[1].events);
		poll(p, 2, (int)due);
	} while (p[0].revents == 0);
}

/* named says what a content is called, and what "test log" has every client say of it. */
static int named(lectern *l, const char *content) {
	char title[1024];
	size_t size = strlen(content);
	uint64_t id = lectern_id(content, size);
	int length = snprintf(title, sizeof title, "Title of %s", content);
	return lectern_name(l, content, size) == LECTERN_OK && lectern_describe(l, id, LECTERN_TITLE, title, (size_t)length) == LECTERN_OK &&
		lectern_describe(l, id, LECTERN_SECTION, "Log", 3) == LECTERN_OK && lectern_describe(l, id, LECTERN_AUTHOR, "A. Writer", 9) == LECTERN_OK &&
		lectern_describe(l, id, LECTERN_PUBLISHED, "1767225600000", 13) == LECTERN_OK && lectern_describe(l, id, LECTERN_WORDS, "1200", 4) == LECTERN_OK;
}

static int log_(char **args) {
	static char text[1 << 16];
	lectern *l = dial(args);
	lectern_event e;
	lectern_stats_t s;
	size_t had = 0;
	unsigned n = 0;
	for (;;) {
		char *line = text, *end;
		const char *content;
		ssize_t more;
		wait_(l);
		if ((more = read(STDIN_FILENO, text + had, sizeof text - 1 - had)) <= 0) break;
		had += (size_t)more;
		text[had] = 0;
		for (; (end = strchr(line, '\n')); line = end + 1) {
			*end = 0;
			if (!(content = event(line, &e)) || lectern_add_event(l, &e) != LECTERN_OK || !named(l, content)) {
				fprintf(stderr, "tool: line %u is no event\n", n + 1);
				return 1;
			}
			if (++n % 200 == 0 && strcmp(args[0], "udp") == 0) rest(1);
		}
		had -= (size_t)(line - text);
		memmove(text, line, had);
	}
	lectern_close(l, CLOSE_MS);
	s = lectern_stats(l);
	printf("ok added=%" PRIu64 " sent=%" PRIu64 " acked=%" PRIu64 " buffered=%" PRIu64 " queue=%" PRIu64 " socket=%" PRIu64 " closed=%" PRIu64 " refused=%" PRIu64 " unsure=%" PRIu64 "\n",
		s.added, s.sent, s.acked, s.buffered, s.queue, s.socket, s.closed, s.refused, s.unsure);
	lectern_free(l);
	return 0;
}

/* some adds events of a process. */
static void some(lectern *l, uint64_t process, unsigned n) {
	unsigned i;
	for (i = 0; i < n; i++) {
		lectern_add(l, LECTERN_OPEN, i % 7, process << 32 | i);
		if (i % 200 == 199) {
			rest(1);
			lectern_poll(l);
		}
	}
}

static int storm(char **args) {
	unsigned processes = (unsigned)atoi(args[3]), events = (unsigned)atoi(args[4]), i;
	int status, failed = 0;
	lectern *l = dial(args);
	some(l, 1, 1);
	for (i = 0; i < processes; i++) {
		pid_t child = fork();
		if (child < 0) {
			perror("tool: cannot fork");
			return 1;
		}
		if (child == 0) {
			some(l, i + 2, events);
			lectern_close(l, CLOSE_MS);
			_exit(lectern_stats(l).closed != 0);
		}
	}
	while (wait(&status) > 0) failed |= status != 0;
	lectern_add(l, LECTERN_OPEN, 1, (uint64_t)1 << 60);
	failed |= lectern_close(l, CLOSE_MS) != 0;
	printf("added=%u\n", processes * events + 2);
	lectern_free(l);
	return failed;
}

int main(int n, char **args) {
	if (n == 5 && strcmp(args[1], "log") == 0) return log_(args + 2);
	if (n == 7 && strcmp(args[1], "storm") == 0) return storm(args + 2);
	fprintf(stderr, "usage: tool log WAY HOST:PORT STREAM | tool storm WAY HOST:PORT STREAM PROCESSES EVENTS\n");
	return 2;
}
