/** TCP against a collector that does everything that a collector may do, and some that it may not. */

import assert from "node:assert/strict";
import { createHmac, createCipheriv } from "node:crypto";
import { once } from "node:events";
import { createServer, type AddressInfo, type Server, type Socket } from "node:net";
import { test } from "node:test";
import { dial, type SourceEnded } from "../src/index.js";
import type { TCPOptions } from "../src/tcp.js";
import { Clock, type SteppedTCP } from "./clock.js";
import { frames, randomOf, type Frame } from "./oracle.js";

function header(type: number, flags: number, size: number, source: bigint, sequence: number, position: number): Buffer {
  const b = Buffer.alloc(size);
  b.write("LE");
  b[2] = 0x10 | type;
  b[3] = flags;
  b.writeUInt16LE(size, 4);
  b.writeBigUInt64LE(source, 16);
  b.writeBigUInt64LE(BigInt(sequence), 24);
  b.writeBigUInt64LE(BigInt(position), 32);
  return b;
}

interface Known {
  frames: Map<number, Buffer>;
  refused: Set<number>;
  durable: number;
  end: number; // position behind the newest
}

/** A collector with faults, which keeps every frame by number. */
class Fake {
  readonly server: Server = createServer((socket) => this.#serve(socket));
  readonly sources = new Map<bigint, Known>();
  readonly counted = new Map<bigint, number>();
  readonly refused = new Set<bigint>();
  readonly seen = { forgets: 0, refusals: 0, cuts: 0, finals: 0 };
  readonly problems: string[] = [];
  credit = 2000;
  spool = 7;
  mute = false;
  faults: boolean;
  socket: Socket | undefined;
  /** Seals its answers as collector of this audience, with a secret of zeros and epoch 0. */
  audience: string | undefined;
  readonly #random: (below: number) => number;

  constructor(seed?: number) {
    this.faults = seed !== undefined;
    this.#random = randomOf(seed ?? 0);
  }

  async listen(): Promise<number> {
    this.server.listen(0, "127.0.0.1");
    await once(this.server, "listening");
    return (this.server.address() as AddressInfo).port;
  }

  close(): void {
    this.server.close();
    this.socket?.destroy();
  }

  odds(n: number): boolean {
    return this.faults && this.#random(n) === 0;
  }

  #serve(socket: Socket): void {
    this.socket?.destroy();
    this.socket = socket;
    let data: Buffer = Buffer.alloc(0);
    const state = { source: 0n, newest: -1, given: 0, inFlight: 0, known: undefined as Known | undefined, down: undefined as Buffer | undefined, up: Buffer.alloc(0), collector: Buffer.alloc(16, 9) };
    const send = (b: Buffer): void => {
      if (!this.mute && !socket.destroyed) socket.write(b);
    };
    const ack = (durable: number, credit: number, final = false): void => {
      const body = Buffer.alloc(16);
      body.writeBigUInt64LE(BigInt(durable), 0);
      body.writeBigUInt64LE(BigInt(credit), 8);
      const { down } = state;
      say(3, final ? 2 : 0, state.source, 0, this.spool, down ? Buffer.concat([body, state.collector]) : body);
    };
    const say = (type: number, flags: number, source: bigint, sequence: number, position: number, body: Buffer): void => {
      const { down } = state;
      const size = 40 + body.length + (down ? 16 : 0);
      const head = header(type, flags | (down ? 1 : 0), size, source, sequence, position).subarray(0, 40);
      const untagged = Buffer.concat([head, body]);
      const tag = down ? createHmac("sha256", down).update(untagged).digest().subarray(0, 16) : Buffer.alloc(0);
      send(Buffer.concat([untagged, tag]));
    };
    const refuse = (f: Frame, word: string): void => {
      this.seen.refusals++;
      const body = Buffer.from(`${String.fromCharCode(word.length)}${word}the fake says so`);
      say(4, 0, f.source, f.sequence, 0, body);
      socket.end();
    };
    const hello = (f: Frame): void => {
      state.source = f.source;
      if (this.odds(15)) {
        this.seen.forgets++;
        this.sources.clear();
      }
      if (this.audience) {
        assert.ok(f.flags & 1, "a hello without a tag");
        const secret = Buffer.alloc(32);
        const key = (use: number, ...parts: Buffer[]): Buffer =>
          createHmac("sha256", secret).update(Buffer.concat([Buffer.from([use, 0, 0, 0]), ...parts, Buffer.from(this.audience!)])).digest();
        const untagged = f.bytes.subarray(0, 56);
        assert.deepEqual(f.bytes.subarray(56), createHmac("sha256", key(2)).update(untagged).digest().subarray(0, 16));
        const [source, emitter] = [f.bytes.subarray(16, 24), f.bytes.subarray(40, 56)];
        state.down = key(4, source, emitter, state.collector);
        state.up = Buffer.from(key(3, source, emitter, state.collector).subarray(0, 16));
      }
      state.known = this.sources.get(f.source);
      state.given = this.credit;
      ack(state.known?.durable ?? 0, this.credit);
    };
    const take = (f: Frame): void => {
      if (!state.source) return hello(f);
      assert.ok(f.type === 1 && f.source === state.source, "a frame of another source");
      assert.ok(f.sequence > state.newest, "sequences that go back on a connection");
      state.newest = f.sequence;
      state.inFlight += f.bytes.length;
      assert.ok(state.inFlight <= Math.max(state.given, f.bytes.length), "beyond the credit");
      let bytes = f.bytes;
      if (state.down) {
        assert.ok(f.flags & 1, "a frame without a tag");
        bytes = f.bytes.subarray(0, -16);
        const cipher = createCipheriv("aes-128-gcm", state.up, f.bytes.subarray(8, 32));
        cipher.setAAD(bytes).final();
        assert.deepEqual(cipher.getAuthTag(), f.bytes.subarray(-16), "a wrong tag");
      }
      if (!state.known) {
        if (f.sequence > 0) return refuse(f, "forgotten");
        state.known = { frames: new Map(), refused: new Set(), durable: 0, end: 0 };
        this.sources.set(f.source, state.known);
      }
      const { known } = state;
      const before = known.frames.get(f.sequence);
      if (before) {
        assert.deepEqual(bytes, before, "a numbered frame that has changed");
      } else {
        assert.ok(!known.refused.has(f.sequence), "a refused frame comes again");
        assert.ok(f.position >= known.end, "a position that goes back");
        known.end = f.position + f.events.length;
        if (this.odds(40)) {
          for (const e of f.events) this.refused.add(e.user);
          known.refused.add(f.sequence);
          return refuse(f, "kind");
        }
        known.frames.set(f.sequence, Buffer.from(bytes));
        for (const e of f.events) this.counted.set(e.user, (this.counted.get(e.user) ?? 0) + 1);
      }
      if (this.faults && !this.odds(3)) return;
      known.durable = state.newest + 1;
      state.inFlight = 0;
      if (this.faults) this.credit = [500, 2000, 5000][this.#random(3)]!;
      state.given = Math.max(state.given, this.credit);
      if (this.odds(20)) {
        this.seen.finals++;
        ack(known.durable, 0, true);
        socket.end();
        return;
      }
      ack(known.durable, this.credit);
    };
    socket.on("error", () => {});
    socket.on("data", (more) => {
      data = Buffer.concat([data, more]);
      while (data.length >= 40 && data.length >= data.readUInt16LE(4) && !socket.destroyed && !socket.writableEnded) {
        const size = data.readUInt16LE(4);
        try {
          take(frames(data.subarray(0, size))[0]!);
        } catch (error) {
          this.problems.push(String(error));
          socket.destroy();
        }
        data = data.subarray(size);
        if (!socket.writableEnded && this.odds(25)) {
          this.seen.cuts++;
          socket.destroy();
        }
      }
    });
  }
}

interface Setting {
  clock: Clock;
  fake: Fake;
  out: SteppedTCP;
}

async function start(t: { after(f: () => void): void }, o: TCPOptions = {}, seed?: number): Promise<Setting> {
  const clock = new Clock();
  const fake = new Fake(seed);
  const out = clock.tcp(await fake.listen(), o);
  t.after(() => fake.close());
  return { clock, fake, out };
}

/** Lets time pass in small steps, in which what lies in the sockets is taken. */
async function pass({ clock, out }: Setting, ms: number): Promise<void> {
  const end = clock.ms + ms;
  while (clock.ms < end && !out.isDone) {
    await clock.run(out, 10);
  }
}

async function finish(s: Setting, ms = 60_000): Promise<boolean> {
  const end = s.out.close();
  await pass(s, ms);
  assert.ok(s.out.isDone, `${s.out.error}, ${JSON.stringify(s.out.stats())}, ${s.fake.problems}`);
  return end;
}

test("events are kept until they are acknowledged", async (t) => {
  const s = await start(t, { flushAge: 10 });
  for (let i = 0; i < 1000; i++) assert.ok(s.out.open(5, i));
  assert.equal(await finish(s), true);
  assert.equal(s.fake.counted.size, 1000);
  const { added, acked, buffered } = s.out.stats();
  assert.deepEqual([added, acked, buffered, s.fake.problems], [1000, 1000, 0, []]);
});

test("whatever the collector does, each event is counted at most once, and what is in doubt is said", async (t) => {
  const seen = { forgets: 0, refusals: 0, cuts: 0, finals: 0 };
  for (let seed = 1; seed <= 12; seed++) {
    const ended: SourceEnded[] = [];
    const sealed = seed % 3 === 0;
    const s = await start(t, { flushAge: 10, frameSize: 300, onSourceEnded: (e) => ended.push(e), ...(sealed ? { key: "0:" + "00".repeat(32), audience: "here" } : {}) }, seed);
    if (sealed) s.fake.audience = "here";
    let n = 0;
    for (let round = 0; round < 40; round++) {
      for (let i = 0; i < (seed * 7) % 30; i++) s.out.open(1, n++);
      await pass(s, 50);
    }
    s.fake.faults = false;
    await finish(s, 300_000);
    const where = `seed ${seed}: ${JSON.stringify(s.out.stats())}`;
    const { added, acked, refused, unsure } = s.out.stats();
    assert.deepEqual(s.fake.problems, [], where);
    assert.equal(added, n, where);
    assert.equal(added, acked + refused + unsure, where);
    assert.equal(unsure, ended.reduce((sum, e) => sum + e.unsure, 0), where);
    assert.deepEqual([...s.fake.counted].filter(([, times]) => times > 1), [], where);
    let missing = 0;
    for (let user = 0n; user < BigInt(n); user++) if (!s.fake.counted.has(user) && !s.fake.refused.has(user)) missing++;
    assert.ok(missing <= unsure, where);
    for (const key of Object.keys(seen) as (keyof typeof seen)[]) seen[key] += s.fake.seen[key];
    s.fake.close();
  }
  assert.ok(Object.values(seen).every((n) => n > 0), JSON.stringify(seen));
});

test("without acks the memory stays bounded, and what is dropped shows as lost", async (t) => {
  const s = await start(t, { flushAge: 10, frameSize: 300, bufferSize: 3000 });
  await pass(s, 100);
  s.fake.mute = true;
  for (let i = 0; i < 2000; i++) s.out.open(1, i);
  const { queue, buffered, added } = s.out.stats();
  assert.ok(queue > 1000 && buffered < 1000 && added === 2000, JSON.stringify(s.out.stats()));
  await pass(s, 100);
  s.fake.mute = false;
  await pass(s, 45_000); // the silent connection is given up, and the next one answers
  await finish(s);
  assert.equal(s.out.stats().acked, s.fake.counted.size);
  assert.equal(s.fake.sources.get(s.out.source)!.end, 2000);
});

test("what was sent to one collector is not sent to another", async (t) => {
  const s = await start(t, { flushAge: 10 });
  await pass(s, 100);
  s.fake.mute = true;
  s.out.open(1, 1);
  await pass(s, 100);
  const first = s.out.source;
  assert.equal(s.fake.counted.get(1n), 1);
  s.fake.socket!.destroy();
  s.out.open(2, 2);
  s.fake.mute = false;
  s.fake.spool = 8;
  await pass(s, 5000);
  await finish(s);
  assert.deepEqual([...s.fake.counted], [[1n, 1], [2n, 1]]);
  assert.notEqual(s.out.source, first);
  assert.deepEqual([s.out.stats().unsure, s.out.stats().acked], [1, 1]);
});

test("an idle session beats", async (t) => {
  const s = await start(t);
  await pass(s, 20_000);
  const kept = [...s.fake.sources.get(s.out.source)!.frames.values()].map((b) => frames(b)[0]!);
  assert.deepEqual(kept.map((f) => Math.round((f.ms - kept[0]!.ms) / 1000)), [0, 2, 6, 14]);
  await finish(s);
});

test("an answer without a seal is not believed where hellos are sealed", async (t) => {
  const s = await start(t, { flushAge: 10, key: "0:" + "00".repeat(32), audience: "here" });
  s.fake.audience = "there"; // another collector's
  s.out.open(1, 1);
  await pass(s, 1000);
  assert.equal(s.fake.counted.size, 0);
  s.fake.problems.length = 0; // it did not know the hello either
  s.fake.audience = undefined;
  await pass(s, 5000); // longer than it may wait before it tries again
  assert.match(String(s.out.error), /not sealed as it should be/);
  assert.equal(s.fake.counted.size, 0);
  s.fake.audience = "here";
  await finish(s);
  assert.deepEqual([s.fake.counted.size, s.fake.problems], [1, []]);
});

test("another key begins another connection", async (t) => {
  const s = await start(t, { flushAge: 10, key: "0:" + "00".repeat(32), audience: "here" });
  s.fake.audience = "here";
  s.out.open(1, 1);
  await pass(s, 100);
  const { socket } = s.fake;
  s.out.setKey("0:" + "00".repeat(32)); // the same
  await pass(s, 100);
  assert.equal(s.fake.socket, socket);
  s.out.setKey("1:" + "00".repeat(32)); // one that the fake does not have
  await pass(s, 1000);
  assert.notEqual(s.fake.socket, socket);
  s.fake.problems.length = 0;
  s.out.setKey("0:" + "00".repeat(32));
  s.out.open(1, 2);
  await finish(s);
  assert.deepEqual([s.fake.counted.size, s.fake.problems], [2, []]);
});

test("close gives up when its time is up, and says so; and by Node's timers a collector is found when it is there", async (t) => {
  const fake = new Fake();
  const port = await fake.listen();
  fake.close();
  const away = await dial(`tcp://127.0.0.1:${port}`);
  away.open(1, 1);
  assert.equal(await away.close(20), false);
  assert.deepEqual([away.stats().closed, away.stats().added], [1, 1]);

  const later = new Fake();
  t.after(() => later.close());
  const out = await dial(`tcp://127.0.0.1:${await later.listen()}`, { flushAge: 1 });
  for (let i = 0; i < 10_000; i++) out.open(1, i);
  assert.equal(await out.close(), true);
  assert.deepEqual([later.counted.size, later.problems], [10_000, []]);
});
