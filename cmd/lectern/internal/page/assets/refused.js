// Why refused: each word, how often, who was refused by it last, and how that began.
import { h, list, say } from './dom.js';
import { ago, count } from './format.js';
import { words } from './words.js';

const header = 40;

/** fields are those of a frame's header, by their places in it. */
const fields = [
  ['magic', 0, 2], ['version, type', 2, 3], ['flags', 3, 4], ['size', 4, 6], ['count', 6, 8], ['stream', 8, 10], ['time', 10, 16],
  ['source', 16, 24], ['sequence', 24, 32], ['position', 32, 40],
];
const types = { 1: 'events', 2: 'hello', 3: 'ack', 4: 'refusal' };

/** little is a number of little-endian bytes. */
const little = bytes => bytes.reduceRight((n, b) => n * 256n + BigInt(b), 0n);

/** meaning is what a field of a header says. */
function meaning(name, bytes, source) {
  switch (name) {
    case 'magic': return 'LE';
    case 'version, type': return `${bytes[0] >> 4}, ${types[bytes[0] & 15] || bytes[0] & 15}`;
    case 'flags': return bytes[0] === 0 ? 'none' : bytes[0].toString(2).padStart(4, '0');
    case 'time': { const t = Number(little(bytes)); return t < 8.64e15 ? new Date(t).toISOString().replace('T', ' ') : String(t); }
    case 'source': return source ? 'hidden: ' + source : 'hidden';
    default: return little(bytes).toLocaleString('en-US');
  }
}

/** wrong is where the header has what a word is about. */
const wrong = { magic: ['magic'], version: ['version, type'], type: ['version, type'], flags: ['flags'], size: ['size'], count: ['count'], stream: ['stream'], number: ['sequence', 'position'], time: ['time'], sequence: ['sequence'], position: ['position'], sealed: ['flags'], unsealed: ['flags'] };

/** hex shows bytes, many of them in groups of four. */
const hex = bytes => bytes.map((b, i) => b.toString(16).padStart(2, '0') + (bytes.length <= 4 || i % 4 === 3 ? ' ' : '')).join('').trim();
const letters = bytes => bytes.map(b => (b > 31 && b < 127 ? String.fromCharCode(b) : '·')).join('');

/** dump shows what a frame began with: a header field by field, anything else as bytes and letters. */
function dump(sender, word) {
  const bytes = (sender.bytes.match(/../g) || []).map(b => parseInt(b, 16));
  if (bytes.length === 0) return h('p', { class: 'note' }, 'There was no frame to show.');
  const frame = bytes.length === header && bytes[0] === 0x4c && bytes[1] === 0x45;
  if (!frame) return h('div', { class: 'bytes' }, h('div', { class: 'field' }, h('code', {}, hex(bytes)), h('span', { class: 'means' }, letters(bytes))));
  return h('dl', { class: 'bytes' }, fields.map(([name, from, to]) => {
    const own = bytes.slice(from, to);
    return h('div', { class: wrong[word]?.includes(name) ? 'field wrong' : 'field' }, h('dt', {}, name), h('dd', {}, h('code', {}, name === 'source' ? '········ ········' : hex(own)), h('span', { class: 'means' }, meaning(name, own, sender.source))));
  }));
}

export function refused(hub) {
  let time = 0;
  const summary = h('p', { class: 'verdict' });
  const senderRow = word => () => {
    const peer = h('span', { class: 'peer' }), note = h('span', { class: 'note' }), shown = h('div', {});
    const element = h('li', {}, h('p', {}, peer, note), shown);
    let was = null;
    return {
      elements: [element],
      update(s) {
        say(peer, s.peer || (s.transport === 'internal' ? 'this process' : 'unknown'));
        say(note, `${s.transport}${s.size ? `, ${count(s.size)} bytes` : ''} · ${s.times === 1 ? 'once' : count(s.times) + ' times'} · ${ago(s.last, time)}`);
        if (was !== s.bytes + s.source) shown.replaceChildren(dump(s, word));
        was = s.bytes + s.source;
      },
    };
  };
  const wordRow = item => {
    const numbers = h('span', { class: 'note' }), senders = h('ul', { class: 'senders' }), more = h('p', { class: 'note' });
    const updateSenders = list(senders, senderRow(item.word)), explained = words[item.word] || [];
    const element = h('article', { class: 'word' },
      h('h3', {}, item.word, numbers),
      h('p', {}, explained[0], explained[1] ? h('span', { class: 'cure' }, ' What a sender does: ' + explained[1] + '.') : null), senders, more);
    return {
      elements: [element],
      update(w) {
        say(numbers, `${count(w.frames_5m)} in five minutes · ${count(w.frames_1h)} in an hour · ${count(w.frames)} since the start`);
        updateSenders(w.senders, s => s.transport + s.peer);
        const events = [];
        if (w.events) events.push(`booked as refused: ${count(w.events)} events`);
        if (w.unplaced) events.push(`in frames that were not placed, so that they show as lost or come again: ${count(w.unplaced)}`);
        say(more, events.join('; ').replace(/^./, c => c.toUpperCase()));
      },
    };
  };
  const seen = h('div', { class: 'words' }), never = h('p', { class: 'note' });
  const updateSeen = list(seen, wordRow);
  hub.poll('/refusals.json', 2000, answer => {
    time = answer.time;
    const known = answer.words.filter(w => w.frames > 0 || w.senders.length > 0).sort((a, b) => b.frames_5m - a.frames_5m || b.frames_1h - a.frames_1h || b.frames - a.frames);
    const lately = known.reduce((sum, w) => sum + w.frames_5m, 0);
    updateSeen(known, w => w.word);
    say(summary, known.length === 0 ? 'No frame was refused since the start' : lately === 0 ? 'No frame was refused in the last five minutes' : `${count(lately)} frames were refused in the last five minutes`);
    summary.dataset.state = lately === 0 ? 'ok' : 'warn';
    const others = answer.words.filter(w => !known.includes(w)).map(w => w.word);
    say(never, others.length ? (known.length ? 'Never: ' : 'The words are: ') + others.join(', ') + '.' : '');
  });
  return h('div', { class: 'refused' },
    h('section', {}, h('h2', {}, 'Refused frames, by word'), summary,
      h('p', { class: 'hint' }, 'For each word the eight senders that were refused last, and the header of the last frame of each. A source’s number is hidden, and of what is no frame 16 bytes are kept.'),
      seen, never));
}
