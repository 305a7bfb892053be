// Books: what became of every event that was sent.
import { h, say, show, table } from './dom.js';
import { ago, count, day, share, span } from './format.js';
import { chart } from './chart.js';
import { flow } from './flow.js';

const spans = [
  { word: '300', title: 'Last five minutes' },
  { word: '3600', title: 'Last hour' },
  { word: 'all', title: 'Since the start' },
];
const orders = ['lost', 'duplicate', 'stale', 'reordered', 'sent'];

/** partsOf are what became of events, largest kinds first and refusals by word. */
function partsOf(sums) {
  const refused = Object.entries(sums.refused).sort(([, a], [, b]) => b - a).map(([word, value]) => ({ key: 'refused ' + word, title: 'Refused: ' + word, value, colour: 'warn' }));
  return [
    { key: 'accepted', title: 'Accepted', value: sums.accepted, colour: 'accent' },
    ...refused,
    { key: 'shed', title: 'Shed, no room', value: sums.shed, colour: 'bad' },
    { key: 'lost', title: 'Lost on the way', value: Math.max(0, sums.lost), colour: 'loss' },
  ].filter(p => p.key === 'accepted' || p.value > 0);
}

const refusedOf = sums => Object.values(sums.refused).reduce((a, b) => a + b, 0);

/** equation says the balance in numbers. */
function equation(sums) {
  const parts = [['accepted', sums.accepted], ['refused', refusedOf(sums)], ['shed', sums.shed], ['lost', sums.lost]];
  return `${count(sums.sent)} sent = ` + parts.map(([word, n]) => `${count(n)} ${word}`).join(' + ');
}

