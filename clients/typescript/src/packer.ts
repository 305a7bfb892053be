/** Numbers, and frames that carry them: wire/SPEC.md, sections 3 and 4. */

import { randomBytes } from "node:crypto";
import type { EventsKey } from "./seal.js";
import { AT_MAX, EVENTS, HEADER_SIZE, NAMES, NAME_HEAD, TAG_SIZE, putHeader } from "./wire.js";

/** What a frame's encoder may write behind its end: an id is written eight bytes wide, and what comes next over it. */
export const SLACK = 16;

/** What numbers frames. */
export class Numbers {
  readonly stream: number;
  source: bigint;
  sequence = 0;
  position = 0;
  /** What seals them. */
  key: EventsKey | undefined;

  constructor(stream: number, source: bigint = drawSource()) {
    this.stream = stream;
    this.source = source;
  }

  /** Begins a new source. */
  renew(): void {
    this.source = drawSource();
    this.sequence = this.position = 0;
  }

  /** Numbers that go on with these, for beats alone. */
  copy(): Numbers {
    const numbers = new Numbers(this.stream, this.source);
    numbers.sequence = this.sequence;
    numbers.position = this.position;
    numbers.key = this.key;
    return numbers;
  }

  /** Uses up the numbers of events that were dropped. A source cannot begin with them: nobody would know it. */
  skip(events: number): void {
    if (this.sequence === 0) return;
    this.sequence++;
    this.position += events;
  }

  /** Writes the next frame's header and, with a key, its tag, and uses its numbers up. Returns its size. */
  head(frame: Buffer, size: number, count: number, ms: number, type = EVENTS): number {
    putHeader(frame, type, 0, size, count, this.stream, ms, this.source, this.sequence, this.position);
    this.sequence++;
    this.position += count;
    return this.key ? this.key.seal(frame, size) : size;
  }

  /** Writes a frame without events: it shows how far this source has numbered. */
  beat(frame: Buffer, ms: number): number {
    return this.head(frame, HEADER_SIZE, 0, ms);
  }
}

/** Packs events into the frames of one source. It keeps them in columns, since the time of a frame is known at its end. */
export class Packer extends Numbers {
  readonly #limit: number;
  // Of each event: content and user. The same memory in halves, so that nothing is calculated with BigInt.
  readonly #ids: BigUint64Array;
  readonly #halves: Uint32Array;
  readonly #times: Float64Array;
  readonly #dwell: Uint32Array;
  readonly #kind: Uint8Array;
  readonly #progress: Uint8Array; // 255: not known

  /** Events in the unfinished frame. */
  count = 0;
  #names: Buffer[] = []; // that wait for their frame
  #namesSize = 0;
  #body = 0; // their bytes without their at
  #oldest = 0;
  #newest = 0;

  constructor(stream: number, size: number, sealed: boolean) {
    super(stream);
    this.#limit = size - (sealed ? TAG_SIZE : 0);
    const room = (size - HEADER_SIZE) >> 1;
    this.#ids = new BigUint64Array(2 * room);
    this.#halves = new Uint32Array(this.#ids.buffer);
    this.#times = new Float64Array(room);
    this.#dwell = new Uint32Array(room);
    this.#kind = new Uint8Array(room);
    this.#progress = new Uint8Array(room);
  }

