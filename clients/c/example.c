/* cc -std=c99 -D_GNU_SOURCE -I. -pthread -o example example.c && ./example */
#define LECTERN_IMPLEMENTATION
#include "lectern.h"

int main(void) {
	lectern_options o = {0}; /* udp://127.0.0.1:8420, stream 0 */
	lectern_event e = {0};
	lectern_stats_t s;
	lectern *l = lectern_dial(&o);
	if (!l) {
		perror("lectern_dial");
		return 1;
	}
	/* A reader opens an article, and has read for 15 seconds, to its middle. */
	lectern_add(l, LECTERN_OPEN, lectern_id("a-slug", 6), lectern_id("a-reader", 8));
	e.kind = LECTERN_READ, e.content = lectern_id("a-slug", 6), e.user = lectern_id("a-reader", 8);
	e.dwell = 15000, e.has_progress = 1, e.progress = 50;
	lectern_add_event(l, &e);
	lectern_poll(l); /* here in your loop: it sends what is 250 ms old */
	lectern_close(l, 1000);
	s = lectern_stats(l);
	printf("%llu events sent, %llu dropped\n", (unsigned long long)s.sent, (unsigned long long)(s.queue + s.socket));
	lectern_free(l);
	return 0;
}
