// Three daemons that count as one, in a browser that looks at the first.
import assert from 'node:assert/strict';
import { writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { after, before, test } from 'node:test';
import { Daemon, Visit, emit, freePort, launch } from './daemon.mjs';

let browser, daemons;
before(async () => {
  browser = await launch();
  const ports = [await freePort(), await freePort(), await freePort()];
  const peers = `ops.peers = "${ports.map(p => '127.0.0.1:' + p).join()}"`;
  daemons = await Promise.all(ports.map(ops => Daemon.start(peers, { ops })));
});
after(async () => { await browser?.close(); await Promise.all((daemons || []).map(d => d.end())); });

/** read has so many readers, from a first one on, open a path. */
async function read(daemon, path, first, readers) {
  const log = join(daemon.dir, 'access.log'), time = new Date().toUTCString().replace(/^\w+, (\d+) (\w+) (\d+) ([\d:]+) GMT$/, '$1/$2/$3:$4 +0000');
  const lines = Array.from({ length: readers }, (_, i) => `10.0.${(first + i) >> 8}.${(first + i) & 255} - - [${time}] "GET ${path} HTTP/1.1" 200 99 "-" "Mozilla/5.0"\n`);
  writeFileSync(log, lines.join(''));
  assert.equal((await emit('tcp://' + daemon.events, '--stream', '7', '--log', log)).events, readers);
}

test('of three collectors one is killed: the page says which, and what the others have', async () => {
  // Readers of the first and the second, and of the second and the third, overlap.
  await read(daemons[0], '/<script>window.taken=1</script>', 0, 300);
  await read(daemons[1], '/<script>window.taken=1</script>', 200, 200);
  await read(daemons[2], '/أخبار', 350, 150);
  await read(daemons[0], '/أخبار', 350, 1); // a daemon names what it was told the name of
  const v = await Visit.open(browser, daemons[0].origin);
  const readers = '.figure:first-child .value';
  await v.says(readers, /^500$/);
  await v.says('aside', '3 collectors');
  await v.says('table.top bdi', /^\/<script>window.taken=1<\/script>$/);
  await v.says('table.top bdi', /^\/أخبار$/);
  // One that answers late on a busy machine is left out, and asked again.
  await v.comes(async () => [await v.page.locator('table.top tbody td.strong').allTextContents(), await v.page.locator('.alarm').isVisible()], [['400', '150'], false]);
  assert.equal(await v.page.evaluate(() => window.taken), undefined);
  await daemons[1].kill();
  await v.says('.alarm', '1 of 3 collectors is not in these figures: ' + daemons[1].ops);
  await read(daemons[0], '/<script>window.taken=1</script>', 0, 300); // the same again: those from before are gone a minute later
  await read(daemons[2], '/أخبار', 350, 150);
  await v.comes(async () => {
    const alarm = await v.text('.alarm');
    return [daemons.map(d => alarm.includes(d.ops)), await v.page.locator('.nodes .out .address').allTextContents()];
  }, [[false, true, false], [daemons[1].ops]]);
  await v.says(readers, /^450$/); // 0 to 299, and 350 to 499
  await daemons[1].run();
  await v.page.locator('.alarm').waitFor({ state: 'hidden' });
  assert.deepEqual(v.elsewhere(), []);
  assert.deepEqual(v.errors, []);
  await v.close();
});
