/** The driver for lectern conform: wire/SPEC.md, section 14. The emitter lives by a clock of its own, without a timer. */

import { lookup } from "node:dns";
import { readSync, writeSync } from "node:fs";
import { Kind, type CommonOptions, type Details, type Emitter, type World } from "../src/emitter.js";
import { id } from "../src/id.js";
import { TCP } from "../src/tcp.js";
import { UDP, openSocket, type Datagrams } from "../src/udp.js";

let now = 1767225600000;
let jammed = 0;
const names = new Map<string, string>();

const world: World = {
  monotonic: () => now,
  now: () => now,
  lookup: (host, options, done) => {
    const address = names.get(host);
    if (address) done(null, [{ address, family: 4 }]);
    else if (host.endsWith(".test")) done(Object.assign(new Error("no such name"), { code: "ENOTFOUND" }), []);
    else lookup(host, { ...options, all: true }, done);
  },
  timers: false,
};

/** A socket whose datagrams the kernel does not take when that is asked for. */
async function open(host: string, port: number, w?: World): Promise<Datagrams> {
  const socket = await openSocket(host, port, w);
  const send = socket.send.bind(socket);
  socket.send = (datagram, done) => {
    if (jammed === 0) return send(datagram, done);
    jammed--;
    done(Object.assign(new Error("jammed"), { code: "EAGAIN" }));
  };
  return socket;
}

interface Driven {
  settle(): Promise<void>;
  readonly isDone: boolean;
  readonly isClosing: boolean;
  give(): void;
}

/** Lets the event loop go round often enough for what the loopback interface has, and for what comes of it. */
async function rounds(): Promise<void> {
  for (let i = 0; i < 12; i++) await new Promise((resolve) => setImmediate(resolve));
}

class DrivenUDP extends UDP implements Driven {
  async settle(): Promise<void> {
    do {
      while (this.step() <= now);
      await rounds();
      await this.renewing;
    } while (this.step() <= now);
  }
  get isDone(): boolean {
    return this.done;
  }
  get isClosing(): boolean {
    return this.closing;
  }
  give(): void {
    this.stop();
  }
}

class DrivenTCP extends TCP implements Driven {
  async settle(): Promise<void> {
    do {
      while (this.step() <= now);
      await rounds();
    } while (this.step() <= now);
  }
  get isDone(): boolean {
    return this.done;
  }
  get isClosing(): boolean {
    return this.closing;
  }
  give(): void {
    this.stop();
  }
}

let out: (Emitter & Driven) | undefined;
let until = 0;

async function dial(way: string, address: string, options: Map<string, string>): Promise<string> {
  const colon = address.lastIndexOf(":");
  const host = address.slice(0, colon);
  const port = Number(address.slice(colon + 1));
  const number = (key: string): number | undefined => (options.has(key) ? Number(options.get(key)) : undefined);
  const common: CommonOptions = { stream: number("stream"), flushAge: number("flush"), key: options.get("key"), audience: options.get("audience") };
  try {
    if (way === "udp") {
      const o = { ...common, datagramSize: number("datagram"), socketAge: number("age") };
      out = new DrivenUDP(host, port, await open(host, port, world), o, world, open);
    } else {
      out = new DrivenTCP(host, port, { ...common, frameSize: number("frame"), bufferSize: number("buffer") }, world);
    }
  } catch (error) {
    if (error instanceof RangeError) return "no invalid";
    throw error;
  }
  until = 0;
  await out.settle();
  return "ok";
}

function closed(to: Emitter & Driven): string {
  if (!to.isDone && now < until) return "ok closing";
  to.give();
  return "ok closed";
}

async function add(to: Emitter & Driven, args: string[], options: Map<string, string>): Promise<string> {
  const details: Details = {};
  if (options.has("at")) details.at = Number(options.get("at"));
  if (options.has("dwell")) details.dwell = Number(options.get("dwell"));
  if (options.has("progress")) details.progress = Number(options.get("progress"));
  const kind = (Kind as Record<string, number>)[args[0]!] ?? Number(args[0]);
  try {
    const n = BigInt(options.get("n") ?? 1);
    for (let i = 0n; i < n; i++) to.add(kind as Kind, BigInt(args[1]!), BigInt(args[2]!) + i, options.size > 0 ? details : undefined);
  } catch (error) {
    if (error instanceof RangeError || error instanceof SyntaxError) return "no invalid";
    throw error;
  }
  if (to.isClosing) return "no closed";
  await to.settle();
  return "ok";
}

async function command(word: string, args: string[]): Promise<string> {
  const options = new Map(args.filter((a) => a.includes("=")).map((a) => [a.slice(0, a.indexOf("=")), a.slice(a.indexOf("=") + 1)]));
  switch (word) {
    case "hello":
      return "ok client=typescript/1 has=udp,tcp,sealed,resolve,jam,names,attributes";
    case "resolve":
      names.set(args[0]!, args[1]!);
      return "ok";
    case "hash":
      return `ok id=${id(Buffer.from(args[0] ?? "", "hex"))}`;
    case "dial":
      return dial(args[0]!, args[1]!, options);
    case "jam":
      jammed = Number(args[0]);
      return "ok";
    case "clock":
      now += Number(args[0]);
      break;
    case "poll":
      break;
    case "add":
    case "name":
    case "describe":
    case "flush":
    case "stats":
    case "close":
    case "key":
      if (!out) return "no closed";
      break;
    default:
      return `error there is no ${word}`;
  }
  if (!out) return "ok";
  switch (word) {
    case "add":
      return add(out, args, options);
    case "flush":
      if (out.isClosing) return "no closed";
      out.flush();
      break;
    case "name":
      try {
        if (!out.name(new TextDecoder("utf-8", { fatal: true, ignoreBOM: true }).decode(Buffer.from(args[0] ?? "", "hex")))) return "no closed";
      } catch (error) {
        if (error instanceof RangeError || error instanceof TypeError) return "no invalid";
        throw error;
      }
      break;
    case "describe":
      try {
        const text = new TextDecoder("utf-8", { fatal: true, ignoreBOM: true }).decode(Buffer.from(args[2] ?? "", "hex"));
        const value = text !== "" && /^(published|words)$/.test(args[1]!) ? Number(text) : text;
        if (!out.describe(BigInt(args[0]!), { [args[1]!]: value })) return "no closed";
      } catch (error) {
        if (error instanceof RangeError || error instanceof TypeError) return "no invalid";
        throw error;
      }
      break;
    case "key":
      out.setKey(args[0]!);
      break;
    case "stats": {
      const s = out.stats();
      const keys = ["added", "sent", "acked", "buffered", "queue", "socket", "closed", "refused", "unsure"] as const;
      return "ok " + keys.map((k) => `${k}=${s[k]}`).join(" ");
    }
    case "close":
      until ||= now + Number(args[0]);
      void out.close();
      await out.settle();
      return closed(out);
  }
  await out.settle();
  return word === "clock" && out.isClosing ? closed(out) : "ok";
}

/** Reads no further than a line's end. */
function readLine(): string | undefined {
  const c = Buffer.alloc(1);
  let line = "";
  for (;;) {
    if (readSync(0, c) === 0) return undefined;
    if (c[0] === 10) return line;
    line += c.toString("latin1");
  }
}

for (let line = readLine(); line !== undefined; line = readLine()) {
  if (line.startsWith("#")) continue;
  const [word, ...args] = line.split(" ");
  let answer: string;
  try {
    answer = await command(word!, args);
  } catch (error) {
    answer = `error ${String(error)}`.replaceAll("\n", " ");
  }
  writeSync(1, answer + "\n");
}
process.exit();
