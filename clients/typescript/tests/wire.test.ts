/** Vectors, ids, and the packer against a plain list. */

import assert from "node:assert/strict";
import { readFileSync, readdirSync } from "node:fs";
import { test } from "node:test";
import { id } from "../src/id.js";
import { Packer, SLACK } from "../src/packer.js";
import { EventsKey, Secret, Session } from "../src/seal.js";
import { ACK, AT_MAX, FRAME_MAX, HELLO, SIZE_MIN, TAG_SIZE, ForeignError, putHeader, split } from "../src/wire.js";
import { Book, frames, randomOf, type Event } from "./oracle.js";

const directory = new URL("../../../../wire/testdata/vectors/", import.meta.url);
const kinds = ["open", "read", "finish", "save", "share", "impression", "click"];
const instant = 1_700_000_000_000;

interface Vector {
  name: string;
  lines: [key: string, value: string][];
  keys: Map<string, string>;
  data: Buffer;
}

const vectors: Vector[] = readdirSync(directory)
  .filter((file) => file.endsWith(".txt"))
  .map((file) => {
    const [head = "", ...hex] = readFileSync(new URL(file, directory), "utf8").split("\n\n");
    const lines = head.split("\n").map((line): [string, string] => {
      const colon = line.indexOf(": ");
      return [line.slice(0, colon), line.slice(colon + 2)];
    });
    return { name: file.slice(0, -4), lines, keys: new Map(lines), data: Buffer.from(hex.join("").replaceAll(/\s/g, ""), "hex") };
  });

const attributes = ["name", "title", "section", "author", "published", "words"];

const words = (text: string): Record<string, string> => Object.fromEntries(text.split(" ").map((w) => w.split(/=(.*)/s, 2)));

test("every frame of an emitter's vectors is encoded to its bytes, sealed ones with their tags", () => {
  let plain = 0;
  let sealed = 0;
  for (const { name, lines, keys, data } of vectors) {
    if (keys.get("expect") !== "ok" || keys.has("minimal") || keys.has("ack") || keys.has("refusal")) continue;
    const parts: Buffer[] = [];
    for (let i = 0; i < lines.length; i++) {
      if (lines[i]![0] !== "frame") continue;
      const head = words(lines[i]![1]);
      const next = lines.findIndex(([key], j) => j > i && key === "frame");
      const own = lines.slice(i + 1, next < 0 ? undefined : next);
      const tag = own.find(([key]) => key === "seal");
      const seal = tag && words(tag[1]);
      const events = own.filter(([key]) => key === "event").map(([, value]) => words(value));
      const [ms, stream, source] = [Number(head["time"]), Number(head["stream"]), BigInt(head["source"]!)];
      const secret = seal && new Secret(`${seal["epoch"]}:${seal["secret"]}`, stream, seal["audience"]!);
      if (head["type"] === "hello") {
        if (secret) {
          parts.push(new Session(secret, source, Buffer.from(words(keys.get("hello")!)["random"]!, "hex")).hello(ms));
          sealed++;
        } else {
          const hello = Buffer.alloc(40);
          putHeader(hello, HELLO, 0, 40, 0, stream, ms, source, 0, 0);
          parts.push(hello);
        }
        continue;
      }
      const packer = new Packer(stream, FRAME_MAX, false);
      [packer.source, packer.sequence, packer.position] = [source, Number(head["sequence"]), Number(head["position"])];
      if (seal) {
        packer.key = seal["emitter"]
          ? new EventsKey(secret!.epoch, secret!.derive(3, le(source), Buffer.from(seal["emitter"], "hex"), Buffer.from(seal["collector"]!, "hex")))
          : secret!.frameKey();
        sealed++;
      }
      for (const e of events) {
        const progress = e["progress"] === "-" ? 255 : Number(e["progress"]);
        assert.ok(packer.add(kinds.indexOf(e["kind"]!), BigInt(e["content"]!), BigInt(e["user"]!), Number(e["dwell"]), progress, ms + Number(e["at"])), name);
      }
      for (const [key, value] of own) {
        if (key !== "name") continue;
        const [, content, attribute, text] = /^content=(\d+) attribute=(\w+) text=(.*)$/s.exec(value)!;
        assert.ok(packer.addName(BigInt(content!), Buffer.from(text!), attributes.indexOf(attribute!)), name);
      }
      const frame = Buffer.alloc(FRAME_MAX + SLACK + TAG_SIZE);
      const size = packer.named ? packer.finishNames(frame, ms) : events.length > 0 ? packer.finish(frame, ms) : packer.beat(frame, ms);
      parts.push(frame.subarray(0, size));
    }
    assert.equal(Buffer.concat(parts).toString("hex"), data.toString("hex"), name);
    plain++;
  }
  assert.ok(plain > 55 && sealed > 10, `${plain} files, ${sealed} sealed frames`);
});

