/** Datagrams: nothing is resent, and what is lost shows in the collector's books. */

import { createSocket, type Socket } from "node:dgram";
import type { LookupAddress } from "node:dns";
import { BEAT_MAX, BEAT_MIN, Emitter, world, type CommonOptions, type World } from "./emitter.js";
import { SLACK, type Numbers } from "./packer.js";
import { SIZE_MIN, TAG_SIZE } from "./wire.js";

const BEATS = 3; // when a source begins and when it ends
const BEAT_GAP = 20;
/** How old a socket gets at least, and how long a failed attempt to replace it is not repeated. */
const RENEW_WAIT = 1000;
/** What may wait in Node for a kernel that takes nothing. */
const QUEUED_MAX = 1 << 20;

/** Options of UDP. */
export interface UDPOptions extends CommonOptions {
  /** The largest datagram, in bytes. Default 1400, which fits the usual paths unfragmented. */
  datagramSize?: number | undefined;
  /** How many milliseconds a socket that sends events is kept. Default 300,000. */
  socketAge?: number | undefined;
}

/** One socket, and so one source. */
export interface Datagrams {
  /** Gives the kernel a datagram. done is called in the order of the calls. */
  send(datagram: Buffer, done: (error: NodeJS.ErrnoException | null) => void): void;
  /** Bytes that the kernel has not taken yet. */
  queued(): number;
  /** Is called when the host answers that nobody listens, with no datagram to say it of. */
  onError: (error: NodeJS.ErrnoException) => void;
  ref(on: boolean): void;
  close(): void;
}

class KernelSocket implements Datagrams {
  readonly #socket: Socket;
  onError: (error: NodeJS.ErrnoException) => void = () => {};

  constructor(socket: Socket) {
    this.#socket = socket;
    socket.on("error", (error) => this.onError(error));
    socket.unref();
  }

  send(datagram: Buffer, done: (error: NodeJS.ErrnoException | null) => void): void {
    this.#socket.send(datagram, done);
  }

  queued(): number {
    return this.#socket.getSendQueueSize();
  }

  ref(on: boolean): void {
    if (on) this.#socket.ref();
    else this.#socket.unref();
  }

  close(): void {
    this.#socket.close();
  }
}

function connect({ address, family }: LookupAddress, port: number): Promise<Datagrams> {
  return new Promise((resolve, reject) => {
    const socket = createSocket(family === 6 ? "udp6" : "udp4");
    socket.once("error", reject);
    socket.connect(port, address, () => {
      socket.off("error", reject);
      resolve(new KernelSocket(socket));
    });
  });
}

/** Opens a socket to where the name leads by now. */
export async function openSocket(host: string, port: number, w: World = world): Promise<Datagrams> {
  const addresses = await new Promise<LookupAddress[]>((resolve, reject) =>
    w.lookup(host, { all: true }, (error, found) => (error ? reject(error) : resolve(found))),
  );
  let error: unknown = new Error(`${host} has no address`);
  for (const address of addresses) {
    try {
      return await connect(address, port);
    } catch (e) {
      error = e;
    }
  }
  throw error;
}

/** A source that ends, and the socket that it ends over. */
interface Retired {
  socket: Datagrams;
  numbers: Numbers;
  left: number;
  due: number;
}

/**
 * Sends events in datagrams. Made by dial("udp://…").
 *
 * Every socketAge with events, and when the collector's host answers that nobody listens or the socket fails, the name is
 * resolved again, and a new source goes on over a new socket: behind it there may be another collector.
 */
export class UDP extends Emitter {
  readonly #size: number;
  readonly #socketAge: number;
  #socket!: Datagrams;
  #born = 0;
  #tried = -Infinity;
  #lastSent = 0;
  #lastBeat = 0;
  #lastEvents = 0; // in the last datagram that the kernel took
  #answer: Error | undefined; // of the host, which is not told yet
  #inFlight = 0; // events in datagrams that Node has and the kernel not yet
  #sends = 0; // such datagrams
  #wanted = false; // another socket
  #retired: Retired[] = [];
  #final: Retired | undefined;
  #free: Buffer[] = [];
  /** While another socket is being opened. */
  protected renewing: Promise<void> | undefined;
  protected readonly openSocket: typeof openSocket;

  /** Takes the first socket. */
  constructor(host: string, port: number, socket: Datagrams, o: UDPOptions = {}, w: World = world, opener = openSocket) {
    const { datagramSize = 1400, socketAge = 300_000 } = o;
    checkUDP(datagramSize, socketAge, o.key !== undefined);
    super(host, port, datagramSize, o, w);
    this.#size = datagramSize;
    this.#socketAge = socketAge;
    this.openSocket = opener;
    this.saidFor = 3_600_000; // nobody answers: what was lost is said again
    this.packer.key = this.secret?.frameKey();
    this.#begin(socket);
    this.step();
  }

  /** Begins a source over a socket. */
  #begin(socket: Datagrams): void {
    const now = this.world.monotonic();
    this.#socket = socket;
    this.#born = now;
    this.#lastEvents = 0;
    this.#wanted = false;
    // It is told with the next send, as the kernel has it where nobody reads: so that both ways are one.
    socket.onError = (error) => (this.#answer = error);
    this.#answer = undefined;
    for (let i = 0; i < BEATS; i++) this.#beat(this.#socket, this.packer, now);
    this.beatWait = BEAT_MIN;
  }

