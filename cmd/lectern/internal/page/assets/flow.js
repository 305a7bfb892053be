// The balance as a picture: what was sent flows into what became of it. Each part is as
// high as its share, but never so low that it is not seen; the words beside it have the
// numbers, and the table behind it all of them.
import { list, say, svg } from './dom.js';
import { count, share } from './format.js';

const least = 3;   // pixels of the smallest part
const whole = 190; // and of all that was sent
const pitch = 38;  // between the words of two parts
const bar = 10;

/** flow draws parts {key, title, value, colour} of a whole. */
export function flow(signal) {
  const left = svg('rect', { class: 'sent', x: 0, width: bar, rx: 2 });
  const ribbons = svg('g', {}), words = svg('g', {});
  const drawing = svg('svg', { class: 'flow', 'aria-hidden': 'true' }, left, ribbons, words);
  let parts = [], sent = 0, width = 0;

  const update = list(ribbons, () => {
    const ribbon = svg('path', {}), end = svg('rect', { width: bar, rx: 2 });
    return {
      elements: [ribbon, end],
      update(p) {
        const from = bar + 2, to = p.x - 2, middle = (from + to) / 2;
        ribbon.setAttribute('class', 'ribbon fill-' + p.colour);
        ribbon.setAttribute('d', `M${from} ${p.from}C${middle} ${p.from} ${middle} ${p.to} ${to} ${p.to}L${to} ${p.to + p.height}C${middle} ${p.to + p.height} ${middle} ${p.from + p.height} ${from} ${p.from + p.height}Z`);
        end.setAttribute('class', 'fill-' + p.colour);
        set(end, { x: p.x, y: p.to, height: p.height });
      },
    };
  });
  const updateWords = list(words, () => {
    const title = svg('text', { class: 'title' }), value = svg('text', { class: 'value' });
    return {
      elements: [title, value],
      update(p) {
        const y = p.to + p.height / 2;
        set(title, { x: p.x + bar + 10, y: y - 3 });
        set(value, { x: p.x + bar + 10, y: y + 13 });
        say(title, p.title);
        say(value, `${count(p.value)} · ${share(p.value, sent)}`);
      },
    };
  });

  function draw() {
    width = drawing.clientWidth || width;
    if (!width) return;
    const x = Math.max(60, width - 205);
    const heights = parts.map(p => Math.max(least, sent > 0 ? whole * p.value / sent : 0));
    const all = heights.reduce((a, b) => a + b, 0);
    let y = 0;
    const placed = parts.map((p, i) => {
      const slot = Math.max(heights[i], pitch), to = y + (slot - heights[i]) / 2;
      y += slot + 6;
      return { ...p, x, height: heights[i], to };
    });
    const height = Math.max(y, all + 8);
    let from = Math.max(0, (height - all) / 2);
    set(left, { y: from, height: Math.max(all, least) });
    for (const p of placed) {
      p.from = from;
      from += p.height;
    }
    set(drawing, { viewBox: `0 0 ${width} ${height}`, height });
    update(placed, p => p.key);
    updateWords(placed, p => p.key);
  }
  const size = new ResizeObserver(() => { if (drawing.clientWidth !== width) draw(); });
  size.observe(drawing);
  signal.addEventListener('abort', () => size.disconnect());
  return {
    element: drawing,
    update(of, among) {
      [sent, parts] = [of, among];
      draw();
    },
  };
}

function set(element, attributes) {
  for (const [key, value] of Object.entries(attributes)) element.setAttribute(key, value);
}
