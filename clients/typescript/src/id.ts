/**
 * XXH64 with seed 0, in halves of 32 bits: a number of V8 holds 53 bits, and BigInt arithmetic would cost ten times as much.
 */

const P1 = [0x85ebca87, 0x9e3779b1] as const; // low, high
const P2 = [0x27d4eb4f, 0xc2b2ae3d] as const;
const P3 = [0x9e3779f9, 0x165667b1] as const;
const P4 = [0xc2b2ae63, 0x85ebca77] as const;
const P5 = [0x165667c5, 0x27d4eb2f] as const;
type Prime = readonly [number, number];

const encoder = new TextEncoder();
let scratch = Buffer.allocUnsafeSlow(1024);
const result = new BigUint64Array(1);
const halves = new Uint32Array(result.buffer);

// The number that the functions below work on.
let lo = 0;
let hi = 0;

function multiply([plo, phi]: Prime): void {
  const a = lo & 0xffff;
  const b = lo >>> 16;
  const c = plo & 0xffff;
  const d = plo >>> 16;
  const low = a * c;
  const middle = b * c + (low >>> 16);
  const cross = a * d + (middle & 0xffff);
  const carry = b * d + Math.floor(middle / 65536) + Math.floor(cross / 65536);
  hi = (carry + Math.imul(lo, phi) + Math.imul(hi, plo)) >>> 0;
  lo = ((cross & 0xffff) << 16) | (low & 0xffff);
  lo >>>= 0;
}

function plus(alo: number, ahi: number): void {
  const sum = lo + alo;
  hi = (hi + ahi + (sum > 0xffffffff ? 1 : 0)) >>> 0;
  lo = sum >>> 0;
}

function rotate(by: number): void {
  const l = lo;
  const h = hi;
  if (by < 32) {
    lo = ((l << by) | (h >>> (32 - by))) >>> 0;
    hi = ((h << by) | (l >>> (32 - by))) >>> 0;
  } else {
    by -= 32;
    lo = by ? ((h << by) | (l >>> (32 - by))) >>> 0 : h;
    hi = by ? ((l << by) | (h >>> (32 - by))) >>> 0 : l;
  }
}

/** What is worked on becomes round(what is worked on, word). */
function round(wlo: number, whi: number): void {
  const slo = lo;
  const shi = hi;
  lo = wlo;
  hi = whi;
  multiply(P2);
  plus(slo, shi);
  rotate(31);
  multiply(P1);
}

/** What is worked on is mixed with round(0, word). */
function mix(wlo: number, whi: number): void {
  const slo = lo;
  const shi = hi;
  lo = hi = 0;
  round(wlo, whi);
  lo = (lo ^ slo) >>> 0;
  hi = (hi ^ shi) >>> 0;
}

function shiftXor(by: number): void {
  if (by < 32) {
    lo = (lo ^ ((lo >>> by) | (hi << (32 - by)))) >>> 0;
    hi = (hi ^ (hi >>> by)) >>> 0;
  } else {
    lo = (lo ^ (hi >>> (by - 32))) >>> 0;
  }
}

function stripes(data: Buffer, end: number): void {
  lo = P1[0];
  hi = P1[1];
  plus(P2[0], P2[1]);
  const lanes: [number, number][] = [[lo, hi], [...P2], [0, 0], [-P1[0] >>> 0, ~P1[1] >>> 0]];
  for (let at = 0; at < end; at += 32) {
    for (let i = 0; i < 4; i++) {
      const lane = lanes[i]!;
      lo = lane[0];
      hi = lane[1];
      round(data.readUInt32LE(at + 8 * i), data.readUInt32LE(at + 8 * i + 4));
      lane[0] = lo;
      lane[1] = hi;
    }
  }
  let slo = 0;
  let shi = 0;
  [1, 7, 12, 18].forEach((turn, i) => {
    lo = lanes[i]![0];
    hi = lanes[i]![1];
    rotate(turn);
    plus(slo, shi);
    slo = lo;
    shi = hi;
  });
  for (const lane of lanes) {
    mix(lane[0], lane[1]);
    multiply(P1);
    plus(P4[0], P4[1]);
  }
}

/**
 * The id of content or of a reader that has a text (a slug, a path, a UUID) and no number: the number that ClickHouse's
 * xxHash64 gives. Text is hashed in UTF-8.
 */
export function id(text: string | Uint8Array): bigint {
  let size: number;
  if (typeof text === "string") {
    if (scratch.length < 3 * text.length) scratch = Buffer.allocUnsafeSlow(4 * text.length);
    size = encoder.encodeInto(text, scratch).written;
  } else {
    if (scratch.length < text.length) scratch = Buffer.allocUnsafeSlow(2 * text.length);
    scratch.set(text);
    size = text.length;
  }
  const data = scratch;
  let at = 0;
  if (size >= 32) {
    at = size - (size % 32);
    stripes(data, at);
  } else {
    lo = P5[0];
    hi = P5[1];
  }
  plus(size, 0);
  for (; size - at >= 8; at += 8) {
    mix(data.readUInt32LE(at), data.readUInt32LE(at + 4));
    rotate(27);
    multiply(P1);
    plus(P4[0], P4[1]);
  }
  if (size - at >= 4) {
    const slo = lo;
    const shi = hi;
    lo = data.readUInt32LE(at);
    hi = 0;
    multiply(P1);
    lo = (lo ^ slo) >>> 0;
    hi = (hi ^ shi) >>> 0;
    rotate(23);
    multiply(P2);
    plus(P3[0], P3[1]);
    at += 4;
  }
  for (; at < size; at++) {
    const slo = lo;
    const shi = hi;
    lo = data[at]!;
    hi = 0;
    multiply(P5);
    lo = (lo ^ slo) >>> 0;
    hi = (hi ^ shi) >>> 0;
    rotate(11);
    multiply(P1);
  }
  shiftXor(33);
  multiply(P2);
  shiftXor(29);
  multiply(P3);
  shiftXor(32);
  halves[0] = lo;
  halves[1] = hi;
  return result[0]!;
}
