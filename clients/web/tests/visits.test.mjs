import assert from 'node:assert/strict';
import { after, before, test } from 'node:test';
import { Edge, Visit, launch, watch } from './browser.mjs';

let browser, edge;
before(async () => { browser = await launch(); });
after(async () => { await browser.close(); });

/** visit runs what a reader does and gives what the edge has then. */
async function visit(query, reader) {
  edge = await new Edge().listen();
  const v = await Visit.open(browser, edge, query);
  try {
    await reader(v);
    await v.settled();
    assert.deepEqual(v.errors, []);
    return edge.taken();
  } finally {
    await v.context.close();
    edge.close();
  }
}

const kinds = events => events.map(e => e.kind);
const dwell = events => events.reduce((sum, e) => sum + (e.dwell || 0), 0);

test('an open comes within a second, with the path for its content', async () => {
  const events = await visit('', v => v.pass(1000));
  assert.deepEqual(events.map(e => [e.n, e.kind, e.content, e.dwell]), [[0, 'open', '/read/this', undefined]]);
  assert.equal(edge.bodies[0].type, 'text/plain;charset=UTF-8', 'a type without preflight');
});

test('the content is the canonical path, or what the page says', async () => {
  assert.equal((await visit('?canonical=https://other.example/a/b%3Fx', v => v.pass(1000)))[0].content, '/a/b');
  assert.equal((await visit('?content=slug&user=u1', v => v.pass(1000)))[0].content, 'slug');
  assert.equal(edge.taken()[0].user, 'u1');
});

test('who sits still is engaged for five seconds', async () => {
  assert.equal(dwell(await visit('', v => v.pass(60000))), 5000);
});

test('each input counts for five seconds, and what overlaps once', async () => {
  const events = await visit('', async v => {
    await v.pass(3000); await v.move();   // 0 to 8 s
    await v.pass(20000); await v.move();  // 23 to 28 s
    await v.pass(40000);
  });
  assert.equal(dwell(events), 13000);
});

test('a reader who moves every four seconds is engaged all the time, a heartbeat each fifteen', async () => {
  const events = await visit('', async v => {
    for (let i = 0; i < 15; i++) { await v.pass(4000); await v.move(); }
    await v.pass(1000);
  });
  assert.equal(dwell(events), 60000);
  assert.deepEqual(kinds(events), ['open', 'read', 'read', 'read', 'read']);
});

test('a tab in the background is not read', async () => {
  const events = await visit('', async v => {
    await v.pass(2000); await v.visibility('hidden');
    await v.pass(30000); await v.visibility('visible');
    await v.pass(60000);
  });
  assert.equal(dwell(events), 7000);
  assert.deepEqual(kinds(events), ['open', 'read', 'read']);
});

test('what was read before the tab is hidden is sent then', async () => {
  const events = await visit('', async v => { await v.pass(2000); await v.visibility('hidden'); });
  assert.deepEqual(events.map(e => [e.kind, e.dwell]), [['open', undefined], ['read', 2000]]);
});

test('progress is the furthest point of the article, and not of the page', async () => {
  const events = await visit('?article=article', async v => {
    await v.pass(500); await v.scroll(1200); // window of 1000: 2200 down, 2000 of the article's 4000
    await v.pass(500); await v.scroll(0);
    await v.pass(15000);
  });
  assert.equal(events.at(-1).progress, 50);
});

test('an article that grows late is not read to the end', async () => {
  const events = await visit('?article=article', async v => {
    await v.pass(500); await v.scroll(1200);
    await v.page.evaluate(() => { document.querySelector('article').style.height = '8000px'; });
    await v.pass(15000);
  });
  assert.equal(events.at(-1).progress, 25);
});

test('finish, save and share by call', async () => {
  const events = await visit('?article=article', async v => {
    await v.pass(2000); await v.call('save'); await v.call('share');
    await v.pass(1000); await v.scroll(5000); await v.call('finish');
    await v.pass(1000);
  });
  assert.deepEqual(events.map(e => [e.kind, e.dwell, e.progress]),
    [['open', undefined, undefined], ['save', 2000, 20], ['share', 0, 20], ['finish', 1000, 100]]);
});

test('a single-page application opens each path', async () => {
  const events = await visit('?spa=1', async v => {
    await v.pass(3000);
    await v.page.evaluate(() => history.pushState({}, '', '/read/next'));
    await v.pass(2000);
    await v.page.evaluate(() => new Promise(done => { addEventListener('popstate', done, { once: true }); history.back(); }));
    await v.pass(1000);
  });
  assert.deepEqual(events.map(e => [e.kind, e.content, e.dwell]), [
    ['open', '/read/this', undefined], ['read', '/read/this', 3000],
    ['open', '/read/next', undefined], ['read', '/read/next', 2000],
    ['open', '/read/this', undefined]]);
});

test('an edge that fails, or hangs up behind the body, gets it again under the same numbers', async () => {
  const events = await visit('', async v => {
    edge.answer = 503; await v.pass(1000);
    for (edge.answer of [429, 408]) await v.pass(15000);
    assert.deepEqual([edge.events.size, edge.bodies.length > 2], [0, true]);
    edge.answer = 0; await v.pass(15000);
    edge.answer = 204; await v.pass(15000);
    const sent = edge.bodies.length;
    await v.pass(60000);
    assert.equal(edge.bodies.length, sent, 'what was taken is not sent again');
  });
  assert.deepEqual(events.map(e => [e.n, e.kind]), [[0, 'open'], [1, 'read']]);
});

