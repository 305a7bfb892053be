/** UDP, by a clock that stands still unless it is moved. */

import assert from "node:assert/strict";
import { spawnSync } from "node:child_process";
import { createSocket } from "node:dgram";
import { once } from "node:events";
import { test } from "node:test";
import { dial, id, Kind, type Id } from "../src/index.js";
import { Clock, START } from "./clock.js";
import { Book } from "./oracle.js";

const KEY = "2:" + "5a".repeat(32);

test("a life: opening beats, events after 250 ms, last beats 20 ms apart", async () => {
  const clock = new Clock();
  const out = clock.udp({ stream: 7 });
  assert.deepEqual(clock.take().map((f) => [f.sequence, f.position, f.events.length, f.stream]), [[0, 0, 0, 7], [1, 0, 0, 7], [2, 0, 0, 7]]);
  out.open(1, 2);
  out.read(1n, 2n, { dwell: 10_000, progress: 30 });
  await clock.run(out, 249);
  assert.deepEqual(clock.take(), []);
  await clock.run(out, 2);
  const [frame] = clock.take();
  assert.deepEqual(frame!.events, [
    { ms: START, kind: 0, content: 1n, user: 2n, dwell: 0, progress: undefined },
    { ms: START, kind: 1, content: 1n, user: 2n, dwell: 10_000, progress: 30 },
  ]);
  void out.close();
  await clock.run(out, 1000);
  const last = clock.take();
  assert.deepEqual(last.map((f) => [f.position, f.events.length, f.ms - last[0]!.ms]), [[2, 0, 0], [2, 0, 20], [2, 0, 40]]);
  assert.equal(out.open(1, 2), false);
  const { added, sent, closed } = out.stats();
  assert.deepEqual([added, sent, closed], [3, 2, 1]);
  assert.ok(clock.sockets[0]!.closed);
});

test("names and attributes go out once an hour behind the events, an attribute when it changes", async () => {
  const clock = new Clock();
  const out = clock.udp();
  clock.take();
  const a = id("/a");
  const said = () => {
    out.flush();
    return clock.take().flatMap((f) => f.names);
  };
  for (let i = 0; i < 3; i++) {
    out.open(a, 1);
    assert.ok(out.name("/a"));
    assert.ok(out.describe(a, { title: "L’étoile", published: 1767225600000, words: 1200 }));
  }
  out.flush();
  const sent = clock.take();
  assert.deepEqual(sent.map((f) => [f.events.length, f.position]), [[3, 0], [0, 3]]);
  assert.deepEqual(sent[1]!.names, [[0, a, "/a"], [1, a, "L’étoile"], [4, a, "1767225600000"], [5, a, "1200"]]);
  out.describe(a, { title: "B" });
  out.describe(a, { title: "L’étoile" });
  out.describe(42, { title: "L’étoile", section: "L’étoile", author: "" });
  out.describe(a, { words: "" });
  assert.deepEqual(said(), [[1, a, "B"], [1, a, "L’étoile"], [1, 42n, "L’étoile"], [2, 42n, "L’étoile"], [3, 42n, ""], [5, a, ""]]);
  await clock.run(out, 3_590_000);
  clock.take();
  out.describe(a, { title: "L’étoile", words: "" });
  assert.deepEqual(said(), []);
  await clock.run(out, 20_000);
  clock.take();
  out.name("/a");
  out.describe(a, { title: "L’étoile" });
  assert.deepEqual(said(), [[0, a, "/a"], [1, a, "L’étoile"]]);
  for (const wrong of [
    { title: "x".repeat(513) }, { section: "é".repeat(257) }, { words: -1 }, { words: 1.5 }, { published: 2 ** 48 }, { published: NaN },
    { words: 1, author: "x".repeat(513) },
  ]) assert.throws(() => out.describe(42, wrong), RangeError);
  assert.throws(() => out.describe(-1, { title: "A" }), RangeError);
  assert.deepEqual(said(), []);
  for (const title of ["x".repeat(512), "é".repeat(256)]) assert.ok(out.describe(42, { title }));
  assert.ok(out.describe(42, { published: 2 ** 48 - 1, words: 0 }));
  assert.deepEqual(said().map(([n, content, text]) => [n, content, text.length]), [[1, 42n, 512], [1, 42n, 256], [4, 42n, 15], [5, 42n, 1]]);
  void out.close();
  await clock.run(out, 1000);
  assert.equal(out.describe(a, { title: "late" }), false);
});

