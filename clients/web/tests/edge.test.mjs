// Pages in a browser, through an edge and a collector, into the store: what stands
// there is what a script of each visit says.
import assert from 'node:assert/strict';
import { execFileSync, spawn } from 'node:child_process';
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { createServer } from 'node:http';
import { createServer as createProbe } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, before, test } from 'node:test';
import { Visit, launch } from './browser.mjs';

const lectern = process.env.LECTERN_TEST_BIN || new URL('../../../bin/lectern', import.meta.url).pathname;
const visits = 50;

/** freePort is one that nobody has just now. */
const freePort = () => new Promise(done => { const s = createProbe().listen(0, '127.0.0.1', () => { const { port } = s.address(); s.close(() => done(port)); }); });

/** Daemon is `lectern serve` or `lectern edge`, which can be killed and started again. */
class Daemon {
  constructor(command, config) { this.command = command; this.config = config; this.said = ''; }
  start() {
    this.process = spawn(lectern, [this.command, '--config', this.config]);
    this.process.stderr.setEncoding('utf8');
    this.ended = new Promise(done => this.process.on('exit', done));
    return new Promise((done, fail) => {
      this.process.stderr.on('data', text => { this.said += text; if (text.includes('is ready')) done(); });
      this.process.on('error', fail);
      this.process.on('exit', code => fail(new Error(`lectern ${this.command} ended with ${code}:\n${this.said}`)));
    });
  }
  async kill(signal = 'SIGKILL') { this.process.removeAllListeners('exit'); const ended = new Promise(done => this.process.on('exit', done)); this.process.kill(signal); await ended; }
}

let browser, site, dir, collector, edge, config, pages;
before(async () => {
  browser = await launch();
  dir = mkdtempSync(join(tmpdir(), 'lectern-web-'));
  const events = await freePort();
  pages = await freePort();
  config = join(dir, 'config.toml');
  writeFileSync(config, `
listen.address = "127.0.0.1:${events}"
ops.address = "127.0.0.1:0"
window.flush_interval = "1s"
limits.keys_max = 131072
spool.dir = "${dir}/spool"
spool.size_max = "256MiB"
parquet.dir = "${dir}/parquet"
edge.address = "127.0.0.1:${pages}"
edge.ops_address = "127.0.0.1:0"
edge.collector = "127.0.0.1:${events}"
edge.dir = "${dir}/edge"
edge.bots = "shadow"
stream.site.number = 7
`);
  collector = new Daemon('serve', config);
  edge = new Daemon('edge', config);
  await collector.start();
  await edge.start();
  site = createServer((request, response) => {
    response.setHeader('content-type', 'text/html; charset=utf-8');
    response.setHeader('content-security-policy', `default-src 'none'; script-src http://127.0.0.1:${pages}; connect-src http://127.0.0.1:${pages}; img-src http://127.0.0.1:${pages}; style-src 'unsafe-inline'`);
    response.end(`<!doctype html><meta charset="utf-8"><title>A page</title><body style="margin:0"><article style="height:4000px">Text</article>
      <script src="http://127.0.0.1:${pages}/lectern.js" data-stream="site" data-article="article"></script>`);
  });
  await new Promise(done => site.listen(0, '127.0.0.1', done));
});
after(async () => {
  await browser.close();
  site.closeAllConnections();
  site.close();
  await edge.kill();
  await collector.kill();
  rmSync(dir, { recursive: true });
});