test('what an edge refuses is not sent again', async () => {
  await visit('', async v => { edge.answer = 403; await v.pass(60000); });
  const numbers = edge.bodies.map(b => JSON.parse(b.body).first);
  assert.deepEqual(numbers, [0, 1]);
});

test('offline, and back', async () => {
  const events = await visit('', async v => {
    await v.pass(1000);
    await v.context.setOffline(true);
    await v.move(); await v.pass(20000);
    await v.context.setOffline(false);
    await v.page.evaluate(() => { window.dispatchEvent(new Event('online')); });
    await v.pass(1000);
  });
  assert.deepEqual(kinds(events), ['open', 'read']);
  assert.equal(dwell(events), 6000);
});

test('a page that closes says what it has', async () => {
  const events = await visit('', async v => {
    await v.pass(4000);
    await v.page.close({ runBeforeUnload: false });
    await new Promise(done => { const look = () => edge.events.size >= 2 ? done() : setTimeout(look, 10); look(); });
    v.settled = () => {};
  });
  assert.deepEqual(events.map(e => [e.kind, e.dwell]), [['open', undefined], ['read', 4000]]);
});

test('back from the cache of pages is another open', async () => {
  const events = await visit('', async v => {
    await v.pass(1000);
    await v.page.evaluate(() => { window.dispatchEvent(new PageTransitionEvent('pageshow', { persisted: true })); });
    await v.pass(1000);
  });
  assert.deepEqual(kinds(events), ['open', 'read', 'open']);
});

test('a page that is rendered ahead is not open before it is shown', async () => {
  edge = await new Edge().listen();
  const context = await browser.newContext();
  const page = await context.newPage();
  await page.addInitScript(watch);
  await page.addInitScript(() => { Object.defineProperty(document, 'prerendering', { value: true, configurable: true }); });
  await page.clock.install({ time: 1767225600000 });
  await page.goto(edge.origin + '/read/this');
  await page.clock.runFor(30000);
  assert.equal(edge.bodies.length, 0);
  await page.evaluate(() => { document.dispatchEvent(new Event('prerenderingchange')); });
  await page.clock.runFor(1000);
  await page.evaluate(() => window.answered());
  assert.deepEqual(kinds(edge.taken()), ['open']);
  await context.close();
  edge.close();
});

test('a long outage is bounded, and what was dropped shows in the numbers', async () => {
  const events = await visit('', async v => {
    edge.answer = 503;
    await v.page.evaluate(() => { for (let i = 0; i < 500; i++) window.lectern.save(); });
    await v.pass(1000);
    edge.answer = 204; await v.pass(30000);
  });
  // An open, 500 saves and a heartbeat: the last 200 of 502.
  assert.deepEqual(events.map(e => e.n), Array.from({ length: 200 }, (_, i) => 302 + i));
  for (const { body } of edge.bodies) assert.ok(body.length < 8192);
});

test('a page that was silent for 20 minutes begins another numbering', async () => {
  await visit('', async v => {
    await v.pass(20000);
    await v.pass(21 * 60000);
    await v.move(); await v.pass(20000);
  });
  const told = edge.bodies.map(b => JSON.parse(b.body));
  assert.deepEqual(told.map(b => b.first), [0, 1, 0]);
  assert.equal(told[0].page, told[1].page);
  assert.notEqual(told[1].page, told[2].page);
});

// Visits by chance, against a plain account of what a reader did.
test('engaged time of random visits', async t => {
  const seed = Number(process.env.LECTERN_TEST_SEED || Date.now() % 2 ** 31);
  t.diagnostic('seed ' + seed + ' (LECTERN_TEST_SEED)');
  let state = seed;
  const random = n => { state = (Math.imul(state, 1103515245) + 12345) & 0x7fffffff; return (state >> 8) % n; };
  for (let i = 0; i < 10; i++) {
    const inputs = [0], hidden = [];
    let clock = 0, shown = true;
    const events = await visit('', async v => {
      for (let step = 0; step < 12; step++) {
        const ms = 100 * (1 + random(120));
        await v.pass(ms); clock += ms;
        if (shown && random(3) == 0) { await v.visibility('hidden'); hidden.push([clock, Infinity]); shown = false; }
        else if (!shown) { await v.visibility('visible'); hidden.at(-1)[1] = clock; inputs.push(clock); shown = true; }
        else { await v.move(); inputs.push(clock); }
      }
      await v.pass(20000); clock += 20000;
    });
    let engaged = 0;
    for (let ms = 0; ms < clock; ms += 100)
      if (inputs.some(at => at <= ms && ms < at + 5000) && !hidden.some(([from, to]) => from <= ms && ms < to)) engaged += 100;
    // Input before the tab was hidden does not reach behind it: showing it is an input of its own.
    assert.ok(Math.abs(dwell(events) - engaged) <= 20, `visit ${i}: ${dwell(events)} ms and not ${engaged}`);
  }
});
