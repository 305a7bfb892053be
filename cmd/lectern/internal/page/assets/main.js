// The frame of the page: which view is shown, how the daemon is, and how fresh it is.
import { h, say, show } from './dom.js';
import { ago, clock, day } from './format.js';
import { poll } from './poll.js';
import { now } from './now.js';
import { books } from './books.js';
import { health } from './health.js';
import { refused } from './refused.js';

const views = {
  now: { title: 'Now', open: now },
  books: { title: 'Books', open: books },
  health: { title: 'Health', open: health },
  refused: { title: 'Why refused', open: refused },
};

const $ = id => document.getElementById(id);
let leave = null; // ends the view that is shown

/** Hub is what a view is given: signal ends with it, and what it hears and does not hear it tells. */
function hub(signal) {
  return {
    signal,
    poll: (path, every, answered, failed) => poll(path, every, signal, answer => { heard(); answered(answer); }, error => { unheard(error); failed?.(error); }),
  };
}

function open(focus) {
  const [word] = location.hash.slice(1).split('?');
  if (word === 'main') return; // the link that skips the navigation
  const view = views[word] || views.now;
  leave?.abort();
  leave = new AbortController();
  document.title = view.title + ' · Lectern';
  for (const a of document.querySelectorAll('nav a')) {
    if (a.hash === '#' + (views[word] ? word : 'now')) a.setAttribute('aria-current', 'page');
    else a.removeAttribute('aria-current');
  }
  const main = $('main');
  main.replaceChildren(h('h1', { class: 'unseen' }, view.title), view.open(hub(leave.signal)));
  if (focus) main.focus({ preventScroll: true });
  scrollTo(0, 0);
}

// How fresh: the time of the last answer, and a word where none comes.
let last = 0, failing = 0;

function heard() {
  last = Date.now();
  failing = 0;
  show($('notice'), false);
  fresh();
}

function unheard(error) {
  failing ||= Date.now();
  if (error.status === 404) return; // a view says itself what is not there
  const text = error.status ? error.message : 'No answer from the collector' + (last ? ' since ' + clock(last) + ': these are the figures of that time.' : ' yet.');
  say($('notice'), text);
  show($('notice'), true);
  say($('state-text'), 'No answer');
  $('state').dataset.state = 'bad';
}

function fresh() {
  say($('fresh'), last ? 'Updated ' + ago(last, Date.now()) : '');
}
setInterval(fresh, 1000);

// How the daemon is, on every view.
function state(answer) {
  const firing = answer.conditions.filter(c => c.state === 'firing');
  const pending = answer.conditions.filter(c => c.state === 'pending');
  const pages = firing.filter(c => c.severity === 'page');
  let word = 'ok', text = 'All well';
  if (answer.stalled_seconds > 0) [word, text] = ['bad', 'Hangs'];
  else if (answer.ready) [word, text] = ['bad', 'Not ready'];
  else if (firing.length) [word, text] = [pages.length ? 'bad' : 'warn', firing.length === 1 ? '1 alert' : firing.length + ' alerts'];
  else if (pending.length) [word, text] = ['warn', pending.length + ' pending'];
  $('state').dataset.state = word;
  say($('state-text'), text);
  say($('about'), `Collector ${answer.collector} · ${answer.version} · since ${day(answer.since)}`);
}

addEventListener('hashchange', () => open(true));
open(false);
poll('/health.json', 10_000, new AbortController().signal, answer => { heard(); state(answer); }, unheard);
