// Now: who reads what at this moment, by stream (docs/NOW.md is the contract of what is asked).
import { h, list, say, show, table } from './dom.js';
import { clock, count, minute, rate } from './format.js';
import { chart, spark } from './chart.js';

const every = 2000;
const contents = 20;
const still = 6000; // milliseconds without a cut after which the figures are said to stand still

/** title is what people call a stream or a content: its name, or its number. */
const streamTitle = s => s.stream_name || 'Stream ' + s.stream;

/**
 * readable is a name as its readers write it: paths come with %D8%A3 for what is not
 * English. What would not be seen, or turn the line around, stays as it is.
 */
function readable(name) {
  try {
    const text = decodeURI(name);
    return /[\p{Cc}\u2028-\u202e\u2066-\u2069]/u.test(text) ? name : text;
  } catch {
    return name; // a % that means nothing
  }
}

/** titleOf is a content as people know it: by its title, its name, or its id. */
const titleOf = item => item.title || readable(item.name || item.content);

/** pace says how fast something goes against the hour before. */
function pace(velocity) {
  if (velocity == null) return { text: '–', spoken: 'not known yet', class: '' };
  const text = (velocity >= 10 ? Math.round(velocity) : velocity.toFixed(1)) + '×';
  return { text, spoken: text.slice(0, -1) + ' times the hour before', class: velocity >= 1.5 ? 'up' : velocity <= 0.67 ? 'down' : '' };
}

/** paceCell is that in a table. */
function paceCell() {
  const shown = h('span', { class: 'pace', 'aria-hidden': 'true' }), spoken = h('span', { class: 'unseen' });
  return {
    element: h('span', {}, shown, spoken),
    update(item) {
      const p = pace(item.velocity);
      say(shown, p.text);
      shown.className = 'pace ' + p.class;
      say(spoken, p.spoken);
    },
  };
}

/** figure is a large number with what it is. */
function figure(title) {
  const value = h('span', { class: 'value' }), note = h('span', { class: 'note' });
  return { element: h('div', { class: 'figure' }, h('dt', {}, title), h('dd', {}, value, note)), set: (text, more = '') => { say(value, text); say(note, more); } };
}

const within = error => (error > 0 ? `± ${(error * 100).toPrecision(2)} %` : '');

/**
 * minutesOf are the times of opens_by_minute and its numbers, from when the daemon began
 * to count, but ten of them at the least: whole minutes, and the running one only where
 * there is hardly another yet.
 */
function minutesOf(numbers, time, since) {
  const last = numbers.length - 1, first = Math.floor(time / 60000) - last, began = Math.floor(since / 60000) - first;
  const from = Math.max(0, Math.min(last - 10, began)), to = began > last - 3 ? last + 1 : last;
  return { times: numbers.map((_, i) => (first + i) * 60000).slice(from, to), values: numbers.slice(from, to) };
}

const hourCell = () => {
  const line = spark(), spoken = h('span', { class: 'unseen' });
  return {
    element: h('span', { class: 'hour' }, line.element, spoken),
    update(item) {
      line.update(item.hour.values);
      const most = Math.max(...item.hour.values), at = item.hour.values.indexOf(most);
      say(spoken, `${count(item.hour.values.reduce((a, b) => a + b, 0))} opens, at most ${count(most)} a minute, at ${minute(item.hour.times[at])}`);
    },
  };
};

