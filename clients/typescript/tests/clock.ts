/** A clock that tests move, sockets that keep what is sent, and emitters that make their steps by them. */

import type { World } from "../src/emitter.js";
import { TCP, type TCPOptions } from "../src/tcp.js";
import { UDP, type Datagrams, type UDPOptions } from "../src/udp.js";
import { Book, type Frame } from "./oracle.js";

export const START = 1_700_000_000_000;

/** A socket that is only here. */
export class FakeSocket implements Datagrams {
  taken: Buffer[] = [];
  /** What the kernel answers instead of taking a datagram. */
  refuse: string | undefined;
  full = false;
  closed = false;
  onError: (error: NodeJS.ErrnoException) => void = () => {};

  send(datagram: Buffer, done: (error: NodeJS.ErrnoException | null) => void): void {
    const { refuse } = this;
    if (refuse === "ECONNREFUSED") this.refuse = undefined; // the kernel says it once
    if (refuse) return done(Object.assign(new Error(refuse), { code: refuse }));
    this.taken.push(Buffer.from(datagram));
    done(null);
  }
  queued(): number {
    return this.full ? 2 ** 30 : 0;
  }
  ref(): void {}
  close(): void {
    this.closed = true;
  }
}

export class Clock {
  ms = 0;
  readonly sockets: FakeSocket[] = [];
  readonly book = new Book();

  world(): World {
    return {
      monotonic: () => this.ms,
      now: () => START + this.ms,
      lookup: (_, __, done) => done(null, [{ address: "127.0.0.1", family: 4 }]),
      timers: false,
    };
  }

  udp(o: UDPOptions = {}): SteppedUDP {
    const first = new FakeSocket();
    this.sockets.push(first);
    const opener = async (): Promise<Datagrams> => {
      const socket = new FakeSocket();
      this.sockets.push(socket);
      return socket;
    };
    return new SteppedUDP("collector", 8420, first, o, this.world(), opener);
  }

  tcp(port: number, o: TCPOptions = {}): SteppedTCP {
    return new SteppedTCP("127.0.0.1", port, o, this.world());
  }

  /** What has come over all sockets since the last time. */
  take(): Frame[] {
    return this.sockets.flatMap((s) => s.taken.splice(0)).flatMap((d) => this.book.take(d));
  }

  /** Lets time pass, with a step whenever one is due. */
  async run(out: SteppedUDP | SteppedTCP, ms: number, each?: () => void): Promise<void> {
    const end = this.ms + ms;
    for (;;) {
      out.stepNow();
      await out.settled();
      const due = out.stepNow();
      each?.();
      if (out.isDone || due > end) break;
      this.ms = Math.max(this.ms, due);
    }
    this.ms = end;
  }
}

export class SteppedUDP extends UDP {
  stepNow(): number {
    return this.step();
  }
  async settled(): Promise<void> {
    await this.renewing;
  }
  get isDone(): boolean {
    return this.done;
  }
}

export class SteppedTCP extends TCP {
  stepNow(): number {
    return this.step();
  }
  async settled(): Promise<void> {
    for (let i = 0; i < 4; i++) await new Promise((resolve) => setImmediate(resolve));
  }
  get isDone(): boolean {
    return this.done;
  }
  get isLive(): boolean {
    return this.error === undefined;
  }
}