test("of all that is said the newest 65,536 are remembered", () => {
  const clock = new Clock();
  const out = clock.udp();
  for (let n = 0; n <= 65_536; n++) assert.ok(out.describe(n, { title: "A" }));
  out.flush();
  clock.take();
  out.describe(1, { title: "A" });
  out.describe(0, { title: "A" });
  out.flush();
  assert.deepEqual(clock.take().flatMap((f) => f.names), [[1, 0n, "A"]]);
});

test("beats of a silence come after 1, 2, 4, 8 and then every 16 s", async () => {
  const clock = new Clock();
  const out = clock.udp();
  clock.take();
  const times: number[] = [];
  for (let i = 0; i < 50_000; i += 10) {
    await clock.run(out, 10);
    times.push(...clock.take().map(() => Math.floor(clock.ms / 1000)));
  }
  assert.deepEqual(times, [1, 3, 7, 15, 31, 47]);
});

test("datagrams are full and no larger than 1,400 bytes", async () => {
  const clock = new Clock();
  const out = clock.udp();
  clock.take();
  for (let i = 0; i < 5000; i++) out.add(Kind.open, id(`c${i % 7}`), id(`u${i}`));
  const sizes = clock.sockets[0]!.taken.map((d) => d.length);
  assert.ok(sizes.length > 50 && sizes.every((n) => n > 1375 && n <= 1400), String(sizes));
  void out.close();
  await clock.run(out, 100);
  clock.take();
  assert.deepEqual(clock.book.events.map((e) => e.user), Array.from({ length: 5000 }, (_, i) => id(`u${i}`)));
  assert.equal(clock.book.lost, 0);
});

test("what the kernel does not take is lost, numbered and counted", async () => {
  const clock = new Clock();
  const out = clock.udp({ flushAge: 10 });
  clock.take();
  for (const code of ["EAGAIN", "ENOBUFS"]) {
    clock.sockets[0]!.refuse = code;
    out.open(1, 1);
    await clock.run(out, 11);
    clock.sockets[0]!.refuse = undefined;
  }
  clock.sockets[0]!.full = true; // Node would keep it for the kernel, without bound
  out.open(1, 1);
  await clock.run(out, 11);
  clock.sockets[0]!.full = false;
  out.open(2, 2);
  const end = out.close();
  await clock.run(out, 100);
  assert.equal(await end, false);
  clock.take();
  assert.deepEqual(clock.book.events.map((e) => e.content), [2n]);
  assert.equal(clock.book.lost, 3);
  const { added, sent, socket } = out.stats();
  assert.deepEqual([added, sent, socket, clock.sockets.length], [4, 1, 3, 1]);
});

test("an old socket that had events is replaced, and so is its source", async () => {
  const clock = new Clock();
  const out = clock.udp({ socketAge: 2000 });
  await clock.run(out, 10_000);
  assert.equal(clock.sockets.length, 1);
  const first = out.source;
  out.open(1, 1);
  await clock.run(out, 3000);
  out.open(2, 2);
  void out.close();
  await clock.run(out, 100);
  assert.equal(clock.sockets.length, 2);
  const frames = clock.take();
  const old = frames.filter((f) => f.source === first);
  assert.deepEqual(old.slice(-3).map((f) => f.ms - old.at(-3)!.ms), [0, 20, 40]);
  assert.deepEqual([...clock.book.sources.keys()], [first, out.source]);
  assert.deepEqual([clock.book.lost, clock.book.events.length, clock.sockets[0]!.closed], [0, 2, true]);
});

test("the answer that nobody listens replaces the socket, and the datagram that it came in place of goes out", async () => {
  const clock = new Clock();
  const out = clock.udp({ flushAge: 10 });
  out.open(1, 1);
  await clock.run(out, 1100);
  clock.take();
  clock.sockets[0]!.refuse = "ECONNREFUSED";
  out.open(2, 2);
  await clock.run(out, 100);
  clock.take();
  assert.deepEqual(clock.book.events.map((e) => e.content), [1n, 2n]);
  assert.deepEqual([clock.sockets.length, out.stats().renewals, out.stats().sent], [2, 1, 2]);
});

