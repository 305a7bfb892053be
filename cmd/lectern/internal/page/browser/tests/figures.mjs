// An answer of /now.json as docs/NOW.md has it, with names that are not kind.

export const names = ['/politics/budget-2027', '<script>window.taken = 1</script>', 'أخبار الساعة: ما الذي تغيّر اليوم', '"><img src=x onerror="window.taken = 1">', '', '/a-name-of-many-words-without-an-end-that-goes-on-and-on-and-does-not-fit-into-any-line-of-a-telephone', '/weather', '/%D8%B7%D9%82%D8%B3', '/%0Aa%E2%80%AEb', '/100%'];

// What is said of the third and the fourth: a title is shown in place of a name.
export const said = { 2: { section: '<b>Section</b>', author: 'كاتبة' }, 3: { title: '<img src=x onerror="window.taken = 1"> in a title', author: 'A. Writer' } };

/** now answers as a daemon would. */
export function now(url, change = {}) {
  const time = Date.now(), since = time - 3 * 3600e3, q = url.searchParams;
  const hour = n => Array.from({ length: 61 }, (_, i) => Math.round(n * (1.2 + Math.sin(i / 9 + n)) + i));
  const stream = (number, name, readers) => ({
    stream: String(number), stream_name: name, readers_1m: readers, readers_1m_error: number === 7 ? 0.004 : 0, readers_5m: readers * 2, readers_5m_error: 0,
    opens_per_second: readers / 60, velocity: number === 8 ? null : 1.25, opens_by_minute: hour(readers), coarse_1m: 0,
    contents: names.slice(0, Number(q.get('limit') ?? 20)).map((name, i) => ({
      content: String(18446744073709551000n + BigInt(i)), name, ...said[i], readers_1m: readers - i, readers_1m_error: 0, readers_5m: 2 * readers - i, readers_5m_error: 0,
      opens_per_second: (readers - i) / 60, velocity: [3.5, 1.1, 0.4, null][i % 4], opens_by_minute: hour(readers - 7 * i),
    })),
  });
  const streams = [stream(7, 'news', 81234), stream(8, 'video', 2301), stream(65000, '', 17)].filter(s => !q.get('stream') || s.stream === q.get('stream'));
  return { time, since, cluster: false, streams, nodes: [{ node: '127.0.0.1:8421', state: 'own', time, since }], unasked: 0, ...change };
}
