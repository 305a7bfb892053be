/** What UDP and TCP have in common: adding, the timer that does what is due, the end. */

import { lookup as resolve, type LookupAddress, type LookupAllOptions } from "node:dns";
import { Packer } from "./packer.js";
import { Secret } from "./seal.js";
import { id } from "./id.js";
import { ATTRIBUTES, DWELL_MAX, NAME_MAX, STREAM_MAX, TIME_MAX } from "./wire.js";

export const BEAT_MIN = 1000;
export const BEAT_MAX = 16000;
/** How long Node waits for a collector at the process's end. */
const EXIT_TIMEOUT = 5000;
/** What is below is seconds and not milliseconds: as milliseconds it is before March 1973. */
const SECONDS_MAX = 100_000_000_000;

/** Names and attributes that are remembered to have been said. */
const SAID_MAX = 65536;

/** What a reader did. */
export const Kind = { open: 0, read: 1, finish: 2, save: 3, share: 4, impression: 5, click: 6 } as const;
export type Kind = (typeof Kind)[keyof typeof Kind];

/** A number of 64 bits: a number up to 2^53 - 1, a bigint, or id(text). */
export type Id = number | bigint;

/** What may be said of an event besides what, who and which. */
export interface Details {
  /** Milliseconds that the reader has read since their event before on this content. More than 4 h 39 min counts as that. */
  dwell?: number | undefined;
  /** How far they got, 0 to 100 percent. Left out, it is not known. */
  progress?: number | undefined;
  /** When, in Unix milliseconds (Date.now()). Left out, it is now. */
  at?: number | undefined;
}

/** What describe says of a content. What is left out stays as it is; "" takes back what was said. */
export interface About {
  title?: string | undefined;
  section?: string | undefined;
  author?: string | undefined;
  /** When, in Unix milliseconds. */
  published?: number | "" | undefined;
  /** How many it has. */
  words?: number | "" | undefined;
}

/** Options of both ways. */
export interface CommonOptions {
  /** Number of the application or site that the events belong to, 0 to 65534. Default 0. */
  stream?: number | undefined;
  /** How many milliseconds an event waits at most for others. Default 250. */
  flushAge?: number | undefined;
  /** Seals what is sent: a line as "lectern keys new" makes it, EPOCH:SECRET. */
  key?: string | undefined;
  /** With a key: the name that the collector has in listen.audience. */
  audience?: string | undefined;
}

/**
 * What became of the events so far. At every instant
 *
 *     added = sent + acked + buffered + queue + socket + closed + refused + unsure
 */
export interface Stats {
  /** That add was given and found good. */
  added: number;
  /** Over UDP: in datagrams that the kernel took. */
  sent: number;
  /** Over TCP: that the collector has made durable. */
  acked: number;
  /** Kept here, sent or not. */
  buffered: number;
  /** Dropped since there was no room for them here. They show as lost in the collector's books. */
  queue: number;
  /** Over UDP: dropped since the kernel did not take their datagram. They show as lost. */
  socket: number;
  /** That came after close, or that close gave up. */
  closed: number;
  /** In frames that the collector refused. */
  refused: number;
  /** Over TCP: sent under a source that ended before they were acknowledged. */
  unsure: number;
  /** Numbered, beats included. */
  frames: number;
  /** Of frames that went out. */
  bytes: number;
  /** Over UDP, of those sent: the host answered that nobody listens there. */
  unreachable: number;
  /** Sources after the first. */
  renewals: number;
  /** Over TCP: connections after the first. */
  reconnects: number;
}

/** How an emitter is bound to its world. Tests have another one. */
export interface World {
  /** Milliseconds of a clock that no one sets. */
  monotonic(): number;
  /** Unix milliseconds. */
  now(): number;
  /** Resolves a name. */
  lookup(host: string, options: LookupAllOptions, done: (error: NodeJS.ErrnoException | null, addresses: LookupAddress[]) => void): void;
  /** Whether steps are made by a timer. */
  timers: boolean;
}

export const world: World = { monotonic: () => performance.now(), now: Date.now, lookup: resolve, timers: true };

const open = new Set<Emitter>();
let watching = false;