function le(source: bigint): Buffer {
  const b = Buffer.alloc(8);
  b.writeBigUInt64LE(source);
  return b;
}

test("acks and refusals are read, and no part of one is", () => {
  let done = 0;
  for (const { name, keys, data } of vectors) {
    if (!name.startsWith("control-") || keys.get("frame")!.startsWith("type=hello")) continue;
    const [[frame], rest] = split(data);
    assert.ok(frame && rest.length === 0, name);
    const head = words(keys.get("frame")!);
    assert.equal(frame.source, BigInt(head["source"]!));
    if (keys.has("ack")) {
      const want = words(keys.get("ack")!);
      const ack = frame.ack();
      assert.equal(ack.durable, Number(want["durable"]), name);
      assert.equal(ack.credit, Number(want["credit"]), name);
      assert.equal(ack.spool, Number(head["position"]), name);
      assert.equal(ack.final, (Number(head["flags"]) & 2) !== 0, name);
      assert.equal(ack.random.toString("hex"), want["random"] ?? "", name);
    } else {
      const [word, text = ""] = keys.get("refusal")!.slice("word=".length).split(/ text=(.*)/s);
      const refusal = frame.refusal();
      assert.deepEqual([refusal.word, refusal.text, refusal.sequence], [word, text, Number(head["sequence"])], name);
    }
    for (let end = 0; end < data.length; end++) assert.deepEqual(split(data.subarray(0, end))[0], [], name);
    done++;
  }
  assert.ok(done > 20, String(done));
});

test("a sealed answer is believed with its own tag alone", () => {
  let done = 0;
  for (const { name, keys, data } of vectors) {
    if (!name.startsWith("control-sealed-ack")) continue;
    const seal = words(keys.get("seal")!);
    const head = words(keys.get("frame")!);
    const secret = new Secret(`${seal["epoch"]}:${seal["secret"]}`, Number(head["stream"]), seal["audience"]!);
    const session = (): Session => new Session(secret, BigInt(head["source"]!), Buffer.from(seal["emitter"]!, "hex"));
    session().check(split(data)[0][0]!);
    for (let bit = 0; bit < 8 * data.length; bit++) {
      const bad = Buffer.from(data);
      bad[bit >> 3]! ^= 1 << (bit & 7);
      assert.throws(() => {
        const [got] = split(bad);
        if (!got[0]) throw new ForeignError(); // the rest is waited for
        session().check(got[0]);
      }, name);
    }
    done++;
  }
  assert.ok(done >= 2);
});

test("a bad answer is noticed", () => {
  let done = 0;
  for (const { name, data } of vectors) {
    if (!name.startsWith("refused-body-") || name.includes("hello")) continue;
    assert.throws(
      () => {
        for (const frame of split(data)[0]) frame.type === ACK ? frame.ack() : frame.refusal();
      },
      ForeignError,
      name,
    );
    done++;
  }
  assert.ok(done > 8, String(done));
});

test("ids are those of XXH64", () => {
  // From its authors' tests and from ClickHouse's xxHash64.
  assert.equal(id(""), 0xef46db3751d8e999n);
  assert.equal(id("a"), 0xd24ec4f1a98c6e5bn);
  assert.equal(id("abc"), 0x44bc2cf5ad770999n);
  assert.equal(id(Buffer.from("abc")), id("abc"));
  assert.equal(id("Call me Ishmael. Some years ago--never mind how long precisely-"), 0x02a2e85470d6fd96n);
});

