// The page, in a browser, of a daemon that counts.
import assert from 'node:assert/strict';
import { createSocket } from 'node:dgram';
import { mkdirSync } from 'node:fs';
import { join } from 'node:path';
import { after, before, test } from 'node:test';
import axe from 'axe-core';
import { Daemon, Visit, emit, launch } from './daemon.mjs';
import { names, now, said } from './figures.mjs';

const pictures = process.env.PICTURES;
const views = {
  now: async v => { await v.says('table.top bdi', '/politics/budget-2027'); await v.page.locator('.chart canvas').first().waitFor(); },
  books: async v => { await v.says('.verdict', 'The books balance'); await v.page.locator('table.stack tbody tr').first().waitFor(); },
  health: async v => { await v.says('.verdict', /./); await v.page.locator('.loops li').first().waitFor(); },
  refused: async v => { await v.page.locator('.word .senders li').first().waitFor(); },
};

let browser, daemon, sent;
before(async () => {
  browser = await launch();
  daemon = await Daemon.start();
  sent = await emit('tcp://' + daemon.events, '--stream', '7', '--events', '5000');
  await stranger('GET /metrics?token=abcdef HTTP/1.1\r\nHost: a\r\n');
  await badKind();
});
after(async () => { await browser?.close(); await daemon?.end(); });

/** stranger sends a datagram. */
const stranger = bytes => new Promise((done, fail) => {
  const socket = createSocket('udp4'), [host, port] = daemon.events.split(':');
  socket.send(bytes, port, host, error => { socket.close(); error ? fail(error) : done(); });
});

const source = '8877665544332211';

/** badKind sends a frame with an event of a kind that there is not. */
function badKind() {
  const frame = Buffer.alloc(40 + 4);
  frame.write('LE', 0, 'latin1');
  frame[2] = 0x11;
  frame.writeUInt16LE(frame.length, 4);
  frame.writeUInt16LE(1, 6);
  frame.writeUInt16LE(7, 8);
  frame.writeUIntLE(Date.now(), 10, 6);
  frame.write(source, 16, 'hex');
  frame.set([0x11, 7, 1, 1], 40);
  return stranger(frame);
}

/** accessible asks axe what is in the way of whom. */
async function accessible(v) {
  await v.page.evaluate(axe.source);
  const found = await v.page.evaluate(() => window.axe.run(document, { resultTypes: ['violations'] }));
  assert.deepEqual(found.violations.map(x => `${x.impact}: ${x.id}: ${x.help}: ${x.nodes.map(n => n.html.slice(0, 120)).join(' | ')}`), []);
  assert.ok(found.passes.length > 15, 'axe looked at nothing');
}

for (const view of Object.keys(views)) {
  for (const scheme of ['light', 'dark']) {
    for (const width of [360, 1440]) {
      test(`${view} is whole, ${scheme}, ${width} pixels wide`, async () => {
        const v = await Visit.open(browser, daemon.origin, { view, scheme, width, routes: { '/now.json': now } });
        await views[view](v);
        assert.ok(await v.page.evaluate(() => document.documentElement.scrollWidth <= innerWidth), 'it is to be moved sideways');
        await accessible(v);
        if (pictures) {
          mkdirSync(pictures, { recursive: true });
          await v.page.screenshot({ path: join(pictures, `${view}-${scheme}-${width}.png`), fullPage: true });
        }
        assert.deepEqual(v.elsewhere(), []);
        assert.deepEqual(v.errors, []);
        await v.close();
      });
    }
  }
}

test('what is asked for is here, and a request for elsewhere is not let out', async () => {
  const v = await Visit.open(browser, daemon.origin, { routes: { '/now.json': now } });
  await views.now(v);
  for (const view of ['books', 'health', 'refused']) {
    await v.page.locator(`nav a[href="#${view}"]`).click();
    await views[view](v);
  }
  assert.deepEqual(v.elsewhere(), []);
  assert.deepEqual(v.errors, []);
  // The policy holds, should the page ever try.
  const said = await v.page.evaluate(() => Promise.allSettled([fetch('https://example.org/'), fetch('http://127.0.0.1:9/')]).then(all => all.map(x => x.status)));
  assert.deepEqual(said, ['rejected', 'rejected']);
  await v.page.evaluate(() => { const s = document.createElement('script'); s.textContent = 'window.taken = 1'; document.body.append(s); document.body.setAttribute('style', 'color: red'); });
  assert.equal(await v.page.evaluate(() => window.taken), undefined);
  assert.notEqual(await v.page.evaluate(() => getComputedStyle(document.body).color), 'rgb(255, 0, 0)');
  assert.deepEqual(v.elsewhere(), [], 'the browser sent it');
  await v.close();
});