test(`${visits} visits, over kills of the edge and of the collector`, async t => {
  const seed = Number(process.env.LECTERN_TEST_SEED || Date.now() % 2 ** 31);
  t.diagnostic('seed ' + seed + ' (LECTERN_TEST_SEED)');
  let state = seed;
  const random = n => { state = (Math.imul(state, 1103515245) + 12345) & 0x7fffffff; return (state >> 8) % n; };
  const at = { origin: 'http://127.0.0.1:' + site.address().port };
  const want = new Map();
  for (let i = 0; i < visits; i++) {
    // What the reader does, and what that comes to: a plain account in steps of 100 ms.
    const v = await Visit.open(browser, at, '/' + i);
    const account = { opens: 1, saves: 0, shares: 0, finishes: 0, engaged: 0 };
    let shown = true, input = 0, clock = 0, offline = false;
    const pass = async ms => {
      for (let at = clock; at < clock + ms; at += 100) if (shown && at < input + 5000) account.engaged += 100;
      clock += ms;
      await v.pass(ms);
    };
    for (let step = 0; step < 6; step++) {
      await pass(100 * (5 + random(100)));
      switch (random(8)) {
        case 0: if (shown) { await v.visibility('hidden'); shown = false; } else { await v.visibility('visible'); shown = true; input = clock; } break;
        case 1: await v.call('save'); account.saves++; break;
        case 2: await v.call('share'); account.shares++; break;
        case 3: await v.call('finish'); account.finishes++; break;
        case 4: await v.context.setOffline(offline = !offline); break;
        // The browser tells of it when it draws: not before that may time go on.
        case 5: if (shown) { await v.scrollAnywhere(random(3000)); await v.move(); input = clock; } break;
        default: if (shown) { await v.move(); input = clock; }
      }
      // Each is killed five times, while the page has something on its way.
      const killed = step == 3 && (i % 10 == 5 ? edge : i % 10 == 0 ? collector : undefined);
      if (killed) {
        await v.call('save'); account.saves++;
        await Promise.all([pass(1500), killed.kill().then(() => killed.start())]);
      }
    }
    if (offline) await v.context.setOffline(false);
    if (!shown) { await v.visibility('visible'); shown = true; input = clock; }
    await pass(20000); // all is told, and once more what could not be told before
    await pass(20000);
    account.told = await v.told();
    assert.deepEqual(v.errors, []);
    await v.context.close();
    want.set('/read/' + i, account);
  }
  await edge.kill('SIGTERM');
  await collector.kill('SIGTERM');
  const told = execFileSync(lectern, ['top', '--config', config, '--all', '-n', '1000', '--json'], { encoding: 'utf8' });
  const top = told.trim().split('\n').map(line => JSON.parse(line));
  const stored = new Map(top.map(row => [row.name, row]));
  for (const [content, account] of want) {
    const row = stored.get(content);
    assert.ok(row, content + ' is not stored');
    for (const kind of ['opens', 'saves', 'shares', 'finishes']) assert.equal(row[kind], account[kind], `${kind} of ${content}, seed ${seed}; it told ${account.told}`);
    assert.ok(Math.abs(row.dwell_ms - account.engaged) <= 1000, `${content} was read for ${row.dwell_ms} ms and not ${account.engaged}, seed ${seed}; it told ${account.told}`);
  }
  assert.equal(top.length, want.size);
  const books = JSON.parse(execFileSync(lectern, ['books', '--config', config, '--json'], { encoding: 'utf8' }));
  assert.ok(books.adds_up);
  await edge.start();
  await collector.start();
});

// A page of another origin, under a strict policy. What the browser itself says of a
// request that failed is left out; nothing else is said, and nothing is lost.
test('no state of the edge, the network or the page shows in the console', async () => {
  const at = { origin: 'http://127.0.0.1:' + site.address().port };
  const v = await Visit.open(browser, at, '/states');
  const url = `http://127.0.0.1:${pages}/v1/read`;
  const answer = status => v.context.route(url, route => route.fulfill({ status, headers: { 'access-control-allow-origin': at.origin } }));
  let saves = 0;
  for (const [state, begin, end] of [
    ['all is well', () => {}, () => {}],
    ['offline', () => v.context.setOffline(true), () => v.context.setOffline(false)],
    ['the edge is away', () => edge.kill(), () => edge.start()],
    ['blocked', () => v.context.route(url, route => route.abort('blockedbyclient')), () => v.context.unroute(url)],
    ['the queue is full', () => answer(503), () => v.context.unroute(url)],
    ['too much was sent', () => answer(429), () => v.context.unroute(url)],
  ]) {
    await begin();
    await v.call('save'); saves++;
    await v.pass(2000);
    await v.visibility('hidden'); await v.settled(); // it says blindly what it has
    await v.visibility('visible'); await v.pass(16000);
    await end();
    await v.pass(32000);
    assert.deepEqual(v.errors, [], state);
  }
  // Refusals, of a beacon and of an image as well.
  await v.page.evaluate(url => {
    navigator.sendBeacon(url, '{"stream":"nowhere"}');
    new Image().src = url + '.gif?b=%7B%7D';
    navigator.sendBeacon(url, JSON.stringify({ stream: 'site', events: [{ kind: 'share', content: '/states' }] }));
    return new Promise(done => { const image = new Image(); image.onload = image.onerror = done; image.src = url + '.gif?b=' + encodeURIComponent(JSON.stringify({ stream: 'site', events: [{ kind: 'finish', content: '/states' }] })); });
  }, url);
  assert.deepEqual(v.errors, [], 'refused');
  await v.context.close();
  await edge.kill('SIGTERM');
  await collector.kill('SIGTERM');
  const told = execFileSync(lectern, ['top', '--config', config, '--all', '-n', '1000', '--json'], { encoding: 'utf8' });
  const stored = new Map(told.trim().split('\n').map(line => JSON.parse(line)).map(row => [row.name, row]));
  assert.equal(stored.get('/read/states').saves, saves);
  assert.deepEqual([stored.get('/states').shares, stored.get('/states').finishes], [1, 1], 'a beacon and an image, across origins');
  await edge.start();
  await collector.start();
});
