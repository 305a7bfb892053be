/** Frames as bytes: wire/SPEC.md, sections 2, 6 and 7. No I/O, no clock. */

export const MAGIC = 0x454c;
export const HEADER_SIZE = 40;
export const TAG_SIZE = 16;
export const EVENT_MAX = 25;
/** The smallest datagram or frame: it holds any one event. */
export const SIZE_MIN = HEADER_SIZE + EVENT_MAX;
export const FRAME_MAX = 65535;
export const STREAM_MAX = 65534;
export const AT_MAX = 2 ** 24 - 1;
export const DWELL_MAX = 2 ** 24 - 1;
export const TIME_MAX = 2 ** 48 - 1;
export const NUMBER_MAX = 2 ** 48;
export const EVENTS = 1;
export const HELLO = 2;
export const ACK = 3;
export const REFUSAL = 4;
export const NAMES = 5;
/** Bytes of a name in front of its text. */
export const NAME_HEAD = 11;
export const NAME_MAX = 512;
/** What is said of a content, by number. */
export const ATTRIBUTES = ["name", "title", "section", "author", "published", "words"] as const;
export const SEALED = 1;
export const FINAL = 2;

/** Why a collector refuses: the closed list of section 9. */
const words = new Set(
  (
    "short magic version type flags size count stream number length inherit kind progress name body sealed unsealed time " +
    "unexpected truncated rest sequence position sources connections idle credit forgotten"
  ).split(" "),
);

/** Writes a header to the start of a frame. */
export function putHeader(
  frame: Buffer,
  type: number,
  flags: number,
  size: number,
  count: number,
  stream: number,
  ms: number,
  source: bigint,
  sequence: number,
  position: number,
): void {
  frame.writeUInt16LE(MAGIC, 0);
  frame[2] = 0x10 | type;
  frame[3] = flags;
  frame.writeUInt16LE(size, 4);
  frame.writeUInt16LE(count, 6);
  frame.writeUInt16LE(stream, 8);
  frame.writeUIntLE(ms, 10, 6);
  frame.writeBigUInt64LE(source, 16);
  frame.writeUIntLE(sequence, 24, 6);
  frame.writeUInt16LE(0, 30);
  frame.writeUIntLE(position, 32, 6);
  frame.writeUInt16LE(0, 38);
}

/** An answer that no collector gives. */
export class ForeignError extends Error {
  constructor() {
    super("it does not answer like a collector; check the address");
    this.name = "ForeignError";
  }
}

/** A collector's refusal. It has closed the connection; frames before sequence were read. */
export class RefusedError extends Error {
  readonly word: string;
  readonly text: string;
  readonly source: bigint;
  readonly sequence: number;

  constructor(word: string, text: string, source: bigint, sequence: number) {
    super(`the collector refused the connection or a frame: ${word}` + (text && `: ${JSON.stringify(text)}`));
    this.name = "RefusedError";
    this.word = word;
    this.text = text;
    this.source = source;
    this.sequence = sequence;
  }
}

/** What a collector acknowledges. */
export interface Ack {
  source: bigint;
  /** Every frame before this sequence is durable. */
  durable: number;
  /** Bytes that may be in flight. */
  credit: number;
  /** That it speaks for. */
  spool: number;
  final: boolean;
  /** The collector's, in a sealed session. */
  random: Buffer;
}

/** A whole frame that a collector sent. */
export class Frame {
  readonly bytes: Buffer;
  readonly type: number;
  readonly sealed: boolean;
  readonly epoch: number;
  readonly source: bigint;

  constructor(bytes: Buffer) {
    this.bytes = bytes;
    this.type = bytes[2]! & 15;
    this.sealed = (bytes[3]! & SEALED) !== 0;
    this.epoch = (bytes[3]! >> 2) & 3;
    this.source = bytes.readBigUInt64LE(16);
  }

  private body(): Buffer {
    return this.bytes.subarray(HEADER_SIZE, this.bytes.length - (this.sealed ? TAG_SIZE : 0));
  }

  ack(): Ack {
    const body = this.body();
    const durable = body.length === (this.sealed ? 32 : 16) ? body.readBigUInt64LE(0) : 1n << 63n;
    if (durable > BigInt(NUMBER_MAX)) throw new ForeignError();
    return {
      source: this.source,
      durable: Number(durable),
      credit: Number(body.readBigUInt64LE(8)), // more than 2^53 is as good as without bound
      spool: Number(this.bytes.readBigUInt64LE(32)),
      final: (this.bytes[3]! & FINAL) !== 0,
      random: body.subarray(16),
    };
  }

  refusal(): RefusedError {
    const body = this.body();
    const end = 1 + (body[0] ?? 0);
    const word = body.toString("latin1", 1, end);
    if (end > body.length || body.length - end > 255 || !words.has(word)) throw new ForeignError();
    return new RefusedError(word, body.toString("utf8", end), this.source, Number(this.bytes.readBigUInt64LE(24)));
  }
}

/** Takes the whole frames off the front of what a collector sent. Returns them, and what is left. */
export function split(data: Buffer): [Frame[], Buffer] {
  const frames: Frame[] = [];
  while (data.length >= HEADER_SIZE) {
    const type = data[2]!;
    const flags = data[3]!;
    const size = data.readUInt16LE(4);
    const least = HEADER_SIZE + (flags & SEALED ? TAG_SIZE : 0);
    if (
      data.readUInt16LE(0) !== MAGIC ||
      (type !== (0x10 | ACK) && type !== (0x10 | REFUSAL)) ||
      flags & ~(type === (0x10 | ACK) ? 15 : 13) ||
      (!(flags & SEALED) && flags & 12) ||
      size <= least ||
      size > 1024 ||
      data.readUInt16LE(6) !== 0
    ) {
      throw new ForeignError();
    }
    if (data.length < size) break;
    frames.push(new Frame(data.subarray(0, size)));
    data = data.subarray(size);
  }
  return [frames, data];
}