test('names are text, whatever they are', async () => {
  const v = await Visit.open(browser, daemon.origin, { routes: { '/now.json': now } });
  await views.now(v);
  const shown = await v.page.locator('table.top button bdi').allTextContents();
  const written = { '/%D8%B7%D9%82%D8%B3': '/طقس' }; // a path that says so; what cannot be seen, or means nothing, stays
  assert.deepEqual(shown, names.map((name, i) => said[i]?.title || written[name] || name || String(18446744073709551000n + BigInt(i))));
  assert.deepEqual(await v.page.locator('table.top bdi.about:visible').allTextContents(), ['<b>Section</b> · كاتبة', 'A. Writer']);
  assert.equal(await v.page.evaluate(() => window.taken), undefined);
  assert.equal(await v.page.locator('main script, main img, main b').count(), 0);
  const directions = await v.page.locator('table.top button bdi').evaluateAll(all => all.map(e => getComputedStyle(e).direction));
  assert.deepEqual(directions.slice(0, 3), ['ltr', 'ltr', 'rtl']);
  assert.deepEqual(v.errors, []);
  await v.close();
});

test('the keyboard reaches everything, and stays where it is when figures change', async () => {
  const v = await Visit.open(browser, daemon.origin, { routes: { '/now.json': now } });
  await views.now(v);
  await v.page.keyboard.press('Tab');
  assert.equal(await v.page.evaluate(() => document.activeElement.className), 'skip');
  await v.page.keyboard.press('Enter');
  await v.page.keyboard.press('Tab');
  await v.page.locator('table.top button.name').nth(1).focus();
  await v.page.keyboard.press('Enter');
  const chart = v.page.locator('table.top tr.more:not([hidden])');
  await chart.locator('canvas').waitFor();
  assert.equal(await v.page.evaluate(() => document.activeElement.getAttribute('aria-expanded')), 'true');
  const asked = v.requests.filter(url => url.includes('content=')).length;
  await v.page.waitForRequest(request => request.url().includes('content='));
  assert.ok(v.requests.filter(url => url.includes('content=')).length > asked);
  assert.equal(await v.page.evaluate(() => document.activeElement.textContent), names[1], 'the focus was lost to an update');
  await v.page.keyboard.press('Enter');
  await chart.waitFor({ state: 'detached' }).catch(() => {});
  assert.equal(await chart.count(), 0);
  assert.deepEqual(v.errors, []);
  await v.close();
});

test('behind a chart stand its numbers', async () => {
  const first = now(new URL('http://x/now.json?stream=7'));
  const v = await Visit.open(browser, daemon.origin, { routes: { '/now.json': url => ({ ...now(url), time: first.time }) } });
  await views.now(v);
  await v.page.locator('.lead .behind summary').first().press('Enter');
  const rows = await v.page.locator('.lead .behind').first().locator('tbody td').allTextContents();
  const whole = first.streams[0].opens_by_minute.slice(0, 60).reverse();
  assert.equal(rows.length, 60);
  const parse = text => Number(text.replace('K', 'e3').replace(',', ''));
  rows.forEach((text, i) => assert.ok(Math.abs(parse(text) - whole[i]) <= 0.006 * whole[i], `${text} in place of ${whole[i]}`));
  await v.close();
});

test('the books are those of who sent', async () => {
  const v = await Visit.open(browser, daemon.origin, { view: 'books' });
  await views.books(v);
  await v.page.getByRole('button', { name: 'Since the start' }).click();
  await v.says('.equation', `${(sent.events + 1).toLocaleString('en-US')} sent = ${sent.events.toLocaleString('en-US')} accepted + 1 refused + 0 shed + 0 lost`);
  const words = await v.page.locator('svg.flow text').allTextContents();
  assert.ok(words.includes('Refused: kind'), words.join());
  const news = v.page.locator('table tr').filter({ has: v.page.locator('bdi', { hasText: /^news$/ }) });
  assert.deepEqual((await news.locator('td').allTextContents()).slice(0, 3), [(sent.events + 1).toLocaleString('en-US'), sent.events.toLocaleString('en-US'), '1']);
  await v.close();
});

