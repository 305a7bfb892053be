/** Acknowledged connections: what is not acknowledged is kept, and sent again. */

import { connect as netConnect, type Socket } from "node:net";
import type { LookupFunction } from "node:net";
import { BEAT_MAX, BEAT_MIN, Emitter, world, type CommonOptions, type World } from "./emitter.js";
import { SLACK } from "./packer.js";
import { Session, UnprovedError, type Secret } from "./seal.js";
import { ForeignError, FRAME_MAX, HEADER_SIZE, HELLO, NAMES, NUMBER_MAX, REFUSAL, RefusedError, SIZE_MIN, TAG_SIZE, putHeader, split, type Ack } from "./wire.js";

const CONNECT_TIMEOUT = 10_000; // of connecting and of the wait for the first ack together
const SILENCE_MAX = 30_000; // how long frames may be in flight without a word from the collector
const BACKOFF_MIN = 100;
const BACKOFF_MAX = 10_000;
const WRITABLE_MAX = 1 << 20; // what Node may hold for the kernel
const RENUMBER_AFTER = NUMBER_MAX / 2;
/** Refusals of the moment, and not of the frame. */
const PASSING = new Set(["sources", "connections", "idle", "credit", "unexpected", "sealed", "unsealed"]);

/** Options of TCP. */
export interface TCPOptions extends CommonOptions {
  /** The largest frame, in bytes. Default 32 KiB. */
  frameSize?: number | undefined;
  /** How many bytes of frames are kept at most until they are acknowledged. Default 16 MiB. */
  bufferSize?: number | undefined;
  /** Is called for every source that ends before all of it was acknowledged. */
  onSourceEnded?: ((ended: SourceEnded) => void) | undefined;
}

/**
 * A source ended before all that was sent under it was acknowledged, since its collector answered what does not fit. Nobody
 * knows whether unsure of its events were counted. They are not sent again. Another source goes on.
 */
export interface SourceEnded {
  source: bigint;
  next: bigint;
  unsure: number;
  reason: Error;
}

/** An ack that ends the source: of what was never sent, or of another spool than the one that the source belongs to. */
class ContradictionError extends Error {}

/** A numbered frame that is kept until it is acknowledged. */
interface Kept {
  frame: Buffer; // without a tag
  sequence: number;
  count: number;
  skip: number; // events that were dropped in front of it
  refused: boolean;
}

/** One connection, and what holds for it. */
class Link {
  readonly socket: Socket;
  readonly source: bigint;
  readonly secret: Secret | undefined;
  readonly session: Session | undefined;
  readonly deadline: number;
  readonly triedBefore: number;
  data: Buffer = Buffer.alloc(0);
  live = false; // the hello was answered
  begun = -1; // sequence of the first frame that was sent
  cursor = 0; // index of the next frame to send
  inFlight = 0;
  credit = 0;
  durable = 0;
  heard: number;
  lastSent: number;

  constructor(socket: Socket, source: bigint, secret: Secret | undefined, now: number, tried: number) {
    this.socket = socket;
    this.source = source;
    this.secret = secret;
    this.session = secret && new Session(secret, source);
    this.deadline = now + CONNECT_TIMEOUT;
    this.triedBefore = tried;
    this.heard = this.lastSent = now;
  }
}

/**
 * Sends events over acknowledged connections, one at a time. Made by dial("tcp://…").
 *
 * It keeps events until the collector has them on its disk. When a connection ends it makes another, after 0.1 to 10 s, and
 * sends again what is not acknowledged. error tells why there is no connection.
 */
export class TCP extends Emitter {
  readonly #frameSize: number;
  readonly #bufferSize: number;
  readonly #onSourceEnded: ((ended: SourceEnded) => void) | undefined;
  readonly #scratch: Buffer;
  #frames: Kept[] = [];
  #bytes = 0; // of them
  #kept = 0; // events in them that are not refused
  #skipped = 0; // events that were dropped in front of the next one
  #spool = 0; // of the collector that answered the source's first hello
  #tried = 0; // the sequence behind the newest that a send was tried of
  #link: Link | undefined;
  #first = true;
  #progress = false; // something was acknowledged, or refused for good
  #tries = 0;
  #retryAt = -Infinity;

