/** Reads what an emitter wrote, by wire/SPEC.md and without the client's own code. */

import assert from "node:assert/strict";

export interface Event {
  ms: number;
  kind: number;
  content: bigint;
  user: bigint;
  dwell: number;
  progress: number | undefined;
}

export interface Frame {
  type: number;
  flags: number;
  stream: number;
  ms: number;
  source: bigint;
  sequence: number;
  position: number;
  events: Event[];
  /** Attribute, content and text. */
  names: [number, bigint, string][];
  bytes: Buffer;
}

/** Reads whole frames to the end of data. */
export function frames(data: Buffer): Frame[] {
  const out: Frame[] = [];
  for (let at = 0; at < data.length; ) {
    assert.equal(data.toString("latin1", at, at + 2), "LE");
    assert.equal(data[at + 2]! >> 4, 1);
    const size = number(data, at + 4, 2);
    const bytes = data.subarray(at, at + size);
    assert.ok(size >= 40 && bytes.length === size, `size ${size}`);
    const flags = bytes[3]!;
    const ms = number(bytes, 10, 6);
    const body = bytes.subarray(40, size - (flags & 1 ? 16 : 0));
    out.push({
      type: bytes[2]! & 15,
      flags,
      stream: number(bytes, 8, 2),
      ms,
      source: big(bytes, 16, 8),
      sequence: number(bytes, 24, 8),
      position: number(bytes, 32, 8),
      events: (bytes[2]! & 15) === 1 ? events(body, number(bytes, 6, 2), ms) : [],
      names: (bytes[2]! & 15) === 5 ? names(body) : [],
      bytes,
    });
    at += size;
  }
  return out;
}

function big(data: Buffer, at: number, n: number): bigint {
  let value = 0n;
  for (let i = n - 1; i >= 0; i--) value = value * 256n + BigInt(data[at + i]!);
  return value;
}

const number = (data: Buffer, at: number, n: number): number => Number(big(data, at, n));

function names(body: Buffer): [number, bigint, string][] {
  const out: [number, bigint, string][] = [];
  for (let at = 0, end = 0; at < body.length; at = end) {
    end = at + 11 + number(body, at + 1, 2);
    assert.ok(end <= body.length, "a name beyond its frame");
    out.push([body[at]!, big(body, at + 3, 8), body.toString("utf8", at + 11, end)]);
  }
  return out;
}

function events(body: Buffer, count: number, base: number): Event[] {
  const out: Event[] = [];
  let at = 0;
  const take = (n: number): bigint => {
    assert.ok(at + n <= body.length, "an event beyond its frame");
    at += n;
    return big(body, at - n, n);
  };
  for (let i = 0; i < count; i++) {
    const lengths = Number(take(1));
    const shape = Number(take(1));
    const c = lengths >> 4;
    const u = lengths & 15;
    assert.ok(c <= 8 && u <= 8 && ((shape & 7) <= 4 || ((shape & 7) <= 6 && shape >> 5 <= 1)));
    const content = c > 0 ? take(c) : out.at(-1)!.content;
    const user = u > 0 ? take(u) : out.at(-1)!.user;
    const ms = base + Number(take((shape >> 3) & 3));
    const dwell = Number(take((shape >> 5) & 3));
    const progress = shape & 128 ? Number(take(1)) : undefined;
    out.push({ ms, kind: shape & 7, content, user, dwell, progress });
  }
  assert.equal(at, body.length, "bytes are left");
  if (count > 0) assert.equal(Math.min(...out.map((e) => e.ms)), base, "the frame's time is not that of its oldest event");
  return out;
}

/** What a collector makes of the frames of a source, in the order of their coming. */
export class Book {
  readonly sources = new Map<bigint, [sequence: number, position: number]>();
  readonly events: Event[] = [];
  lost = 0;
  beats = 0;

  take(datagram: Buffer): Frame[] {
    const got = frames(datagram);
    for (const f of got) {
      assert.ok(f.type === 1 || f.type === 5);
      const known = this.sources.get(f.source);
      if (!known) assert.deepEqual([f.sequence, f.position], [0, 0], "a source that does not begin at its beginning");
      const [sequence, position] = known ?? [0, 0];
      assert.ok(f.sequence >= sequence && f.position >= position, "numbers that go back");
      if (f.sequence === sequence) assert.equal(f.position, position, "a position that leaps without a sequence");
      this.lost += f.position - position;
      this.sources.set(f.source, [f.sequence + 1, f.position + f.events.length]);
      this.events.push(...f.events);
      if (f.events.length === 0 && f.names.length === 0) this.beats++;
    }
    return got;
  }
}

/** Numbers that are the same for the same seed. */
export function randomOf(seed: number): (below: number) => number {
  let state = seed * 2 + 1;
  return (below) => {
    state = (Math.imul(state, 1664525) + 1013904223) >>> 0;
    let x = state;
    x = Math.imul(x ^ (x >>> 16), 0x45d9f3b);
    x = Math.imul(x ^ (x >>> 16), 0x45d9f3b);
    return ((x ^ (x >>> 16)) >>> 0) % below;
  };
}
