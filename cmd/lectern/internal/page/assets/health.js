// Health: what an operator looks at, and what to do where an alert would fire.
import { h, list, say, show } from './dom.js';
import { bytes, count, seconds, share, span } from './format.js';
import { chart } from './chart.js';
import { perSecond } from './books.js';
import { ask } from './poll.js';

/** words makes of LecternStoreBehind: Store behind. */
const words = name => name.replace(/^Lectern/, '').replace(/(?!^)[A-Z]/g, c => ' ' + c.toLowerCase());

/** prose makes elements of a runbook's entry: paragraphs, blocks of commands, and `code`. */
function prose(text) {
  return text.split(/\n{2,}/).map(block => {
    if (/^ {4}/.test(block)) return h('pre', { tabindex: '0' }, block.replace(/^ {4}/gm, ''));
    return h('p', {}, block.replace(/\n/g, ' ').split(/(`[^`]+`|\*[^*]+\*)/).map(part => {
      if (part.startsWith('`')) return h('code', {}, part.slice(1, -1));
      if (part.length > 2 && part.startsWith('*')) return h('strong', {}, part.slice(1, -1));
      return part;
    }));
  });
}

/** binarySteps and timeSteps are those of scales of bytes and of seconds. */
const binarySteps = Array.from({ length: 30 }, (_, i) => 2 ** (i + 12));
const timeSteps = [5, 10, 30, 60, 300, 600, 1800, 3600, 4 * 3600, 12 * 3600, 86400];

/** facts is a list of names and values: facts of {title: text}. */
function facts(titles) {
  const values = titles.map(() => h('dd', {}));
  return { element: h('dl', { class: 'facts' }, titles.map((t, i) => h('div', {}, h('dt', {}, t), values[i]))), set: texts => texts.forEach((t, i) => say(values[i], t)) };
}

/** meter is how much of a limit is used. */
function meter(title) {
  const used = h('div', {}), text = h('span', { class: 'note' });
  const bar = h('div', { class: 'gauge', role: 'meter', 'aria-label': title, 'aria-valuemin': '0', 'aria-valuemax': '100' }, used);
  return {
    element: h('div', { class: 'meter' }, bar, text),
    set(part, whole, words) {
      const percent = whole > 0 ? Math.min(100, 100 * part / whole) : 0;
      used.style.width = percent + '%';
      bar.setAttribute('aria-valuenow', Math.round(percent));
      bar.setAttribute('aria-valuetext', words);
      bar.dataset.state = part > 0.9 * whole ? 'bad' : part > 0.5 * whole ? 'warn' : 'ok';
      say(text, words);
    },
  };
}

const card = (title, ...children) => h('section', { class: 'card' }, h('h2', {}, title), ...children);