test('who is refused is shown, without what is nobody\'s business', async () => {
  const v = await Visit.open(browser, daemon.origin, { view: 'refused' });
  await views.refused(v);
  const magic = v.page.locator('.word').filter({ has: v.page.locator('h3', { hasText: /^magic/ }) });
  await magic.waitFor();
  const shown = await magic.textContent();
  assert.match(shown, /127\.0\.0\.1:\d+/);
  assert.ok(shown.includes('GET /metrics?tok') && !shown.includes('token=abc'), shown);
  const kind = v.page.locator('.word').filter({ has: v.page.locator('h3', { hasText: /^kind/ }) });
  await kind.waitFor();
  assert.ok((await kind.textContent()).includes('1, events'));
  const all = (await v.page.content() + JSON.stringify(await daemon.json('/refusals.json'))).replace(/[\s ]/g, '');
  assert.ok(!all.includes(source), 'the source is told');
  await v.close();
});

test('an alert says what to do', async () => {
  const health = await daemon.json('/health.json');
  const routes = { '/health.json': () => ({ ...health, conditions: health.conditions.map(c => (c.name === 'LecternStoreBehind' ? { ...c, state: 'firing', since: health.time - 400e3 } : c)) }) };
  const v = await Visit.open(browser, daemon.origin, { view: 'health', routes });
  await v.says('.verdict', /^1 of \d+ alerts would fire$/);
  await v.says('#state', '1 alert');
  const alert = v.page.locator('.conditions li').filter({ hasText: 'Store behind' }).first();
  await alert.locator('summary').click();
  await alert.getByText('Look at').waitFor();
  assert.equal(await alert.locator('pre').count() > 0, true);
  await v.page.locator('.fine > summary').click();
  await v.page.locator('.card .behind summary').click();
  await accessible(v);
  assert.deepEqual(v.errors, []);
  await v.close();
});

test('a collector that is left out is named, and so is what is not counted', async () => {
  const time = Date.now(), nodes = [
    { node: '10.0.3.17:8421', state: 'own', time, since: time }, { node: '10.0.4.21:8421', state: 'asked', time, since: time },
    { node: '10.0.5.9:8421', state: 'left_out', why: 'it did not answer <b>within</b> 500ms' },
  ];
  for (const scheme of ['light', 'dark']) {
    const v = await Visit.open(browser, daemon.origin, { scheme, routes: { '/now.json': url => {
      const answer = now(url, { cluster: true, nodes });
      answer.streams[0].coarse_1m = 12;
      return answer;
    } } });
    await v.says('.alarm', '1 of 3 collectors is not in these figures: 10.0.5.9:8421 (it did not answer <b>within</b> 500ms).');
    await v.says('.hint', '12 events of the last minute were counted without their reader');
    assert.deepEqual(await v.page.locator('.nodes .out .address').allTextContents(), ['10.0.5.9:8421']);
    await accessible(v);
    assert.deepEqual(v.errors, []);
    await v.close();
  }
});

test('where readers now are not counted, it says so', async () => {
  const v = await Visit.open(browser, daemon.origin);
  await v.page.route('**/now.json*', route => route.fulfill({ status: 404, body: 'now.readers_max is 0' }));
  await v.page.reload();
  await v.says('.empty', 'now.readers_max is 0');
  assert.equal(await v.page.locator('#notice').isVisible(), false);
  await v.close();
});

test('a page that is not seen asks nothing', async () => {
  const v = await Visit.open(browser, daemon.origin, { view: 'books' });
  await views.books(v);
  await v.page.clock.install();
  const visible = state => v.page.evaluate(hidden => {
    Object.defineProperty(document, 'hidden', { value: hidden, configurable: true });
    document.dispatchEvent(new Event('visibilitychange'));
  }, state === 'hidden');
  await visible('hidden');
  await v.page.waitForLoadState('networkidle');
  const asked = v.requests.length;
  await v.page.clock.runFor(60_000);
  assert.equal(v.requests.length, asked);
  const again = v.page.waitForRequest(request => request.url().endsWith('/books.json'));
  await visible('seen');
  await again;
  await v.close();
});

test('a daemon that is killed is said to be gone, and found again', async () => {
  const other = await Daemon.start();
  const v = await Visit.open(browser, other.origin, { view: 'health' });
  await v.says('.verdict', 'Nothing is wrong');
  await other.kill();
  await v.says('#notice', 'No answer from the collector since');
  await v.says('#state', 'No answer');
  await other.run();
  await v.says('#state', 'All well');
  await v.page.locator('#notice').waitFor({ state: 'hidden' });
  await v.close();
  await other.end();
});
