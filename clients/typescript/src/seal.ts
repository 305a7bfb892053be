/** Sealed frames: wire/SPEC.md, section 8. */

import { createCipheriv, createHmac, randomBytes, timingSafeEqual } from "node:crypto";
import { ACK, ForeignError, HEADER_SIZE, HELLO, REFUSAL, SEALED, TAG_SIZE, putHeader, type Frame } from "./wire.js";

/** A stream's secret, and for whom it proves. */
export class Secret {
  readonly epoch: number;
  readonly stream: number;
  readonly audience: string;
  readonly #secret: Buffer;

  /** key is what a key file holds: EPOCH:64 hex digits. */
  constructor(key: string, stream: number, audience: string) {
    const match = /^([0-3]):([0-9a-f]{64})\n?$/.exec(key);
    if (!match) throw new RangeError("the key is not EPOCH:SECRET, with an epoch of 0 to 3 and 64 hex digits");
    if (!/^[A-Za-z0-9._-]{1,63}$/.test(audience)) {
      throw new RangeError("the audience is not 1 to 63 characters out of A-Z a-z 0-9 . _ -; it is the collector's listen.audience");
    }
    this.epoch = Number(match[1]);
    this.#secret = Buffer.from(match[2]!, "hex");
    this.stream = stream;
    this.audience = audience;
  }

  same(other: Secret): boolean {
    return this.epoch === other.epoch && this.#secret.equals(other.#secret);
  }

  derive(use: number, ...parts: Buffer[]): Buffer {
    const head = Buffer.from([use, this.epoch, this.stream & 255, this.stream >> 8]);
    return createHmac("sha256", this.#secret)
      .update(Buffer.concat([head, ...parts, Buffer.from(this.audience, "latin1")]))
      .digest();
  }

  frameKey(): EventsKey {
    return new EventsKey(this.epoch, this.derive(1));
  }
}

/** Seals events frames. */
export class EventsKey {
  readonly epoch: number;
  readonly #key: Buffer;

  constructor(epoch: number, derived: Buffer) {
    this.epoch = epoch;
    this.#key = derived.subarray(0, 16);
  }

  /** Sets flags and size of a frame of this many bytes, and writes its tag behind it. Returns its size with the tag. */
  seal(frame: Buffer, size: number): number {
    frame[3] = SEALED | (this.epoch << 2);
    frame.writeUInt16LE(size + TAG_SIZE, 4);
    const cipher = createCipheriv("aes-128-gcm", this.#key, frame.subarray(8, 32), { authTagLength: TAG_SIZE });
    cipher.setAAD(frame.subarray(0, size));
    cipher.final();
    frame.set(cipher.getAuthTag(), size);
    return size + TAG_SIZE;
  }
}

/** An answer in a sealed session that the collector did not seal. */
export class UnprovedError extends Error {
  constructor() {
    super(
      "its answer is not sealed as it should be: either secret, key epoch or audience are not the collector's, " +
        "or something between answers in its place",
    );
    this.name = "UnprovedError";
  }
}

/** The keys of one connection, which its first ack makes. */
export class Session {
  readonly secret: Secret;
  readonly #source: Buffer;
  readonly #random: Buffer;
  #down: Buffer | undefined;
  up: EventsKey | undefined;

  constructor(secret: Secret, source: bigint, random: Buffer = randomBytes(16)) {
    this.secret = secret;
    this.#source = Buffer.alloc(8);
    this.#source.writeBigUInt64LE(source);
    this.#random = random;
  }

  hello(ms: number): Buffer {
    const frame = Buffer.alloc(HEADER_SIZE + 32);
    putHeader(frame, HELLO, SEALED | (this.secret.epoch << 2), frame.length, 0, this.secret.stream, ms, this.#source.readBigUInt64LE(), 0, 0);
    frame.set(this.#random, HEADER_SIZE);
    frame.set(controlTag(this.secret.derive(2), frame.subarray(0, HEADER_SIZE + 16)), HEADER_SIZE + 16);
    return frame;
  }

  /** Throws where the collector did not write this frame. The first is an ack, or a refusal, which nothing can have sealed yet. */
  check(frame: Frame): void {
    if (!this.#down) {
      if (frame.type === REFUSAL && !frame.sealed) return;
      if (frame.type !== ACK || !frame.sealed) throw new UnprovedError();
      const { random } = frame.ack();
      if (random.length !== 16) throw new ForeignError();
      this.#down = this.secret.derive(4, this.#source, this.#random, random);
      this.up = new EventsKey(this.secret.epoch, this.secret.derive(3, this.#source, this.#random, random));
    }
    const end = frame.bytes.length - TAG_SIZE;
    if (
      !frame.sealed ||
      frame.epoch !== this.secret.epoch ||
      !timingSafeEqual(controlTag(this.#down, frame.bytes.subarray(0, end)), frame.bytes.subarray(end))
    ) {
      throw new UnprovedError();
    }
  }
}

function controlTag(key: Buffer, frame: Buffer): Buffer {
  return createHmac("sha256", key).update(frame).digest().subarray(0, TAG_SIZE);
}
