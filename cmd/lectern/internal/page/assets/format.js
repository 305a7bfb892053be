// Numbers and times as people read them. Figures are in English, as the page is.

const whole = new Intl.NumberFormat('en-US', { maximumFractionDigits: 0 });
const short = new Intl.NumberFormat('en-US', { notation: 'compact', maximumSignificantDigits: 3 });
const clockFormat = new Intl.DateTimeFormat('en-GB', { hour: '2-digit', minute: '2-digit', second: '2-digit' });
const minuteFormat = new Intl.DateTimeFormat('en-GB', { hour: '2-digit', minute: '2-digit' });
const dayFormat = new Intl.DateTimeFormat('en-GB', { day: 'numeric', month: 'short', hour: '2-digit', minute: '2-digit' });

/** count is a whole number: 1,234,567. */
export const count = n => whole.format(n);

/** brief is a number in few characters: 1.23M. */
export const brief = n => (Math.abs(n) < 10000 ? (Number.isInteger(n) ? whole.format(n) : String(+n.toPrecision(3))) : short.format(n));

/** rate is a number a second. */
export const rate = n => (n < 10 && n > 0 ? n.toFixed(n < 1 ? 2 : 1) : whole.format(n));

/** share is a part of a whole: 12 %, 0.03 %, < 0.001 %. */
export function share(part, of) {
  if (!of) return '0 %';
  const percent = 100 * part / of;
  if (percent === 0 || percent === 100) return percent + ' %';
  if (Math.abs(percent) < 0.001) return '< 0.001 %';
  if (percent > 99 && percent < 100) return Math.min(99.999, Math.floor(percent * 1000) / 1000) + ' %';
  return (percent < 1 ? percent.toPrecision(2) : percent.toFixed(1)) + ' %';
}

/** bytes is a size: 64 MiB. */
export function bytes(n) {
  const units = ['B', 'KiB', 'MiB', 'GiB', 'TiB'];
  let i = 0;
  for (; n >= 1024 && i < units.length - 1; i++) n /= 1024;
  return (i === 0 || n >= 100 ? Math.round(n) : n.toFixed(n < 10 ? 2 : 1)) + ' ' + units[i];
}

/** seconds is a short time: 340 µs, 4.2 ms, 1.3 s. */
export function seconds(s) {
  if (s == null) return '–';
  if (s === 0) return '0 s';
  if (s < 1e-3) return Math.round(s * 1e6) + ' µs';
  if (s < 1) return +(s * 1e3).toPrecision(2) + ' ms';
  return s < 10 ? s.toFixed(1) + ' s' : span(s);
}

/** span is a longer time: 12 s, 3 min 5 s, 2 h 10 min, 4 d 3 h. */
export function span(s) {
  s = Math.max(0, Math.round(s));
  if (s < 60) return s + ' s';
  if (s < 3600) return Math.floor(s / 60) + ' min' + (s % 60 && s < 600 ? ' ' + s % 60 + ' s' : '');
  if (s < 86400) return Math.floor(s / 3600) + ' h ' + Math.floor(s % 3600 / 60) + ' min';
  return Math.floor(s / 86400) + ' d ' + Math.floor(s % 86400 / 3600) + ' h';
}

/** clock is a time of day, minute one without its seconds, and day one with its day. */
export const clock = ms => clockFormat.format(ms);
export const minute = ms => minuteFormat.format(ms);
export const day = ms => dayFormat.format(ms);

/** ago is how long before another a time was. */
export const ago = (ms, now) => (now - ms < 1500 ? 'now' : span((now - ms) / 1000) + ' ago');