  constructor(host: string, port: number, o: TCPOptions = {}, w: World = world) {
    const { frameSize = 32768, bufferSize = 16 << 20, onSourceEnded } = o;
    const least = SIZE_MIN + (o.key === undefined ? 0 : TAG_SIZE);
    if (!Number.isInteger(frameSize) || frameSize < least || frameSize > FRAME_MAX) {
      throw new RangeError(`frameSize ${frameSize} is outside of ${least} to ${FRAME_MAX} bytes`);
    }
    if (!(bufferSize >= 4 * frameSize)) throw new RangeError(`a buffer of ${bufferSize} bytes does not hold four frames of ${frameSize}`);
    super(host, port, frameSize, o, w);
    this.#frameSize = frameSize;
    this.#bufferSize = bufferSize;
    this.#onSourceEnded = onSourceEnded;
    this.#scratch = Buffer.allocUnsafeSlow(frameSize + SLACK);
    this.step();
  }

  // -- the queue

  protected canEmit(): boolean {
    return this.#bytes + this.#frameSize <= this.#bufferSize && !this.done;
  }

  protected emit(count: number): void {
    this.#kept += count;
    this.#keep(this.pack(this.#scratch, count), count);
    if (this.#link?.live) this.#pump(this.#link, this.world.monotonic());
  }

  #keep(size: number, count: number): void {
    const frame = Buffer.allocUnsafeSlow(size);
    this.#scratch.copy(frame, 0, 0, size);
    this.#frames.push({ frame, sequence: this.packer.sequence - 1, count, skip: this.#skipped, refused: false });
    this.#skipped = 0;
    this.#bytes += size;
  }

  protected skip(drops: number): void {
    this.packer.skip(drops);
    this.#skipped += drops;
    if (this.packer.count === 0) this.#keepBeat(); // it shows them
  }