  /** The host answered that nobody listens, to the datagram before. */
  #bounced(error: Error): void {
    this.error = error;
    this.tally.unreachable += this.#lastEvents;
    this.#lastEvents = 0;
    this.#wanted = true;
    this.wakeAt(this.world.monotonic());
  }

  #beat(socket: Datagrams, numbers: Numbers, now: number): void {
    const frame = this.#buffer();
    this.tally.frames++;
    if (socket === this.#socket) this.#lastSent = this.#lastBeat = now;
    this.#send(socket, frame, numbers.beat(frame, this.world.now()), 0, false);
  }

  #buffer(): Buffer {
    return this.#free.pop() ?? Buffer.allocUnsafeSlow(this.#size + SLACK + TAG_SIZE);
  }

  /** Gives the kernel a frame, which is numbered: if that fails, its events show as lost. */
  #send(socket: Datagrams, frame: Buffer, size: number, count: number, again: boolean): void {
    if (this.#answer && socket === this.#socket) {
      this.#bounced(this.#answer);
      this.#answer = undefined;
    }
    this.#inFlight += count;
    this.#sends++;
    socket.send(frame.subarray(0, size), (error) => {
      this.#inFlight -= count;
      this.#sends--;
      const current = socket === this.#socket;
      if (error?.code === "ECONNREFUSED" && !again) {
        // The answer that nobody listens is for the datagram before this one, and came in place of sending it.
        if (current) this.#bounced(error);
        this.#send(socket, frame, size, count, true);
        return;
      }
      if (this.#free.length < 64) this.#free.push(frame);
      if (error) {
        this.error = error;
        this.tally.socket += count;
        if (current && error.code !== "ENOBUFS" && error.code !== "EAGAIN") this.#wanted = true;
      } else {
        this.tally.sent += count;
        this.tally.bytes += size;
        if (current) this.#lastEvents = count;
      }
      if (this.closing) this.wakeAt(this.world.monotonic());
    });
  }

  protected canEmit(): boolean {
    return true;
  }

  protected emit(count: number): void {
    const frame = this.#buffer();
    const size = this.pack(frame, count);
    this.#lastSent = this.world.monotonic();
    if (this.#socket.queued() > QUEUED_MAX) {
      this.tally.socket += count;
      this.#free.push(frame);
      return;
    }
    this.#send(this.#socket, frame, size, count, false);
  }

  protected skip(drops: number): void {
    this.packer.skip(drops);
  }

  protected kept(): number {
    return this.#inFlight;
  }

  protected rekey(): void {
    this.packer.key = this.secret!.frameKey();
  }

  protected due(now: number): number {
    let due = Math.min(this.age(now), this.#retire(now));
    if (this.closing) return Math.min(due, this.#end(now));
    due = Math.min(due, this.#renew(now));
    // To a collector that does not know the source the time of a sealed beat says that it is no recording.
    const stale = this.packer.key ? this.#lastBeat + BEAT_MAX : Infinity;
    if (now >= this.#lastSent + this.beatWait) {
      this.#beat(this.#socket, this.packer, now);
      this.beatWait = Math.min(2 * this.beatWait, BEAT_MAX);
    } else if (now >= stale) {
      this.#beat(this.#socket, this.packer, now);
    }
    return Math.min(due, this.#lastSent + this.beatWait, this.packer.key ? this.#lastBeat + BEAT_MAX : Infinity);
  }

  /** Has the socket replaced where that is due. */
  #renew(now: number): number {
    if (this.renewing) return Infinity;
    const old = this.packer.position > 0 ? this.#born + this.#socketAge : Infinity;
    if (!this.#wanted && now < old) return old;
    const earliest = Math.max(this.#born, this.#tried) + RENEW_WAIT;
    if (now < earliest) return earliest;
    this.renewing = this.openSocket(this.host, this.port, this.world).then(
      (socket) => {
        this.renewing = undefined;
        if (this.closing) {
          socket.close();
          return;
        }
        this.#retired.push({ socket: this.#socket, numbers: this.packer.copy(), left: BEATS, due: this.world.monotonic() });
        this.packer.renew();
        this.tally.renewals++;
        this.error = undefined;
        this.#begin(socket);
        this.step();
      },
      (error: Error) => {
        this.renewing = undefined;
        this.error = error;
        this.#tried = this.world.monotonic();
        this.step();
      },
    );
    return Infinity;
  }

  /** Sends the last beats of sources that end. */
  #retire(now: number): number {
    for (const old of this.#retired) {
      if (now < old.due) continue;
      if (old.left > 0) this.#beat(old.socket, old.numbers, now);
      else old.socket.close();
      old.left--;
      old.due = now + BEAT_GAP;
    }
    this.#retired = this.#retired.filter((old) => old.left >= 0);
    return Math.min(Infinity, ...this.#retired.map((old) => old.due));
  }

  /** Sends the last beats, then ends. */
  #end(now: number): number {
    const end = (this.#final ??= { socket: this.#socket, numbers: this.packer, left: BEATS, due: now });
    if (end.left > 0) {
      if (now >= end.due) {
        this.cut();
        this.#beat(this.#socket, this.packer, now);
        end.left--;
        end.due = now + BEAT_GAP;
      }
      if (end.left > 0) return end.due;
    }
    if (this.#sends === 0 && this.#retired.length === 0) {
      this.#socket.close();
      this.done = true;
    }
    return Infinity; // what was sent last says when it is
  }

  protected giveUp(): void {
    for (const old of this.#retired) old.socket.close();
    this.#socket.close();
  }

  protected ref(on: boolean): void {
    this.#socket.ref(on);
  }
}

function checkUDP(datagramSize: number, socketAge: number, sealed: boolean): void {
  const least = SIZE_MIN + (sealed ? TAG_SIZE : 0);
  if (!Number.isInteger(datagramSize) || datagramSize < least || datagramSize > 65507) {
    throw new RangeError(`datagramSize ${datagramSize} is outside of ${least} to 65507 bytes`);
  }
  if (!(socketAge >= RENEW_WAIT)) throw new RangeError(`socketAge ${socketAge} is below ${RENEW_WAIT} ms`);
}
