// Charts of times: uPlot draws, and behind each stands a table of the same numbers, for
// those who do not see a drawing or want to copy from it.
import { h, say, svg, table } from './dom.js';
import { brief, clock, minute } from './format.js';

/** wholeSteps are those of a scale of whole numbers. */
const wholeSteps = Array.from({ length: 12 }, (_, i) => [1, 2, 5].map(n => n * 10 ** i)).flat();

const dark = matchMedia('(prefers-color-scheme: dark)');

/** colour is one of the page's own. */
const colour = name => getComputedStyle(document.documentElement).getPropertyValue('--' + name).trim();

/**
 * chart makes a figure of lines: {title, lines: [{title, colour, area}], text, height,
 * signal}. text says a value in words. The scale goes up to least at the least, in steps
 * where those are given; whole is for numbers that have no parts. update takes times in
 * milliseconds and a list of values for each line.
 */
export function chart({ title, note, lines, text = brief, height = 150, signal, least = 1, steps, whole = false }) {
  const plot = h('div', { class: 'plot', 'aria-hidden': 'true' });
  const readout = h('span', { class: 'readout', 'aria-hidden': 'true' });
  const rows = table(title, [
    { title: 'Time', text: row => clock(row.time) },
    ...lines.map((line, i) => ({ title: line.title, class: 'number', text: row => (row.values[i] == null ? '–' : text(row.values[i])) })),
  ], { class: 'plain' });
  const behind = h('details', { class: 'behind' }, h('summary', {}, 'As a table', h('span', { class: 'unseen' }, ': ' + title)), h('div', { class: 'scroll', tabindex: '0', role: 'region', 'aria-label': title + ', as a table' }, rows.element));
  const legend = lines.length > 1 ? h('ul', { class: 'legend', 'aria-hidden': 'true' }, lines.map(line => h('li', { class: 'key-' + line.colour }, line.title))) : null;
  const element = h('figure', { class: 'chart' },
    h('figcaption', {}, h('span', { class: 'title' }, title), note ? h('span', { class: 'note' }, note) : null, readout), legend, plot, behind);

  let data = [[], ...lines.map(() => [])], drawn = null;
  const tell = () => {
    if (!behind.open) return;
    const [times, ...values] = data;
    rows.update(times.map((time, i) => ({ time: time * 1000, values: values.map(v => v[i]) })).reverse(), row => row.time);
  };
  behind.addEventListener('toggle', tell);

  const draw = () => {
    if (!plot.isConnected || plot.clientWidth === 0) return;
    drawn?.destroy();
    const axis = { stroke: colour('soft'), font: '11px system-ui, sans-serif', ticks: { show: false }, grid: { stroke: colour('line'), width: 1 } };
    drawn = new globalThis.uPlot({
      width: plot.clientWidth, height, legend: { show: false }, padding: [8, 16, 0, 0],
      cursor: { y: false, drag: { x: false, y: false }, points: { size: 6 } },
      scales: { y: { range: (_, low, most) => [0, Math.max(least, most * 1.1)] } },
      axes: [
        { ...axis, grid: { show: false }, space: 70, size: 24, incrs: [60, 120, 300, 600, 900, 1800, 3600], values: (_, ticks) => ticks.map(t => minute(t * 1000)) },
        { ...axis, size: 58, space: 34, ...(steps || whole ? { incrs: steps || wholeSteps } : {}), values: (_, ticks) => ticks.map(v => text(v)) },
      ],
      series: [{}, ...lines.map(line => ({ stroke: colour(line.colour), width: 1.75, fill: line.area ? colour(line.colour + '-wash') : undefined, points: { show: false } }))],
      hooks: {
        setCursor: [u => {
          const i = u.cursor.idx;
          say(readout, i == null ? '' : clock(data[0][i] * 1000) + '  ' + lines.map((line, l) => (data[l + 1][i] == null ? '' : (lines.length > 1 ? line.title + ' ' : '') + text(data[l + 1][i]))).filter(Boolean).join('  '));
        }],
      },
    }, data, plot);
  };
  const size = new ResizeObserver(() => { if (drawn && drawn.width === plot.clientWidth) return; draw(); });
  size.observe(plot);
  dark.addEventListener('change', draw, { signal });
  signal.addEventListener('abort', () => { size.disconnect(); drawn?.destroy(); drawn = null; });
  return {
    element,
    update(times, values) {
      data = [times.map(t => t / 1000), ...values];
      if (drawn) drawn.setData(data);
      else draw();
      tell();
    },
  };
}

/** spark is a small line without axes; words say the same. */
export function spark() {
  const width = 120, height = 28;
  const line = svg('path', { class: 'line' }), area = svg('path', { class: 'area' });
  const element = svg('svg', { class: 'spark', viewBox: `0 0 ${width} ${height}`, preserveAspectRatio: 'none', 'aria-hidden': 'true' }, area, line);
  return {
    element,
    update(values) {
      const most = Math.max(1, ...values), step = width / Math.max(1, values.length - 1);
      const points = values.map((v, i) => `${(i * step).toFixed(1)} ${(height - 3 - (height - 6) * v / most).toFixed(1)}`);
      line.setAttribute('d', 'M' + points.join('L'));
      area.setAttribute('d', 'M' + points.join('L') + `L${width} ${height}L0 ${height}Z`);
    },
  };
}