  #keepBeat(): void {
    this.tally.frames++;
    this.#keep(this.packer.beat(this.#scratch, this.world.now()), 0);
  }

  protected kept(): number {
    return this.#kept;
  }

  /** Begins a new source: the frames that are kept become its first. */
  #renumber(): void {
    const packer = this.packer;
    packer.renew();
    this.#spool = this.#tried = 0;
    this.tally.renewals++;
    for (const kept of this.#frames) {
      if (kept.skip > 0) packer.skip(kept.skip);
      kept.sequence = packer.sequence;
      kept.frame = Buffer.from(kept.frame); // the kernel may still be given the other one
      packer.head(kept.frame, kept.frame.length, kept.count, kept.frame.readUIntLE(10, 6), kept.frame[2]! & 15);
    }
  }

  // -- the connection

  protected due(now: number): number {
    let due = this.age(now);
    if (this.unnumbered > 0 && this.packer.count === 0) this.cut();
    if (!this.#link) due = Math.min(due, this.#connect(now));
    const link = this.#link;
    if (link) due = Math.min(due, this.#use(link, now));
    if (this.closing && this.#frames.length === 0 && !this.packer.waits && this.unnumbered === 0) {
      this.#drop();
      this.done = true;
    }
    return due;
  }

  #connect(now: number): number {
    if (now < this.#retryAt) return this.#retryAt;
    const socket = netConnect({ host: this.host, port: this.port, noDelay: true, lookup: this.world.lookup as LookupFunction });
    if (!this.closing) socket.unref();
    const link = new Link(socket, this.packer.source, this.secret, now, this.#tried);
    this.#link = link;
    this.beatWait = BEAT_MIN;
    socket.on("connect", () => {
      const ms = this.world.now();
      if (link.session) {
        socket.write(link.session.hello(ms));
      } else {
        const hello = Buffer.alloc(HEADER_SIZE);
        putHeader(hello, HELLO, 0, HEADER_SIZE, 0, this.packer.stream, ms, link.source, 0, 0);
        socket.write(hello);
      }
    });
    socket.on("data", (data) => this.#when(link, () => this.#read(link, data)));
    socket.on("drain", () => this.#when(link, () => {}));
    socket.on("error", (error) => this.#when(link, () => this.#lost(error)));
    socket.on("close", () =>
      this.#when(link, () => this.#lost(new Error("the collector closed the connection; it may be full, or about to restart"))),
    );
    return link.deadline;
  }

  /** Does what an event of the present connection asks for, and what is due then. */
  #when(link: Link, what: () => void): void {
    if (link !== this.#link) return;
    what();
    this.step();
  }

  #use(link: Link, now: number): number {
    if (!link.live) {
      if (now >= link.deadline) this.#lost(new Error(`it did not answer a hello within ${CONNECT_TIMEOUT / 1000} s; check the address`));
      return this.#link ? link.deadline : this.#retryAt;
    }
    if (link.secret && this.secret && !link.secret.same(this.secret) && link.inFlight === 0) {
      this.#progress = true;
      this.#lost(new Error("a new key seals what follows"), true);
      return now;
    }
    this.#pump(link, now);
    if (link.inFlight > 0) {
      if (now < link.heard + SILENCE_MAX) return link.heard + SILENCE_MAX;
      this.#lost(new Error(`the collector acknowledged nothing for ${SILENCE_MAX / 1000} s`));
      return this.#retryAt;
    }
    if (this.#frames.length > 0 || this.closing) return Infinity; // without credit, or almost done
    if (now >= link.lastSent + this.beatWait) {
      link.lastSent = now;
      const wait = this.beatWait;
      this.beatWait = Math.min(2 * wait, BEAT_MAX);
      if (this.packer.count > 0) return now + wait;
      this.#keepBeat();
      this.#pump(link, now);
      return link.heard + SILENCE_MAX;
    }
    return link.lastSent + this.beatWait;
  }

  /** Sends what credit allows. A single frame may go beyond it, so that a small credit does not end all. */
  #pump(link: Link, now: number): void {
    if (link.secret && this.secret && !link.secret.same(this.secret)) return; // until what is in flight is acknowledged
    while (link.cursor < this.#frames.length && link.socket.writableLength < WRITABLE_MAX) {
      const kept = this.#frames[link.cursor]!;
      if (!kept.refused) {
        const size = this.#sizeOn(link, kept);
        if (link.credit === 0 || (link.inFlight > 0 && link.inFlight + size > link.credit)) return;
        if (link.inFlight === 0) link.heard = now;
        if (link.begun < 0) link.begun = kept.sequence;
        link.inFlight += size;
        link.lastSent = now;
        this.#tried = Math.max(this.#tried, kept.sequence + 1);
        this.tally.bytes += size;
        link.socket.write(this.#sealed(link, kept.frame));
      }
      link.cursor++;
    }
  }

  #sizeOn(link: Link, kept: Kept): number {
    return kept.frame.length + (link.session ? TAG_SIZE : 0);
  }

  /** A frame as it goes over this connection. Kept ones have no tags: they are sent again over connections with other keys. */
  #sealed(link: Link, frame: Buffer): Buffer {
    if (!link.session) return frame;
    const sealed = Buffer.allocUnsafeSlow(frame.length + TAG_SIZE);
    frame.copy(sealed);
    link.session.up!.seal(sealed, frame.length);
    return sealed;
  }

  /** Takes what the collector says. */
  #read(link: Link, data: Buffer): void {
    try {
      const [frames, rest] = split(link.data.length > 0 ? Buffer.concat([link.data, data]) : data);
      link.data = rest;
      for (const frame of frames) {
        if (link.session) link.session.check(frame);
        else if (frame.sealed) throw new ForeignError();
        if (frame.type === REFUSAL) throw frame.refusal();
        const ack = frame.ack();
        if (ack.source !== link.source) throw new ForeignError();
        if (!link.live) {
          link.live = true;
          this.error = undefined;
          if (!this.#first) this.tally.reconnects++;
          this.#first = false;
        }
        this.#acknowledge(link, ack);
        if (link !== this.#link) return;
      }
    } catch (error) {
      if (!(error instanceof RefusedError || error instanceof ForeignError || error instanceof UnprovedError || error instanceof ContradictionError)) {
        throw error;
      }
      this.#lost(error);
    }
  }

  /** Takes an ack. One that is lower than before says nothing new but its credit. */
  #acknowledge(link: Link, ack: Ack): void {
    if (this.#spool === 0 && ack.spool > 0 && this.#tried === 0) this.#spool = ack.spool;
    if (ack.spool !== this.#spool) {
      throw new ContradictionError("another spool answered; what the one before has of it is not known there");
    }
    if (ack.durable > this.#tried) {
      throw new ContradictionError(`the collector acknowledged frames before ${ack.durable}, of which ${this.#tried} were sent`);
    }
    link.credit = ack.credit;
    link.heard = this.world.monotonic();
    link.durable = Math.max(link.durable, ack.durable);
    if (ack.final) {
      // What is not durable was not taken: it is as if it had never been sent. But who says less than was
      // acknowledged knows nothing of the source, and another may have counted what was sent.
      link.credit = 0;
      if (ack.durable >= (this.#frames[0]?.sequence ?? 0)) this.#tried = Math.min(this.#tried, link.durable);
    }
    this.#release(link);
  }

  /** Releases the frames that are durable or refused. */
  #release(link: Link): void {
    let n = 0;
    for (; n < this.#frames.length; n++) {
      const kept = this.#frames[n]!;
      if (!kept.refused && kept.sequence >= link.durable) break;
      if (!kept.refused) {
        if (n < link.cursor) link.inFlight -= this.#sizeOn(link, kept);
        this.tally.acked += kept.count;
        this.#kept -= kept.count;
      }
      this.#bytes -= kept.frame.length;
    }
    if (n === 0) return;
    this.#frames.splice(0, n);
    link.cursor = Math.max(0, link.cursor - n);
    this.#progress = true;
    if (this.#link && this.#frames.length === 0 && Math.max(this.packer.position, this.packer.sequence) >= RENUMBER_AFTER) {
      this.#renumber();
      this.#lost(new Error("a new source begins"), true);
    }
  }

  #drop(): void {
    const link = this.#link;
    this.#link = undefined;
    link?.socket.destroy();
  }

  /** Ends the connection, and draws the consequences of how it ended. */
  #lost(error: Error, atOnce = false): void {
    const link = this.#link!;
    this.#drop();
    this.error = error;
    const ended = link.source === this.packer.source ? this.#judge(link, error) : undefined;
    const now = this.world.monotonic();
    if (this.#progress) this.#tries = 0;
    if (this.#progress && (ended || atOnce)) {
      this.#retryAt = now;
    } else {
      // Up to twice as long each time, drawn so that many clients of one collector do not come back at once.
      const most = Math.min(BACKOFF_MIN * 2 ** Math.min(this.#tries, 10), BACKOFF_MAX);
      this.#tries++;
      this.#retryAt = now + most * (0.5 + Math.random() / 2);
    }
    this.#progress = false;
    if (ended && this.#onSourceEnded) {
      const call = this.#onSourceEnded;
      queueMicrotask(() => call(ended));
    }
  }

  #judge(link: Link, error: Error): SourceEnded | undefined {
    // The one before may have stored all that was sent, and lost only the ack.
    if (error instanceof ContradictionError) return this.#endSource(error, this.#tried);
    if (error instanceof RefusedError && error.word === "type") {
      // The collector does not know names, and cannot say which frame that was: it is sent no more of them.
      for (const kept of this.#frames) {
        if (kept.refused || (kept.frame[2]! & 15) !== NAMES) continue;
        kept.refused = this.nameless = true;
        this.packer.clearNames();
      }
    }
    if (!(error instanceof RefusedError) || error.source !== link.source || link.begun < 0 || PASSING.has(error.word)) return undefined;
    if (error.word === "forgotten") {
      // Of this connection the collector has taken no frame.
      return link.begun > 0 ? this.#endSource(error, link.triedBefore) : undefined;
    }
    if (error.word === "position" && error.sequence > 0) {
      // Somebody else numbers under this source. The frame itself was not taken, nor was any behind it.
      return this.#endSource(error, Math.max(link.triedBefore, error.sequence));
    }
    const kept = this.#frames.slice(0, link.cursor).find((k) => k.sequence === error.sequence && !k.refused);
    if (kept) {
      kept.refused = this.#progress = true;
      this.tally.refused += kept.count;
      this.#kept -= kept.count;
      this.#release(link);
    }
    return undefined;
  }

  /** Begins a new source. Frames below the sequence before may have been counted, and are given up. */
  #endSource(reason: Error, before: number): SourceEnded {
    const source = this.packer.source;
    this.#progress ||= this.#tried > 0;
    let n = 0;
    let unsure = 0;
    for (; n < this.#frames.length && this.#frames[n]!.sequence < before; n++) {
      const kept = this.#frames[n]!;
      this.#bytes -= kept.frame.length;
      if (!kept.refused) unsure += kept.count;
    }
    this.#frames.splice(0, n);
    this.tally.unsure += unsure;
    this.#kept -= unsure;
    this.#renumber();
    return { source, next: this.packer.source, unsure, reason };
  }

  protected rekey(): void {
    this.step();
  }

  protected giveUp(): void {
    this.#drop();
    this.#frames = [];
    this.#kept = 0;
  }

  protected ref(on: boolean): void {
    if (on) this.#link?.socket.ref();
    else this.#link?.socket.unref();
  }
}
