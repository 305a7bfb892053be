// A browser, pages of which the clock is the test's, and an edge that keeps what it is told.
import { createServer } from 'node:http';
import { readFileSync } from 'node:fs';
import { chromium } from 'playwright-core';

const source = readFileSync(new URL('../lectern.mjs', import.meta.url), 'utf8');

/** script is what an edge serves, made as in script.go. */
export const script = '(()=>{' + source.split('\n').map(line => line.trimStart()).filter(line => !line.startsWith('//')).join('\n').replace(/^export /m, '') +
  'const s=document.currentScript;window.lectern=start({endpoint:new URL("v1/read",s.src).href,...s.dataset})})()';

/** Edge stands in for an edge: it counts each numbered event of a page once. */
export class Edge {
  answer = 204;       // 0: it takes the body and hangs up
  events = new Map(); // by page and number
  bodies = [];

  async listen() {
    this.server = createServer((request, response) => this.serve(request, response));
    await new Promise(done => this.server.listen(0, '127.0.0.1', done));
    this.origin = 'http://127.0.0.1:' + this.server.address().port;
    return this;
  }

  async serve(request, response) {
    const url = new URL(request.url, this.origin);
    if (url.pathname == '/lectern.js') return response.setHeader('content-type', 'text/javascript').end(script);
    if (url.pathname != '/v1/read') {
      response.setHeader('content-type', 'text/html; charset=utf-8');
      response.setHeader('content-security-policy', "default-src 'none'; script-src 'self'; connect-src 'self'; img-src 'self'; style-src 'unsafe-inline'");
      return response.end(html(url.searchParams));
    }
    let body = '';
    for await (const part of request) body += part;
    this.bodies.push({ body, type: request.headers['content-type'] });
    if (this.answer == 204 || this.answer == 0) this.keep(JSON.parse(body));
    if (this.answer == 0) return request.socket.destroy();
    response.writeHead(this.answer, { 'cache-control': 'no-store' }).end();
  }

  keep(told) {
    told.events.forEach((e, i) => {
      const key = told.page + ' ' + (told.first + i);
      if (!this.events.has(key)) this.events.set(key, { n: told.first + i, user: told.user, ...e });
    });
  }

  /** taken are the events in the order of their numbers. */
  taken() { return [...this.events.values()].sort((a, b) => a.n - b.n); }

  close() { this.server.closeAllConnections(); this.server.close(); }
}

function html(query) {
  const attributes = ['content', 'article', 'spa', 'user'].filter(name => query.has(name)).map(name => ` data-${name}="${query.get(name)}"`).join('');
  const canonical = query.has('canonical') ? `<link rel="canonical" href="${query.get('canonical')}">` : '';
  return `<!doctype html><html><head><meta charset="utf-8"><title>A page</title>${canonical}<style>body{margin:0}</style></head>
    <body><header style="height:200px">Above</header><article style="height:4000px">Text</article><footer style="height:1000px">Below</footer>
    <script src="/lectern.js" data-stream="site"${attributes}></script></body></html>`;
}

/** watch keeps account, in a page, of what it sends and how that ends. */
export function watch() {
  const send = window.fetch;
  let underWay = 0, waiting = [];
  window.told = [];
  window.fetch = (url, options) => {
    const { first, events } = JSON.parse(options.body);
    const told = { first, kinds: events.map(e => e.kind).join(' ') };
    window.told.push(told);
    underWay++;
    return send(url, options).then(answer => { told.answer = answer.status; return answer; }, error => { told.answer = String(error); throw error; })
      .finally(() => { if (--underWay == 0) waiting.splice(0).forEach(done => done()); });
  };
  // A message comes behind all that the page makes of the last answer.
  const behind = done => { const c = new MessageChannel(); c.port1.onmessage = done; c.port2.postMessage(0); };
  window.answered = () => new Promise(done => underWay == 0 ? behind(done) : waiting.push(() => behind(done)));
}

export async function launch() {
  return chromium.launch({
    executablePath: process.env.CHROMIUM || '/usr/bin/chromium',
    args: ['--no-sandbox', '--disable-gpu', '--disable-quic', '--no-first-run', '--disable-background-networking', '--disable-component-update', '--disable-sync'],
  });
}

/** A page that is open in a window of 800 by 1000 pixels, with its time standing still. */
export class Visit {
  errors = [];

  /** open loads /read/this of an edge that stands in, or /read and another path. */
  static async open(browser, edge, path = '') {
    const visit = new Visit();
    visit.context = await browser.newContext({ viewport: { width: 800, height: 1000 } });
    visit.page = await visit.context.newPage();
    visit.page.on('pageerror', error => visit.errors.push(String(error)));
    visit.page.on('console', message => {
      // A server that does not answer is for the browser to tell; all else is ours.
      if (message.type() == 'error' && !message.text().startsWith('Failed to load resource')) visit.errors.push(message.text());
    });
    await visit.page.addInitScript(watch);
    await visit.page.clock.install({ time: 1767225600000 });
    await visit.page.clock.pauseAt(1767225601000);
    await visit.page.goto(edge.origin + '/read' + (path.startsWith('/') ? path : '/this' + path));
    return visit;
  }

  /** pass lets time go by in the page, and then waits until all that it sent is answered, or has failed. */
  async pass(ms) {
    await this.page.clock.runFor(ms);
    await this.settled();
  }

  settled() { return this.page.evaluate(() => window.answered()); }

  /** told is what the page has sent, and how each was answered. */
  told() { return this.page.evaluate(() => JSON.stringify(window.told)); }

  move() { return this.page.evaluate(() => { window.dispatchEvent(new Event('pointermove')); }); }
  scroll(y) { return this.page.evaluate(y => new Promise(done => { window.addEventListener('scroll', () => done(), { once: true }); window.scrollTo(0, y); }), y); }
  scrollAnywhere(y) {
    return this.page.evaluate(y => new Promise(done => {
      if (Math.round(scrollY) == y) return done();
      addEventListener('scroll', () => done(), { once: true });
      scrollTo(0, y);
    }), y);
  }
  call(word, ...values) { return this.page.evaluate(([word, values]) => { window.lectern[word](...values); }, [word, values]); }

  /** visibility is what switching tabs does; a browser without a window never hides a tab by itself. */
  visibility(state) {
    return this.page.evaluate(state => {
      Object.defineProperty(document, 'visibilityState', { value: state, configurable: true });
      document.dispatchEvent(new Event('visibilitychange'));
    }, state);
  }
}