/** Sends read events to a collector. Made by dial. None of its methods waits but close. */
export abstract class Emitter {
  protected readonly host: string;
  protected readonly port: number;
  protected readonly packer: Packer;
  protected readonly flushAge: number;
  protected secret: Secret | undefined;
  protected readonly world: World;
  protected readonly tally: Stats = {
    added: 0, sent: 0, acked: 0, buffered: 0, queue: 0, socket: 0, closed: 0, refused: 0, unsure: 0,
    frames: 0, bytes: 0, unreachable: 0, renewals: 0, reconnects: 0,
  };
  protected closing = false;
  protected done = false;
  protected beatWait = BEAT_MIN;
  /** For how many milliseconds a name is not said again. */
  protected saidFor = 86_400_000;
  /** The collector does not know names. */
  protected nameless = false;
  /** What was said last, and when, oldest first: of a name by its text, of an attribute by content and number. */
  readonly #said = new Map<string | bigint, { text: string; at: number }>();
  #drops = 0; // events that are to be numbered, for that they show as lost
  #began = 0; // of the unfinished frame
  #timer: NodeJS.Timeout | undefined;
  #due = Infinity; // when it fires
  #end: Promise<boolean> | undefined;
  #ended: (() => void) | undefined;
  /** The last trouble; over TCP why there is no connection, undefined with one. */
  error: Error | undefined;

  constructor(host: string, port: number, size: number, o: CommonOptions, w: World) {
    const { stream = 0, flushAge = 250, key, audience } = o;
    if (!Number.isInteger(stream) || stream < 0 || stream > STREAM_MAX) throw new RangeError(`stream ${stream} is outside of 0 to ${STREAM_MAX}`);
    if (!(flushAge > 0)) throw new RangeError(`flushAge ${flushAge} is not a time in milliseconds above 0`);
    if ((key === undefined) !== (audience === undefined)) throw new RangeError("key and audience belong together");
    this.secret = key === undefined ? undefined : new Secret(key, stream, audience!);
    this.host = host;
    this.port = port;
    this.flushAge = flushAge;
    this.world = w;
    this.packer = new Packer(stream, size, this.secret !== undefined);
    open.add(this);
    if (!watching) {
      watching = true;
      process.on("beforeExit", closeAll);
    }
  }

  /** The reader opened the content. See add. */
  open(content: Id, user: Id, details?: Details): boolean {
    return this.add(Kind.open, content, user, details);
  }

  /** The reader kept reading: a heartbeat, with the dwell since the event before. See add. */
  read(content: Id, user: Id, details?: Details): boolean {
    return this.add(Kind.read, content, user, details);
  }

  /** The reader reached the end. See add. */
  finish(content: Id, user: Id, details?: Details): boolean {
    return this.add(Kind.finish, content, user, details);
  }

  /** The reader kept the content for later. See add. */
  save(content: Id, user: Id, details?: Details): boolean {
    return this.add(Kind.save, content, user, details);
  }

  /** The reader passed the content on. See add. */
  share(content: Id, user: Id, details?: Details): boolean {
    return this.add(Kind.share, content, user, details);
  }

  /** A variant of the content's headline, 1 to 255, was shown. User 0 is nobody in particular. See add. */
  impression(content: Id, user: Id = 0, variant = 1, at?: number): boolean {
    return this.add(Kind.impression, content, user, { dwell: variant, at });
  }

  /** A variant of the content's headline was followed. See add. */
  click(content: Id, user: Id = 0, variant = 1, at?: number): boolean {
    return this.add(Kind.click, content, user, { dwell: variant, at });
  }

  /**
   * Takes one event. Of an impression or a click, dwell is the variant of the headline. Returns false where it was dropped: there was no room (stats().queue), or close was called before
   * (stats().closed). What no collector would take throws a RangeError.
   */
  add(kind: Kind, content: Id, user: Id, details?: Details): boolean {
    let dwell = 0;
    let progress = 255;
    let ms: number;
    if (details === undefined) {
      ms = this.world.now();
    } else {
      dwell = details.dwell ?? 0;
      ms = details.at ?? this.world.now();
      if (details.progress !== undefined) {
        progress = details.progress;
        if (!(progress >= 0 && progress <= 100)) throw new RangeError(`progress is ${progress}, not 0 to 100 percent`);
      }
      if (!(dwell >= 0)) throw new RangeError(`dwell is ${dwell}, not milliseconds from 0 on`);
      dwell = dwell > DWELL_MAX ? DWELL_MAX : Math.trunc(dwell);
      if (!(ms >= SECONDS_MAX && ms <= TIME_MAX)) throw new RangeError(`at is ${ms}, not the time in Unix milliseconds: Date.now(), or leave it out`);
      ms = Math.trunc(ms);
    }
    if (!(kind >= 0 && kind <= 6)) throw new RangeError(`there is no kind ${kind}: use open, read, finish, save, share, impression or click`);
    if (kind > Kind.share) {
      if (dwell > 255 || progress !== 255) throw new RangeError("a headline has a variant of 1 to 255, and no progress");
      if (dwell === 1) dwell = 0;
    }
    checkId(content);
    checkId(user);
    if (this.closing) {
      this.tally.closed++;
      return false;
    }
    const packer = this.packer;
    if (!packer.add(kind, content, user, dwell, progress, ms)) {
      if (!this.cut() && packer.count > 0) {
        this.tally.queue++;
        this.#drops++;
        return false;
      }
      packer.add(kind, content, user, dwell, progress, ms);
    }
    if (packer.count === 1) this.begin();
    return true;
  }