export function now(hub) {
  let chosen = new URLSearchParams(location.hash.split('?')[1]).get('stream');
  const opened = new Set(); // contents whose hour is shown
  let changed = Date.now(), time = 0;

  const left = h('div', { class: 'alarm', role: 'status', hidden: true });
  const off = h('p', { class: 'empty', hidden: true });
  const readers1 = figure('Readers, last minute'), readers5 = figure('Readers, last five'), opens = figure('Opens a second'), velocity = figure('Against the hour before');
  const heading = h('h2', {}, '');
  const warning = h('p', { class: 'hint', hidden: true });
  const hour = chart({ title: 'Opens a minute', note: 'last hour', lines: [{ title: 'Opens', colour: 'accent', area: true }], whole: true, signal: hub.signal });

  const nameCell = item => {
    const name = h('bdi', {}), place = h('span', { class: 'place', 'aria-hidden': 'true' }), about = h('bdi', { class: 'about', hidden: true });
    const button = h('button', { type: 'button', class: 'name', 'aria-expanded': 'false' }, name);
    button.addEventListener('click', () => { toggle(item.content); });
    return {
      element: h('span', { class: 'named' }, place, h('span', { class: 'called' }, button, about)),
      update(item) {
        const more = [item.section, item.author].filter(Boolean).join(' · ');
        say(place, item.place);
        say(name, titleOf(item));
        say(about, more);
        show(about, more !== '');
        name.classList.toggle('id', !item.name);
        button.title = item.name || 'No name is known of ' + item.content;
        button.setAttribute('aria-expanded', opened.has(item.content));
      },
    };
  };
  const more = item => {
    const cell = h('td', { colspan: '6', role: 'cell' });
    const row = h('tr', { class: 'more', role: 'row', hidden: true }, cell);
    let shown = null, ends = null;
    return {
      element: row,
      update(item) {
        const open = opened.has(item.content);
        show(row, open);
        if (!open && shown) {
          ends.abort();
          cell.replaceChildren();
          shown = null;
        }
        if (!open) return;
        if (!shown) {
          ends = new AbortController();
          shown = chart({ title: 'Opens a minute', note: titleOf(item), lines: [{ title: 'Opens', colour: 'accent', area: true }], whole: true, height: 120, signal: AbortSignal.any([ends.signal, hub.signal]) });
          cell.append(shown.element);
        }
        shown.update(item.hour.times, [item.hour.values]);
      },
    };
  };
  const top = table('Most read', [
    { title: 'Content', class: 'wide', cell: nameCell },
    { title: 'Last hour', class: 'spark-cell', cell: hourCell },
    { title: 'Readers', class: 'number strong', text: c => count(c.readers_1m) },
    { title: 'Last five', class: 'number extra', text: c => count(c.readers_5m) },
    { title: 'Opens/s', class: 'number extra', text: c => rate(c.opens_per_second) },
    { title: 'Pace', class: 'number', cell: paceCell },
  ], { class: 'top', more });
  const none = h('p', { class: 'empty', hidden: true }, 'Nobody has read anything here in the last hour.');

  const streamList = h('ul', { class: 'streams' });
  const updateStreams = list(streamList, item => {
    const name = h('bdi', { class: 'stream' }), readers = h('span', { class: 'number' }), p = paceCell(), line = spark();
    const button = h('button', { type: 'button', onclick: () => choose(item.stream) }, name, readers, h('span', { class: 'unseen' }, ' readers, '), line.element, p.element);
    return {
      elements: [h('li', {}, button)],
      update(item) {
        say(name, streamTitle(item));
        say(readers, count(item.readers_1m));
        line.update(item.hour.values);
        p.update(item);
        button.setAttribute('aria-pressed', item.stream === chosen);
      },
    };
  });
  const streams = h('section', { class: 'panel', hidden: true }, h('h2', {}, 'Streams'), streamList);

  const nodeList = h('ul', { class: 'nodes' });
  const updateNodes = list(nodeList, () => {
    const name = h('span', { class: 'address' }), word = h('span', { class: 'note' }), dot = h('span', { class: 'dot', 'aria-hidden': 'true' });
    const element = h('li', {}, dot, name, word);
    return {
      elements: [element],
      update(node) {
        say(name, node.node);
        say(word, node.state === 'own' ? 'this one' : node.state === 'asked' ? 'in the figures' : 'left out: ' + (node.why || 'no reason given'));
        dot.dataset.state = node.state === 'left_out' ? 'bad' : 'ok';
        element.classList.toggle('out', node.state === 'left_out');
      },
    };
  });
  const nodesTitle = h('h2', {}, 'Collectors');
  const nodes = h('section', { class: 'panel', hidden: true }, nodesTitle, nodeList);

  const body = h('div', { class: 'now', hidden: true },
    h('div', { class: 'lead' },
      h('section', {}, heading, h('dl', { class: 'figures' }, readers1.element, readers5.element, opens.element, velocity.element), warning, hour.element),
      h('section', {}, h('h2', {}, 'Most read'), top.element, none)),
    h('aside', { 'aria-label': 'Streams and collectors' }, streams, nodes));
  const element = h('div', {}, left, off, body);

  function toggle(content) {
    if (!opened.delete(content)) opened.add(content);
    detail();
  }
  function choose(stream) {
    chosen = stream;
    opened.clear();
    history.replaceState(null, '', '#now?stream=' + encodeURIComponent(stream));
    overview();
    detail();
  }

  const path = () => {
    const q = new URLSearchParams({ stream: chosen, limit: contents });
    for (const id of [...opened].slice(0, 20)) q.append('content', id);
    return '/now.json?' + q;
  };

  let detail = () => {}; // asks for the chosen stream at once
  const overview = hub.poll('/now.json?limit=0', every, answer => {
    show(off, false);
    tellNodes(answer);
    for (const s of answer.streams) s.hour = minutesOf(s.opens_by_minute, answer.time, answer.since);
    updateStreams(answer.streams, s => s.stream);
    show(streams, answer.streams.length > 1);
    body.classList.toggle('alone', streams.hidden && nodes.hidden);
    if (answer.streams.length === 0) {
      show(body, chosen != null);
      say(off, 'Nobody reads anything yet: no event has come in the last hour.');
      show(off, chosen == null);
    }
    if (chosen == null && answer.streams.length > 0) {
      chosen = answer.streams[0].stream;
      updateStreams(answer.streams, s => s.stream);
    }
    if (chosen != null && !detail.begun) {
      detail = hub.poll(path, every, tell, failed);
      detail.begun = true;
    }
  }, failed);

  function failed(error) {
    if (error.status !== 404 && error.status !== 400) return;
    show(body, false);
    say(off, error.status === 404 ? 'Readers now are not counted here: now.readers_max is 0 in the configuration.' : error.message);
    show(off, true);
  }

  function tellNodes(answer) {
    const out = answer.nodes.filter(n => n.state === 'left_out'), parts = [];
    if (out.length > 0) parts.push(`${out.length} of ${answer.nodes.length} collectors ${out.length === 1 ? 'is' : 'are'} not in these figures: ` + out.map(n => n.node + (n.why ? ` (${n.why})` : '')).join(', ') + '.');
    if (answer.unasked > 0) parts.push(`${answer.unasked} more collectors are not asked: ops.peers has more than 64.`);
    say(left, parts.join(' '));
    show(left, parts.length > 0);
    updateNodes(answer.nodes, n => n.node);
    say(nodesTitle, answer.nodes.length > 1 ? `${answer.nodes.length} collectors` : 'Collector');
    show(nodes, answer.cluster || answer.nodes.length > 1);
  }

  function tell(answer) {
    show(body, true);
    const s = answer.streams.find(s => s.stream === chosen || s.stream_name === chosen) || answer.streams[0];
    if (!s) return;
    if (answer.time !== time) [time, changed] = [answer.time, Date.now()];
    say(heading, streamTitle(s));
    readers1.set(count(s.readers_1m), within(s.readers_1m_error));
    readers5.set(count(s.readers_5m), within(s.readers_5m_error));
    opens.set(rate(s.opens_per_second));
    velocity.set(pace(s.velocity).text, s.velocity == null ? 'after ten minutes' : '');
    const words = [];
    if (s.coarse_1m > 0) words.push(`${count(s.coarse_1m)} events of the last minute were counted without their reader, for want of room: there are more readers than this says.`);
    if (Date.now() - changed > still) words.push(`These figures stand still since ${clock(time)}: the collector makes no cuts.`);
    say(warning, words.join(' '));
    show(warning, words.length > 0);
    const own = minutesOf(s.opens_by_minute, answer.time, answer.since);
    hour.update(own.times, [own.values]);
    s.contents.forEach((c, i) => {
      c.hour = minutesOf(c.opens_by_minute, answer.time, answer.since);
      c.place = i < contents ? i + 1 : '';
    });
    top.update(s.contents, c => c.content);
    show(top.element, s.contents.length > 0);
    show(none, s.contents.length === 0);
  }
  return element;
}