export function health(hub) {
  let runbook = null;
  const summary = h('p', { class: 'verdict' });
  const conditionRow = item => {
    const dot = h('span', { class: 'dot', 'aria-hidden': 'true' }), since = h('span', { class: 'note' }), help = h('div', { class: 'runbook' });
    const entry = h('details', {}, h('summary', {}, dot, h('span', { class: 'name' }, words(item.name)), since), help);
    entry.addEventListener('toggle', async () => {
      if (!entry.open || help.childElementCount > 0) return;
      try {
        runbook ||= await ask('/runbook.json', hub.signal);
        help.replaceChildren(...prose(runbook[item.name] || 'Nothing is written about this.'));
      } catch (error) {
        if (!hub.signal.aborted) help.replaceChildren(h('p', {}, 'What to do cannot be read now: ' + error.message));
      }
    });
    return {
      elements: [h('li', {}, entry)],
      update(c) {
        dot.dataset.state = c.state === 'ok' ? 'ok' : c.state === 'firing' && c.severity === 'page' ? 'bad' : 'warn';
        const held = c.since ? `for ${span((answer.time - c.since) / 1000)}` : '';
        say(since, c.state === 'ok' ? 'fine' : c.state === 'firing' ? `${c.severity}, ${held}` : `${held}; fires after ${span(c.after_seconds)}`);
      },
    };
  };
  let answer = null;
  const wrong = h('ul', { class: 'conditions' }), fine = h('ul', { class: 'conditions' });
  const updateWrong = list(wrong, conditionRow), updateFine = list(fine, conditionRow);
  const fineSummary = h('summary', {});
  const fineBox = h('details', { class: 'fine' }, fineSummary, fine);

  const loops = h('ul', { class: 'loops' });
  const updateLoops = list(loops, loop => {
    const table = meter('Table of loop ' + loop.number), rest = h('span', { class: 'note' });
    return {
      elements: [h('li', {}, h('span', { class: 'name' }, 'Loop ' + loop.number), table.element, rest)],
      update(l) {
        table.set(l.keys, l.slots, `${count(l.keys)} of ${count(l.slots)} keys`);
        say(rest, `${count(l.datagrams)} datagrams · ${count(l.connections)} connections` + (l.kernel_drops ? ` · ${count(l.kernel_drops)} dropped by the kernel` : ''));
      },
    };
  });
  const heart = facts(['Last heartbeat', 'Sources', 'Connections', 'Acknowledged']);
  const cuts = facts(['Made', 'Because of', 'Denied', '99 % held the loops for', '99 % were read in']);
  const seals = facts(['Made', 'Failed', 'Half of them within', '99 % within']);
  const spoolBar = meter('Spool'), rowsBar = meter('Rows waiting in memory');
  const spool = facts(['Blocks that wait', 'Oldest block', 'Parked', 'Damaged files']);
  const store = facts(['Where', 'Blocks', 'Rows', 'Events', '99 % stored within', 'Tried again', 'Unsure', 'Barred']);
  const memoryBar = meter('Memory');
  const memory = facts(['Resident', 'Limit of Go', 'Limit of the container']);
  const parts = h('tbody', {});
  const updateParts = list(parts, p => ({ elements: [h('tr', {}, h('th', { scope: 'row' }, p.part), h('td', { class: 'number' }, bytes(p.bytes)), h('td', { class: 'from' }, p.from))], update() {} }));
  const process = facts(['Running', 'Processor time', 'Goroutines']);

  const events = chart({ title: 'Events a second', note: 'accepted, last hour', lines: [{ title: 'Events', colour: 'accent', area: true }], whole: true, signal: hub.signal, height: 120 });
  const cpu = chart({ title: 'Processors in use', note: 'last hour', lines: [{ title: 'Processors', colour: 'accent', area: true }], text: n => String(+n.toFixed(2)), least: 0.1, signal: hub.signal, height: 120 });
  const held = chart({ title: 'Memory', note: 'last hour', lines: [{ title: 'Memory', colour: 'accent', area: true }], text: bytes, steps: binarySteps, signal: hub.signal, height: 120 });
  const waits = chart({ title: 'Age of the oldest block', note: 'last hour', lines: [{ title: 'Age', colour: 'accent', area: true }], text: span, steps: timeSteps, least: 10, signal: hub.signal, height: 120 });

  const element = h('div', { class: 'health' },
    h('section', {}, h('h2', {}, 'Alerts'), summary, wrong, fineBox),
    h('div', { class: 'cards' },
      card('Loops', heart.element, loops),
      card('Cuts', cuts.element),
      card('Seals', seals.element),
      card('Spool', spoolBar.element, spool.element, rowsBar.element),
      card('Store', store.element),
      card('Memory', memoryBar.element, memory.element,
        h('details', { class: 'behind' }, h('summary', {}, 'What it may take, by part'),
          h('table', { class: 'plain parts' }, h('caption', { class: 'unseen' }, 'What lectern check adds up'), h('thead', {}, h('tr', {}, ['Part', 'At its limit', 'By'].map((t, i) => h('th', { scope: 'col', class: i === 1 ? 'number' : i === 2 ? 'from' : '' }, t)))), parts))),
      card('Process', process.element)),
    h('div', { class: 'charts' }, events.element, cpu.element, held.element, waits.element));

  hub.poll('/health.json', 2000, got => {
    answer = got;
    const not = got.conditions.filter(c => c.state !== 'ok'), ok = got.conditions.filter(c => c.state === 'ok');
    const firing = not.filter(c => c.state === 'firing');
    let text = firing.length ? `${firing.length} of ${got.conditions.length} alerts would fire` : not.length ? `Nothing fires; ${not.length} may soon` : `Nothing is wrong: all ${got.conditions.length} conditions are fine`;
    if (got.ready) text = 'Not ready: ' + got.ready;
    if (got.stalled_seconds > 0) text = `An event loop hangs: these figures are ${span(got.stalled_seconds)} old`;
    say(summary, text);
    summary.dataset.state = got.ready || got.stalled_seconds > 0 || firing.some(c => c.severity === 'page') ? 'bad' : not.length ? 'warn' : 'ok';
    updateWrong([...firing, ...not.filter(c => c.state === 'pending')], c => c.name);
    updateFine(ok, c => c.name);
    show(wrong, not.length > 0);
    say(fineSummary, not.length ? `${ok.length} others are fine` : 'What is looked at');

    heart.set([seconds(got.heartbeat_seconds), count(got.process.sources), count(got.process.connections), count(got.process.sessions)]);
    updateLoops(got.loops.map((l, i) => ({ ...l, number: i + 1 })), l => l.number);
    const made = Object.entries(got.cuts.made).sort(([, a], [, b]) => b - a);
    cuts.set([count(made.reduce((sum, [, n]) => sum + n, 0)), made.map(([why, n]) => `${why} ${count(n)}`).join(', ') || '–', count(got.cuts.denied), seconds(got.cuts.hold_p99_seconds), seconds(got.cuts.read_p99_seconds)]);
    seals.set([count(got.seals.made), count(got.seals.failures), seconds(got.seals.p50_seconds), seconds(got.seals.p99_seconds)]);
    spoolBar.set(got.spool.bytes, got.spool.max_bytes, `${bytes(got.spool.bytes)} of ${bytes(got.spool.max_bytes)}` + (got.spool.gone ? ': the directory is gone' : ''));
    rowsBar.set(got.spool.rows_waiting, got.spool.rows_waiting_max, `${count(got.spool.rows_waiting)} of ${count(got.spool.rows_waiting_max)} rows wait in memory`);
    spool.set([count(got.spool.blocks), got.spool.blocks ? span(got.spool.oldest_seconds) : '–', count(got.spool.parked), count(got.spool.files_set_aside)]);
    const barred = Object.entries(got.store.barred).map(([why, n]) => `${why} ${count(n)}`).join(', ');
    store.set([got.store.name + (got.store.gone ? ' (gone)' : ''), count(got.store.blocks), count(got.store.rows), count(got.store.events), seconds(got.store.p99_seconds), count(got.store.retries), count(got.store.unsure), barred || '–']);
    memoryBar.set(got.memory.own_bytes, got.memory.check_bytes, `${bytes(got.memory.own_bytes)} of ${bytes(got.memory.check_bytes)} at the limits of the configuration (${share(got.memory.own_bytes, got.memory.check_bytes)})`);
    memory.set([bytes(got.memory.resident_bytes), got.memory.go_limit_bytes ? bytes(got.memory.go_limit_bytes) : 'none', got.memory.limit_bytes ? bytes(got.memory.limit_bytes) : 'none']);
    updateParts(got.memory.parts, p => p.part);
    process.set([span((got.time - got.since) / 1000), span(got.process.cpu_seconds), count(got.process.goroutines)]);
  });
  hub.poll('/history.json', 10_000, ({ times, series }) => {
    events.update(times.slice(1), [perSecond(times, series.accepted)]);
    cpu.update(times.slice(1), [perSecond(times, series.cpu_seconds)]);
    held.update(times, [series.memory_bytes]);
    waits.update(times, [series.oldest_seconds]);
  });
  return element;
}