/** XXH64 as its description has it, with BigInt. */
function plainHash(data: Buffer): bigint {
  const [p1, p2, p3, p4, p5]: [bigint, bigint, bigint, bigint, bigint] = [0x9e3779b185ebca87n, 0xc2b2ae3d27d4eb4fn, 0x165667b19e3779f9n, 0x85ebca77c2b2ae63n, 0x27d4eb2f165667c5n];
  const u = (x: bigint): bigint => BigInt.asUintN(64, x);
  const rotl = (x: bigint, n: bigint): bigint => u(x << n) | (u(x) >> (64n - n));
  const round = (a: bigint, w: bigint): bigint => u(rotl(u(a + w * p2), 31n) * p1);
  let at = 0;
  let h: bigint = p5;
  if (data.length >= 32) {
    const v = [u(p1 + p2), p2, 0n, u(-p1)];
    for (; data.length - at >= 32; at += 32) for (let i = 0; i < 4; i++) v[i] = round(v[i]!, data.readBigUInt64LE(at + 8 * i));
    h = u(rotl(v[0]!, 1n) + rotl(v[1]!, 7n) + rotl(v[2]!, 12n) + rotl(v[3]!, 18n));
    for (const x of v) h = u((h ^ round(0n, x)) * p1 + p4);
  }
  h = u(h + BigInt(data.length));
  for (; data.length - at >= 8; at += 8) h = u(rotl(h ^ round(0n, data.readBigUInt64LE(at)), 27n) * p1 + p4);
  if (data.length - at >= 4) {
    h = u(rotl(h ^ u(BigInt(data.readUInt32LE(at)) * p1), 23n) * p2 + p3);
    at += 4;
  }
  for (; at < data.length; at++) h = u(rotl(h ^ u(BigInt(data[at]!) * p5), 11n) * p1);
  h = u((h ^ (h >> 33n)) * p2);
  h = u((h ^ (h >> 29n)) * p3);
  return h ^ (h >> 32n);
}

test("ids of texts of every length are those of a plain XXH64", () => {
  const random = randomOf(5);
  for (let n = 0; n < 400; n++) {
    const data = Buffer.from(Array.from({ length: n }, () => random(256)));
    assert.equal(id(data), plainHash(data), `${n} bytes`);
  }
});

test("what is packed comes out again, numbered, whatever the order of times", () => {
  for (let seed = 0; seed < 60; seed++) {
    const random = randomOf(seed);
    const size = [SIZE_MIN, 100, 1400, 32768, FRAME_MAX][random(5)]!;
    const packer = new Packer(seed, size, false);
    const frame = Buffer.alloc(FRAME_MAX + SLACK);
    const sent: Buffer[] = [];
    const want: Event[] = [];
    const ids = [0n, 1n, 255n, 256n, 2n ** 32n - 1n, 2n ** 32n, 2n ** 40n, 2n ** 56n - 1n, 2n ** 56n, 2n ** 64n - 1n];
    let now = instant;
    let skipped = 0;
    const finish = (): void => {
      if (packer.count === 0) return;
      const n = packer.finish(frame);
      assert.ok(n <= size);
      sent.push(Buffer.from(frame.subarray(0, n)));
    };
    for (let i = 0; i < 1500; i++) {
      now += random(50);
      const jump = [0, 0, 0, 1, 200, 300, 70_000, AT_MAX, AT_MAX + 1, 2 ** 31][random(10)]!;
      const ms = now + random(2 * jump + 1) - jump;
      const pick = (): bigint => (random(2) ? ids[random(ids.length)]! : (BigInt(random(2 ** 32)) << 32n) | BigInt(random(2 ** 32)));
      const [content, user] = [pick(), pick()];
      const dwell = random(2 ** 24) >> random(25);
      const progress = random(2) ? random(101) : undefined;
      const kind = random(5);
      // Numbers and bigints are the same ids.
      const given = (x: bigint): number | bigint => (x < 2n ** 53n && random(2) ? Number(x) : x);
      const add = (): boolean => packer.add(kind, given(content), given(user), dwell, progress ?? 255, ms);
      if (!add()) {
        finish();
        assert.ok(add());
      }
      want.push({ ms, kind, content, user, dwell, progress });
      if (random(200) === 0) finish();
      if (random(200) === 0) sent.push(Buffer.from(frame.subarray(0, packer.beat(frame, now))));
      if (random(200) === 0 && packer.sequence > 0) {
        packer.skip(3);
        skipped += 3;
      }
    }
    finish();
    sent.push(Buffer.from(frame.subarray(0, packer.beat(frame, now))));
    const book = new Book();
    for (const b of sent) for (const f of book.take(b)) assert.deepEqual([f.source, f.stream], [packer.source, seed]);
    assert.deepEqual(book.events, want, `seed ${seed}, size ${size}`);
    assert.equal(book.lost, skipped, `seed ${seed}`);
  }
});

test("the oracle reads every vector of events that is taken", () => {
  for (const { name, lines, keys, data } of vectors) {
    if (keys.get("expect") !== "ok" || !/^(event|frame)-/.test(name)) continue;
    const want = lines.filter(([key]) => key === "event").map(([, value]) => BigInt(words(value)["content"]!));
    try {
      assert.deepEqual(frames(data).flatMap((f) => f.events.map((e) => e.content)), want, name);
    } catch (error) {
      assert.match(String(error), /oldest/, name); // one that begins late is good, too
    }
  }
});