export function books(hub) {
  let chosen = '3600', answer = null;

  const buttons = spans.map(s => h('button', { type: 'button', 'aria-pressed': s.word === chosen, onclick: () => { chosen = s.word; tell(); } }, s.title));
  const picture = flow(hub.signal);
  const equals = h('span', {}), note = h('span', { class: 'note' }), balance = h('p', { class: 'equation' }, equals, ' ', note), verdict = h('p', { class: 'verdict' });
  const rows = table('What became of the events', [
    { title: 'What', text: p => p.title },
    { title: 'Events', class: 'number', text: p => count(p.value) },
    { title: 'Share', class: 'number', text: p => share(p.value, p.sent) },
  ], { class: 'plain' });
  const beside = h('dl', { class: 'beside' });
  const besideOf = [['duplicate', 'came again'], ['stale', 'too old to tell'], ['reordered', 'came late'], ['clamped', 'time not believed'], ['coarse', 'counted without reader'], ['saturated', 'beyond all reason']].map(([word, means]) => {
    const value = h('dd', {});
    beside.append(h('div', { title: means }, h('dt', {}, word), value));
    return { word, value };
  });

  const kept = ['In the tables', 'Waiting in memory', 'In the spool', 'Stored'].map(title => {
    const value = h('dd', {});
    return { value, element: h('div', {}, h('dt', {}, title), value) };
  });

  const rates = chart({
    title: 'Events a second', note: 'last hour', signal: hub.signal, whole: true,
    lines: [{ title: 'Accepted', colour: 'accent', area: true }, { title: 'Refused', colour: 'warn' }, { title: 'Shed', colour: 'bad' }, { title: 'Lost', colour: 'loss' }],
  });

  const number = key => ({ class: 'number', text: s => (s[key] ? count(s[key]) : '–') });
  const streams = table('By stream', [
    { title: 'Stream', cell: () => {
      const name = h('bdi', {}), note = h('span', { class: 'note' });
      return { element: h('span', {}, name, note), update: s => { say(name, s.stream_name || (s.stream ? 'Stream ' + s.stream : 'Without a name')); say(note, (s.stream && s.stream_name ? ' ' + s.stream : '') + (s.class === 'sealed' ? ' sealed' : '')); } };
    } },
    { title: 'Sent', ...number('sent') },
    { title: 'Accepted', ...number('accepted') },
    { title: 'Refused', class: 'number', text: s => (refusedOf(s) ? count(refusedOf(s)) : '–') },
    { title: 'Shed', ...number('shed') },
    { title: 'Lost', ...number('lost') },
    { title: 'Lost of sent', class: 'number', text: s => share(s.lost, s.sent) },
  ], { class: 'stack' });

  let order = 'lost';
  const select = h('select', { onchange: event => { order = event.target.value; sources(); } }, orders.map(o => h('option', { value: o }, o)));
  const sourceRows = table('Sources, worst first', [
    { title: 'Source', text: s => s.source, class: 'mono' },
    { title: 'Stream', class: 'number', text: s => s.stream },
    { title: 'Sent', ...number('sent') },
    { title: 'Lost', ...number('lost') },
    { title: 'Again', ...number('duplicate') },
    { title: 'Late', ...number('reordered') },
    { title: 'Seen', class: 'number', text: s => ago(s.last_seen_ms, answer?.time || Date.now()) + (s.session ? ', acknowledged' : '') },
  ], { class: 'stack' });
  const nobody = h('p', { class: 'empty', hidden: true });

  const element = h('div', { class: 'books' },
    h('section', {},
      h('div', { class: 'row' }, h('h2', {}, 'Where every event went'), h('div', { class: 'choice', role: 'group', 'aria-label': 'Of which time' }, buttons)),
      verdict, balance, picture.element,
      h('details', { class: 'behind' }, h('summary', {}, 'As a table', h('span', { class: 'unseen' }, ': what became of the events')), rows.element),
      h('h3', {}, 'Beside the sum'), beside),
    h('section', {}, h('h2', {}, 'Where the accepted ones are'), h('dl', { class: 'steps' }, kept.map(k => k.element))),
    h('section', {}, rates.element),
    h('section', {}, h('h2', {}, 'By stream, since the start'), streams.element),
    h('section', {}, h('div', { class: 'row' }, h('h2', {}, 'By source'), h('label', {}, 'Most ', select)), sourceRows.element, nobody));

  function tell() {
    if (!answer) return;
    buttons.forEach((b, i) => b.setAttribute('aria-pressed', spans[i].word === chosen));
    const lately = answer.lately.find(l => String(l.seconds) === chosen), sums = lately || answer.total;
    const parts = partsOf(sums);
    picture.update(sums.sent, parts);
    show(picture.element, sums.sent > 0);
    rows.update([{ key: 'sent', title: 'Sent', value: sums.sent, sent: sums.sent }, ...parts.map(p => ({ ...p, sent: sums.sent }))], p => p.key);
    say(equals, equation(sums));
    verdict.dataset.state = sums.off === 0 ? 'ok' : 'bad';
    say(verdict, sums.off === 0 ? 'The books balance' : `The books are off by ${count(sums.off)} events: this is an error in Lectern`);
    const of = !lately ? 'since ' + day(answer.since) : lately.covered < lately.seconds - 10 ? `in ${span(lately.covered)}, since the start` : '';
    say(note, [of, answer.damaged > 0 ? `${count(answer.damaged)} events of an earlier run were in a damaged log, and are booked as damaged` : ''].filter(Boolean).join('; '));
    besideOf.forEach(b => say(b.value, count(sums[b.word])));
    say(kept[0].value, count(answer.kept.table_keys) + ' rows');
    say(kept[1].value, count(answer.kept.rows_waiting) + ' rows');
    say(kept[2].value, count(answer.kept.spool_rows) + ' rows');
    say(kept[3].value, count(answer.kept.events_stored) + ' events');
    streams.update(answer.streams.filter(s => s.sent > 0 || s.stream), s => s.stream + ' ' + s.class);
  }

  hub.poll('/books.json', 2000, got => { answer = got; tell(); });
  hub.poll('/history.json', 10_000, history => {
    const lost = history.series.lost.map((n, i) => n - history.series.found[i]);
    const times = history.times.slice(1);
    rates.update(times, [history.series.accepted, history.series.refused, history.series.shed, lost].map(values => perSecond(history.times, values)));
  });
  const sources = hub.poll(() => `/sources?n=10&by=${order}`, 5000, got => {
    sourceRows.update(got, s => s.source);
    show(sourceRows.element, got.length > 0);
    show(nobody, got.length === 0);
    say(nobody, order === 'sent' ? 'No source is live.' : `No live source has any ${order} events.`);
  });
  return element;
}

/** perSecond is by how much a counter grew between each two times, a second. */
export function perSecond(times, values) {
  return times.slice(1).map((t, i) => Math.max(0, values[i + 1] - values[i]) * 1000 / (t - times[i]));
}