  /** Puts an event into the unfinished frame, false where it belongs in the next one. What is in range is the caller's to see to. */
  add(kind: number, content: number | bigint, user: number | bigint, dwell: number, progress: number, ms: number): boolean {
    const n = this.count;
    if (n === this.#times.length) return false;
    const halves = this.#halves;
    const at = 4 * n;
    if (typeof content === "bigint") {
      this.#ids[2 * n] = content;
    } else {
      halves[at] = content >>> 0;
      halves[at + 1] = content / 4294967296;
    }
    if (typeof user === "bigint") {
      this.#ids[2 * n + 1] = user;
    } else {
      halves[at + 2] = user >>> 0;
      halves[at + 3] = user / 4294967296;
    }
    let oldest = ms;
    let newest = ms;
    let body = this.#body + 2 + numberSize(dwell) + (progress === 255 ? 0 : 1);
    if (n === 0) {
      body += idSize(halves[at]!, halves[at + 1]!) + idSize(halves[at + 2]!, halves[at + 3]!);
    } else {
      if (this.#oldest < ms) oldest = this.#oldest;
      if (this.#newest > ms) newest = this.#newest;
      if (halves[at] !== halves[at - 4] || halves[at + 1] !== halves[at - 3]) body += idSize(halves[at]!, halves[at + 1]!);
      if (halves[at + 2] !== halves[at - 2] || halves[at + 3] !== halves[at - 1]) body += idSize(halves[at + 2]!, halves[at + 3]!);
    }
    const span = newest - oldest;
    // As if every at were as long as that of the whole span.
    if (span > AT_MAX || HEADER_SIZE + body + (n + 1) * numberSize(span) > this.#limit) return false;
    this.#kind[n] = kind;
    this.#dwell[n] = dwell;
    this.#progress[n] = progress;
    this.#times[n] = ms;
    this.#oldest = oldest;
    this.#newest = newest;
    this.#body = body;
    this.count = n + 1;
    return true;
  }

  /** How many bytes a text may have that a frame holds as a name. */
  get nameRoom(): number {
    return this.#limit - HEADER_SIZE - NAME_HEAD;
  }

  /** Has a name, or another attribute, wait for a frame of names, false where that is full. */
  addName(content: bigint, text: Buffer, attribute = 0): boolean {
    if (this.#namesSize + text.length > this.nameRoom) return false;
    const name = Buffer.allocUnsafe(NAME_HEAD + text.length);
    name[0] = attribute;
    name.writeUInt16LE(text.length, 1);
    name.writeBigUInt64LE(content, 3);
    text.copy(name, NAME_HEAD);
    this.#names.push(name);
    this.#namesSize += name.length;
    return true;
  }

  /** Forgets the names that wait. */
  clearNames(): void {
    this.#names = [];
    this.#namesSize = 0;
  }

  /** Whether names wait. */
  get named(): boolean {
    return this.#names.length > 0;
  }

  /** Whether events or names wait. */
  get waits(): boolean {
    return this.count > 0 || this.named;
  }

  /** Writes a frame of the names that wait, as finish does of events. */
  finishNames(frame: Buffer, ms: number): number {
    let size = HEADER_SIZE;
    for (const name of this.#names) size += name.copy(frame, size);
    this.clearNames();
    return this.head(frame, size, 0, ms, NAMES);
  }

  /** Writes the frame, with its header, and uses its numbers up. Returns its size; there are events in it. Its time is that of the oldest. */
  finish(frame: Buffer, oldest: number = this.#oldest): number {
    const halves = this.#halves;
    let size = HEADER_SIZE;
    for (let i = 0, j = 0; i < this.count; i++, j += 4) {
      const clo = halves[j]!;
      const chi = halves[j + 1]!;
      const ulo = halves[j + 2]!;
      const uhi = halves[j + 3]!;
      const c = i > 0 && clo === halves[j - 4] && chi === halves[j - 3] ? 0 : idSize(clo, chi);
      const u = i > 0 && ulo === halves[j - 2] && uhi === halves[j - 1] ? 0 : idSize(ulo, uhi);
      const at = this.#times[i]! - oldest;
      const dwell = this.#dwell[i]!;
      const a = numberSize(at);
      const d = numberSize(dwell);
      const progress = this.#progress[i]!;
      frame[size] = (c << 4) | u;
      frame[size + 1] = this.#kind[i]! | (a << 3) | (d << 5) | (progress === 255 ? 0 : 128);
      size += 2;
      put(frame, size, clo);
      put(frame, size + 4, chi);
      size += c;
      put(frame, size, ulo);
      put(frame, size + 4, uhi);
      size += u;
      put(frame, size, at);
      size += a;
      put(frame, size, dwell);
      size += d;
      if (progress !== 255) frame[size++] = progress;
    }
    const count = this.count;
    this.count = this.#body = 0;
    return this.head(frame, size, count, oldest);
  }
}

/** Four bytes, lowest first. */
function put(frame: Buffer, at: number, n: number): void {
  frame[at] = n;
  frame[at + 1] = n >>> 8;
  frame[at + 2] = n >>> 16;
  frame[at + 3] = n >>> 24;
}

/** The bytes of an id that is written: at least one, since none means "the same as before". */
function idSize(lo: number, hi: number): number {
  return hi ? 8 - (Math.clz32(hi) >>> 3) : 4 - (Math.clz32(lo | 1) >>> 3);
}

/** The bytes of a number of which zero takes none. */
function numberSize(n: number): number {
  return 4 - (Math.clz32(n) >>> 3);
}

/** Draws a number for a numbering that begins. */
export function drawSource(): bigint {
  return randomBytes(8).readBigUInt64LE();
}
