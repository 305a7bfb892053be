// What a reader does with a page, told to an edge of Lectern as numbered events.
// docs/edge/BROWSER.md says what is counted; docs/edge/HTTP.md what is sent.
//
// Only whole-line comments: the edge serves this file without them and without
// indentation, and a test holds it to 2 KB gzipped.
export function start(options) {
  const win = window, doc = document, now = () => performance.now();
  // Input keeps a reader engaged for so long.
  const attention = 5000, heartbeat = 15000;
  // An edge takes bodies of 8 KiB, and browsers 64 KiB of keepalive requests.
  const perBody = 25, kept = 200;

  const draw = () => [...crypto.getRandomValues(new Uint8Array(8))].map(b => b.toString(16).padStart(2, '0')).join('');
  let page = draw(), queue = [], numbered = 0, added = 0, wait;
  let content, user = options.user, engaged = 0, last = 0, until = 0, running, furthest = 0, told;

  const visible = () => doc.visibilityState != 'hidden';

  // settle adds what was read since it was last called: while the page was in
  // front, had the focus, and the reader had moved within the last 5 seconds.
  const settle = () => {
    const t = now();
    if (running) engaged += Math.max(0, Math.min(t, until) - last);
    last = t;
    running = visible() && doc.hasFocus() && t < until;
    measure();
  };

  const moved = () => {
    settle();
    until = last + attention;
    running = visible() && doc.hasFocus();
  };

  // measure keeps the furthest point of the article that came into view, in pixels:
  // what is below may still grow.
  const measure = () => {
    if (!visible()) return;
    const box = article().getBoundingClientRect();
    furthest = Math.max(furthest, Math.min(win.innerHeight, box.bottom) - box.top);
  };

  const article = () => options.article && doc.querySelector(options.article) || doc.body;

  const progress = () => {
    const height = article().getBoundingClientRect().height;
    return height > 0 ? Math.min(100, Math.round(100 * furthest / height)) : 0;
  };

  const add = (kind, what, variant) => {
    const t = now();
    // An edge forgets a page that was silent for long.
    if (!queue.length && t - added > 12e5) { page = draw(); numbered = 0; }
    const e = { n: numbered++, at: added = t, kind, content: what || content, variant };
    if (kind != 'open' && !what) {
      told = e.progress = progress();
      e.dwell = Math.round(engaged);
      engaged -= e.dwell;
    }
    queue.push(e);
    if (queue.length > kept) queue.shift();
    wait = wait || setTimeout(send, 1000);
  };

  // read tells what is new since the last event, if anything is.
  const read = () => {
    settle();
    if (content != null && (engaged >= 1 || progress() > told)) add('read');
  };

  const send = () => {
    clearTimeout(wait);
    wait = 0;
    // A body has no gaps: what lies between its number and that of the next was dropped here.
    let batch = [];
    for (const e of queue.filter(e => !e.sent)) {
      if (batch.length == perBody || batch.length && e.n != batch[0].n + batch.length) { post(batch); batch = []; }
      batch.push(e);
    }
    if (batch.length) post(batch);
  };

  const post = batch => {
    const t = now();
    const body = JSON.stringify({
      stream: options.stream, page, user, first: batch[0].n,
      events: batch.map(e => ({ kind: e.kind, content: e.content, age: Math.round(t - e.at), dwell: e.dwell, progress: e.progress, variant: e.variant })),
    });
    batch.forEach(e => e.sent = 1);
    // What was not answered is sent again under the same numbers, so the edge counts it once.
    const again = () => {
      batch.forEach(e => e.sent = 0);
      if (!visible()) blind(body);
    };
    try {
      fetch(options.endpoint, { method: 'POST', body, keepalive: true, credentials: 'omit' }).then(r => {
        if (r.status >= 500 || [408, 429].includes(r.status)) again();
        else queue = queue.filter(e => !batch.includes(e));
      }, again);
    } catch (_) { again(); }
  };

  // blind sends without an answer, when the page may not live to see one.
  const blind = body => {
    if (!(navigator.sendBeacon && navigator.sendBeacon(options.endpoint, body)))
      new Image().src = options.endpoint + '.gif?b=' + encodeURIComponent(body);
  };

  const here = () => {
    const link = doc.querySelector('link[rel=canonical]');
    return link ? new URL(link.href).pathname : location.pathname;
  };

  const open = what => {
    read();
    content = String(what != null ? what : here()).slice(0, 512);
    engaged = furthest = told = 0;
    moved();
    add('open');
  };

  const leave = () => { read(); send(); };

  const begin = () => {
    for (const input of ['scroll', 'resize', 'pointermove', 'pointerdown', 'keydown', 'wheel', 'touchmove', 'focus'])
      win.addEventListener(input, moved, { passive: true, capture: true });
    win.addEventListener('blur', settle);
    win.addEventListener('online', send);
    win.addEventListener('pagehide', leave);
    // Back from the cache of pages: the same page, opened again.
    win.addEventListener('pageshow', e => e.persisted && open(content));
    doc.addEventListener('visibilitychange', () => visible() ? (moved(), send()) : leave());
    setInterval(leave, heartbeat);
    open(options.content);
    if (options.spa == null) return;
    let path = location.pathname;
    const went = () => path != location.pathname && open(path = location.pathname);
    const push = history.pushState;
    history.pushState = function () { push.apply(this, arguments); went(); };
    win.addEventListener('popstate', went);
  };

  // A page that is rendered ahead is not read yet.
  if (doc.prerendering) doc.addEventListener('prerenderingchange', begin, { once: true });
  else begin();

  const call = kind => () => { settle(); add(kind); };
  const headline = kind => (what, variant) => add(kind, String(what).slice(0, 512), variant);
  return { open, finish: call('finish'), save: call('save'), share: call('share'), impression: headline('impression'), click: headline('click'), user: id => { read(); send(); user = id; } };
}
