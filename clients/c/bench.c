/* Events a second of CPU time into datagrams: this client's, and those of a plain statsd client
 * that does the same job, a counter with two tags for each event. */
#define LECTERN_IMPLEMENTATION
#include "lectern.h"

#include <arpa/inet.h>
#include <inttypes.h>

#define EVENTS 20000000u

static long nowhere(void *context, int fd, const void *datagram, size_t size) {
	(void)fd, (void)datagram;
	*(uint64_t *)context += size;
	return (long)size;
}

/* sink is a socket that takes datagrams and drops most of them, for want of a reader. */
static int sink(struct sockaddr_in *a) {
	socklen_t size = sizeof *a;
	int fd = socket(AF_INET, SOCK_DGRAM, 0);
	memset(a, 0, sizeof *a);
	a->sin_family = AF_INET;
	a->sin_addr.s_addr = htonl(INADDR_LOOPBACK);
	if (fd < 0 || bind(fd, (struct sockaddr *)a, sizeof *a) != 0 || getsockname(fd, (struct sockaddr *)a, &size) != 0) exit(1);
	return fd;
}

static double seconds(void) {
	struct timespec t;
	clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &t);
	return (double)t.tv_sec + (double)t.tv_nsec / 1e9;
}

/* event is the i-th of some readers who read some contents. */
static inline void event(uint32_t i, lectern_event *e) {
	uint32_t h = i * 2654435761u;
	e->time = 1767225600000 + i / 1000;
	e->content = 0x9E3779B97F4A7C15ull * (h >> 22);
	e->user = 0xC2B2AE3D27D4EB4Full * (h >> 12);
	e->dwell = 15000;
	e->kind = LECTERN_READ;
	e->has_progress = 1;
	e->progress = (uint8_t)(h % 101);
}

static double ours(int fd, const struct sockaddr_in *to, uint64_t *counted) {
	lectern_options o;
	lectern_event e;
	uint32_t i;
	double began;
	lectern *l;
	(void)fd;
	memset(&o, 0, sizeof o);
	memset(&e, 0, sizeof e);
	o.port = ntohs(to->sin_port);
	if (counted) o.hooks.send = nowhere, o.hooks.context = counted;
	if (!(l = lectern_dial(&o))) exit(1);
	began = seconds();
	for (i = 0; i < EVENTS; i++) {
		event(i, &e);
		lectern_add_event(l, &e);
	}
	lectern_flush(l);
	began = seconds() - began;
	if (lectern_stats(l).added != EVENTS) exit(1);
	lectern_free(l);
	return EVENTS / began;
}

/* statsd packs lines into datagrams of 1,400 bytes, as clients that buffer do. */
static double statsd(int fd, const struct sockaddr_in *to, uint64_t *counted) {
	char datagram[1400 + 128];
	lectern_event e;
	size_t size = 0;
	uint32_t i, n = EVENTS / 10;
	double began = seconds();
	memset(&e, 0, sizeof e);
	for (i = 0; i < n; i++) {
		int line;
		event(i, &e);
		line = snprintf(datagram + size, 128, "reads.read:1|c|#content:%" PRIu64 ",user:%" PRIu64 ",progress:%u\n", e.content, e.user, (unsigned)e.progress);
		if (size + (size_t)line > 1400) {
			if (counted) *counted += size;
			else sendto(fd, datagram, size, MSG_DONTWAIT, (const struct sockaddr *)to, sizeof *to);
			memmove(datagram, datagram + size, (size_t)line);
			size = 0;
		}
		size += (size_t)line;
	}
	return n / (seconds() - began);
}

/* plain is what the kernel alone takes for as many datagrams of as many bytes. */
static double plain(int fd, const struct sockaddr_in *to, uint64_t bytes) {
	static char datagram[1400];
	uint64_t n = bytes / sizeof datagram, i;
	double began;
	if (connect(fd, (const struct sockaddr *)to, sizeof *to) != 0) exit(1);
	began = seconds();
	for (i = 0; i < n; i++) send(fd, datagram, sizeof datagram, MSG_DONTWAIT);
	return EVENTS / (seconds() - began);
}

int main(void) {
	struct sockaddr_in to;
	uint64_t bytes = 0, statsd_bytes = 0;
	int in = sink(&to), out = socket(AF_INET, SOCK_DGRAM, 0);
	double a = ours(out, &to, NULL), b = statsd(out, &to, NULL);
	printf("lectern %.0f\nstatsd %.0f\n", a, b);
	a = ours(out, &to, &bytes), b = statsd(out, &to, &statsd_bytes);
	printf("lectern-without-send %.0f\nstatsd-without-send %.0f\n", a, b);
	printf("send-alone %.0f\n", plain(out, &to, bytes));
	close(in);
	close(out);
	return 0;
}