  /**
   * Says what a content is called: the text of which its id is the hash, id(text). Call it with every event of the
   * content, or once: it is sent once a day, over UDP, where nobody answers, once an hour. Returns false where it is not
   * taken, since there was no room or close was called before; the next call tries again. What is not 1 to 512 bytes of
   * text throws a RangeError.
   */
  name(text: string): boolean {
    if (this.#wasSaid(text, text)) return true;
    const bytes = this.#bytesOf(0, text);
    return this.#say(text, text, id(bytes), bytes, 0);
  }

  /**
   * Says more of a content, by its id. Each is sent when it changes, and as often as a name; the last of each counts.
   * Returns false where not all were taken; the next call tries those again. What no collector would take throws a
   * RangeError, and nothing is said: texts have up to 512 bytes, numbers are whole and below 2^48.
   */
  describe(content: Id, about: About): boolean {
    checkId(content);
    const texts = textsOf(about).map(([n, text]) => ({ n, text, bytes: this.#bytesOf(n, text) }));
    return texts.every(({ n, text, bytes }) => {
      const key = (BigInt(content) << 3n) | BigInt(n);
      return this.#wasSaid(key, text) || this.#say(key, text, BigInt(content), bytes, n);
    });
  }

  #wasSaid(key: string | bigint, text: string): boolean {
    const said = this.#said.get(key);
    return said !== undefined && said.text === text && this.world.monotonic() - said.at < this.saidFor;
  }

  /** The bytes of a name or another attribute, which a frame has room for. */
  #bytesOf(attribute: number, text: string): Buffer {
    const bytes = Buffer.from(text);
    const most = Math.min(NAME_MAX, this.packer.nameRoom);
    if (bytes.length > most || (attribute === 0 && bytes.length === 0)) {
      throw new RangeError(`the ${ATTRIBUTES[attribute]} has ${bytes.length} bytes: at most ${most}, and a name at least one`);
    }
    return bytes;
  }

  /** Has a name or another attribute wait for a frame, and remembers that it was said. */
  #say(key: string | bigint, text: string, content: bigint, bytes: Buffer, attribute: number): boolean {
    if (this.closing) return false;
    if (this.nameless) return true;
    const waited = this.packer.waits;
    if (!this.packer.addName(content, bytes, attribute) && (!this.cut() || !this.packer.addName(content, bytes, attribute))) return false;
    this.#said.delete(key);
    this.#said.set(key, { text, at: this.world.monotonic() });
    if (this.#said.size > SAID_MAX) this.#said.delete(this.#said.keys().next().value!);
    if (!waited) this.begin();
    return true;
  }

  /** Takes note of when the unfinished frame began, and sees to it that it is flushed. */
  private begin(): void {
    this.#began = this.world.monotonic();
    this.wakeAt(this.#began + this.flushAge);
  }

  /** Makes a frame of what waits, false where there is no room for it. */
  protected cut(): boolean {
    if (!this.canEmit()) return false;
    if (this.#drops > 0) {
      this.skip(this.#drops);
      this.#drops = 0;
    }
    const count = this.packer.count;
    if (count > 0) {
      this.tally.frames++;
      this.beatWait = BEAT_MIN;
      this.emit(count);
    }
    if (!this.packer.named) return true;
    if (!this.canEmit()) return false;
    this.tally.frames++;
    this.beatWait = BEAT_MIN;
    this.emit(0);
    return true;
  }

  protected get unnumbered(): number {
    return this.#drops;
  }

  /** Whether there is room for a frame. */
  protected abstract canEmit(): boolean;
  /** Sends or keeps the packer's frame of so many events, or of names. */
  protected abstract emit(count: number): void;
  /** Writes that frame, and returns its size. */
  protected pack(frame: Buffer, count: number): number {
    return count > 0 ? this.packer.finish(frame) : this.packer.finishNames(frame, this.world.now());
  }
  /** Numbers events that were dropped. */
  protected abstract skip(drops: number): void;
  /** Events that are kept in frames. */
  protected abstract kept(): number;
  /** Does what is due, and returns when something is due next. */
  protected abstract due(now: number): number;
  /** Ends at once. What is kept is counted as closed. */
  protected abstract giveUp(): void;
  /** Whether what is open keeps the process alive. */
  protected abstract ref(on: boolean): void;

  /** Flushes what has waited for long enough, and returns when that is due next. */
  protected age(now: number): number {
    if (!this.packer.waits) return Infinity;
    if (now >= this.#began + this.flushAge || this.closing) {
      if (this.cut()) return Infinity;
      this.#began = now; // there is no room for it yet
    }
    return this.#began + this.flushAge;
  }

  /** Does all that is due, and sees to it that it is called again. Returns when. */
  protected step(): number {
    if (this.done) return Infinity;
    const due = this.due(this.world.monotonic());
    if (this.done) {
      clearTimeout(this.#timer);
      this.#ended?.();
      return Infinity;
    }
    this.#due = Infinity;
    this.wakeAt(due);
    return due;
  }

  /** Sees to it that a step is made then, or earlier. */
  protected wakeAt(due: number): void {
    if (due >= this.#due || !this.world.timers) return;
    this.#due = due;
    clearTimeout(this.#timer);
    this.#timer = setTimeout(() => {
      this.#due = Infinity;
      this.step();
    }, Math.max(0, Math.ceil(due - this.world.monotonic())));
    if (!this.closing) this.#timer.unref();
  }

  /** The number under which the collector knows this emitter. It changes when a new source begins. */
  get source(): bigint {
    return this.packer.source;
  }

  /** Sends what waits for others. Over TCP it does not wait for the acknowledgement: close does. */
  flush(): void {
    if (this.closing) return;
    this.cut();
    this.step();
  }

  /** Seals what follows with another key, in place of the one that dial was given. */
  setKey(key: string): void {
    if (!this.secret) throw new Error("this emitter does not seal: dial it with a key and an audience");
    this.secret = new Secret(key, this.secret.stream, this.secret.audience);
    this.rekey();
  }

  /** Uses another secret from now on. */
  protected abstract rekey(): void;

  /** What became of the events so far. */
  stats(): Stats {
    const t = this.tally;
    const buffered = this.done ? 0 : this.packer.count + this.kept();
    const added = t.sent + t.acked + buffered + t.queue + t.socket + t.closed + t.refused + t.unsure;
    return { ...t, added, buffered };
  }

  /**
   * Sends what waits and ends the emitter. Over UDP that takes some 40 ms, for the last beats; over TCP until all is
   * acknowledged, or timeout milliseconds. Resolves to whether all that was added went out and nothing is known to be
   * missing. Calling it again resolves to the same.
   */
  close(timeout = 10000): Promise<boolean> {
    return (this.#end ??= this.end(timeout));
  }

  private async end(timeout: number): Promise<boolean> {
    this.closing = true;
    this.ref(true);
    const over = new Promise<void>((resolve) => (this.#ended = resolve));
    this.step();
    if (!this.done) {
      const timer = this.world.timers ? setTimeout(() => this.stop(), timeout) : undefined;
      await over;
      clearTimeout(timer);
    }
    open.delete(this);
    const s = this.stats();
    return s.queue + s.socket + s.closed + s.refused + s.unsure + s.unreachable === 0;
  }

  /** Ends without waiting any longer. */
  protected stop(): void {
    if (this.done) return;
    this.tally.closed += this.packer.count + this.kept();
    this.giveUp();
    this.done = true;
    clearTimeout(this.#timer);
    this.#ended?.();
  }

  /** With await using. */
  async [Symbol.asyncDispose](): Promise<void> {
    await this.close();
  }
}

function checkId(id: Id): void {
  if (typeof id === "bigint" ? BigInt.asUintN(64, id) === id : Number.isSafeInteger(id) && id >= 0) return;
  throw new RangeError(`${typeof id === "string" ? JSON.stringify(id) : id} is no id: 0 to 2^53-1, or a bigint up to 2^64-1; of text it is id(text)`);
}

/** What is said of a content, by the attribute's number. */
function textsOf({ title, section, author, published, words }: About): [number, string][] {
  for (const n of [published, words]) {
    if (n === undefined || n === "" || (Number.isInteger(n) && n >= 0 && n <= TIME_MAX)) continue;
    throw new RangeError(`published or words is ${n}, not 0 to 2^48-1`);
  }
  return [title, section, author, published, words].flatMap((v, i) => (v === undefined ? [] : [[i + 1, String(v)] as [number, string]]));
}

function closeAll(): void {
  for (const emitter of open) void emitter.close(EXIT_TIMEOUT);
}
