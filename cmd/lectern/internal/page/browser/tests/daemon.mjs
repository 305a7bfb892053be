// Daemons, and a browser that keeps account of what pages do.
import assert from 'node:assert/strict';
import { execFile, spawn } from 'node:child_process';
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { createServer } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { isDeepStrictEqual, promisify } from 'node:util';
import { chromium } from 'playwright-core';

export const lectern = process.env.LECTERN_TEST_BIN;

/** freePort is one that nobody has just now. */
export const freePort = () => new Promise(done => { const s = createServer().listen(0, '127.0.0.1', () => { const { port } = s.address(); s.close(() => done(port)); }); });

/** Daemon is `lectern serve` in a directory of its own, which can be killed and started again. */
export class Daemon {
  /** start begins a daemon; more are lines of its configuration. */
  static async start(more = '', ports = {}) {
    const d = new Daemon();
    d.dir = mkdtempSync(join(tmpdir(), 'lectern-page-'));
    d.events = '127.0.0.1:' + (ports.events || await freePort());
    d.ops = '127.0.0.1:' + (ports.ops || await freePort());
    d.origin = 'http://' + d.ops;
    writeFileSync(join(d.dir, 'config.toml'), `listen.address = "${d.events}"
ops.address = "${d.ops}"
listen.loops = 1
limits.keys_max = 65536
spool.dir = "${d.dir}/spool"
spool.size_max = "256MiB"
parquet.dir = "${d.dir}/parquet"
window.flush_interval = "1s"
window.ack_interval = "100ms"
stream.news.number = 7
stream.video.number = 8
${more}
`);
    await d.run();
    return d;
  }
  /** run starts it, once more where another process has its port just now. */
  async run() {
    for (let tries = 0; ; tries++) {
      const said = await this.once();
      if (said === undefined) return;
      if (tries === 50 || !said.includes('another process has the port')) throw new Error(`lectern serve ended:\n${said}`);
      await new Promise(done => setTimeout(done, 100));
    }
  }
  /** once starts it, and answers with what it said where it ended before it was ready. */
  once() {
    this.process = spawn(lectern, ['serve', '--config', join(this.dir, 'config.toml')], { env: { ...process.env, GOMEMLIMIT: '400MiB' } });
    let said = '';
    this.process.stderr.setEncoding('utf8');
    return new Promise((done, fail) => {
      this.process.stderr.on('data', text => { said += text; if (said.includes('lectern is ready')) done(); });
      this.process.on('error', fail);
      this.process.once('close', () => done(said));
    });
  }
  async kill() {
    if (this.process.exitCode != null || this.process.signalCode != null) return;
    const ended = new Promise(done => this.process.once('exit', done));
    this.process.kill('SIGKILL');
    await ended;
  }
  async end() { await this.kill(); rmSync(this.dir, { recursive: true }); }
  async json(path) { return (await fetch(this.origin + path)).json(); }
}

/** emit runs `lectern emit`, which answers with what it sent. */
export async function emit(to, ...more) {
  const { stdout } = await promisify(execFile)(lectern, ['emit', '--to', to, ...more]);
  return JSON.parse(stdout);
}

export const launch = () => chromium.launch({
  executablePath: process.env.CHROMIUM || '/usr/bin/chromium',
  args: ['--no-sandbox', '--disable-gpu', '--disable-quic', '--no-first-run', '--disable-background-networking', '--disable-component-update', '--disable-sync'],
});

/** Visit is a page that is open: what it asked for, and what it had to complain of. */
export class Visit {
  requests = [];
  errors = [];

  static async open(browser, origin, { view = 'now', width = 1440, scheme = 'light', routes = {} } = {}) {
    const v = new Visit();
    v.origin = origin;
    v.context = await browser.newContext({ viewport: { width, height: width > 600 ? 900 : 780 }, colorScheme: scheme });
    v.page = await v.context.newPage();
    v.page.setDefaultTimeout(60_000);
    v.page.on('request', request => v.requests.push(request.url()));
    v.page.on('pageerror', error => v.errors.push(String(error)));
    v.page.on('console', message => { if (message.type() === 'error' || message.type() === 'warning') v.errors.push(message.text()); });
    for (const [path, answer] of Object.entries(routes)) await v.route(path, answer);
    await v.page.goto(origin + '/#' + view);
    return v;
  }
  /** route has a document answered by a function of its URL. */
  async route(path, answer) {
    await this.page.route(url => url.pathname === path, route => route.fulfill({ json: answer(new URL(route.request().url())) }));
  }
  text(selector) { return this.page.locator(selector).first().textContent(); }
  /** says waits until an element has such a text. */
  says(selector, text) { return this.page.locator(selector).filter({ hasText: text }).first().waitFor(); }
  /** comes waits until what a function answers is this. */
  async comes(answer, want) {
    let got;
    for (const end = Date.now() + 60_000; Date.now() < end; await this.page.waitForTimeout(50)) if (isDeepStrictEqual(got = await answer(), want)) return;
    assert.deepEqual(got, want);
  }
  /** elsewhere is what was asked of anybody but the daemon. */
  elsewhere() { return this.requests.filter(url => new URL(url).origin !== this.origin); }
  close() { return this.context.close(); }
}