test("sealed frames have a tag, are no larger than others, and beat under load", async () => {
  const clock = new Clock();
  const out = clock.udp({ key: KEY, audience: "collector-1", datagramSize: 300, flushAge: 10 });
  let beats = 0;
  const nonces = new Set<string>();
  for (let i = 0; i < 4000; i++) {
    out.open(i, 2n ** 60n);
    await clock.run(out, 20);
    for (const f of clock.take()) {
      assert.ok(f.flags === (1 | (2 << 2)) && f.bytes.length <= 300);
      nonces.add(f.bytes.toString("hex", 8, 32));
      if (f.events.length === 0) beats++;
    }
  }
  assert.equal(beats, 3 + 5, "one every 16 s of 80"); // the last of them at 80 s
  assert.equal(nonces.size, 4000 + 8);
  out.setKey("3:" + "6b".repeat(32));
  out.open(1, 1);
  await clock.run(out, 20);
  assert.equal(clock.take()[0]!.flags, 1 | (3 << 2));
  assert.throws(() => new Clock().udp().setKey(KEY), /does not seal/);
});

test("what no collector takes is a RangeError, and nothing else suffers from it", async () => {
  const clock = new Clock();
  const out = clock.udp();
  const bad: (() => void)[] = [
    () => out.open(-1, 1),
    () => out.open(1.5, 1),
    () => out.open(1, 2n ** 64n),
    () => out.open(1, -1n),
    () => out.open(2 ** 53, 1),
    () => out.open("slug" as unknown as Id, 1),
    () => out.add(7 as Kind, 1, 1),
    () => out.read(1, 1, { dwell: -1 }),
    () => out.read(1, 1, { dwell: NaN }),
    () => out.read(1, 1, { progress: 101 }),
    () => out.open(1, 1, { at: 1_700_000_000 }),
    () => out.open(1, 1, { at: 2 ** 48 }),
  ];
  for (const f of bad) assert.throws(f, RangeError, String(f));
  out.read(1, 1, { dwell: 2 ** 40, progress: 100 });
  void out.close();
  await clock.run(out, 100);
  clock.take();
  assert.deepEqual(clock.book.events.map((e) => [e.dwell, e.progress]), [[2 ** 24 - 1, 100]]);
});

test("options and addresses that make no sense are refused", async () => {
  for (const o of [{ stream: 65535 }, { stream: -1 }, { datagramSize: 64 }, { datagramSize: 65508 }, { flushAge: 0 }, { socketAge: 999 }]) {
    assert.throws(() => new Clock().udp(o), RangeError, JSON.stringify(o));
  }
  for (const o of [{ key: KEY }, { audience: "a" }, { key: "4:" + "5a".repeat(32), audience: "a" }, { key: KEY, audience: "a b" }]) {
    assert.throws(() => new Clock().udp(o), RangeError, JSON.stringify(o));
  }
  for (const url of ["127.0.0.1:1", "udp://127.0.0.1", "http://127.0.0.1:1", "udp://:1", "udp://a:70000"]) {
    await assert.rejects(dial(url), RangeError, url);
  }
});

test("over a real socket, by Node's timers; close waits for the last beat", async () => {
  const socket = createSocket("udp4");
  const book = new Book();
  socket.on("message", (d) => book.take(d));
  socket.bind(0, "127.0.0.1");
  await once(socket, "listening");
  const out = await dial(`udp://127.0.0.1:${socket.address().port}`, { flushAge: 1 });
  for (let i = 0; i < 1000; i++) out.open(i, 1);
  assert.equal(await out.close(), true);
  while (book.beats < 6) await once(socket, "message");
  socket.close();
  assert.deepEqual([book.events.length, book.lost], [1000, 0]);
});

test("a program that forgets to close sends what it has at its end", async () => {
  const socket = createSocket("udp4");
  const book = new Book();
  socket.on("message", (d) => book.take(d));
  socket.bind(0, "127.0.0.1");
  await once(socket, "listening");
  const program = `import { dial } from ${JSON.stringify(new URL("../src/index.js", import.meta.url).href)};
    (await dial("udp://127.0.0.1:${socket.address().port}")).open(1, 1);`;
  const { status, stderr } = spawnSync(process.execPath, ["--input-type=module", "-e", program]);
  assert.equal(status, 0, String(stderr));
  while (book.beats < 6) await once(socket, "message");
  socket.close();
  assert.deepEqual([book.events.length, book.lost], [1, 0]);
});
