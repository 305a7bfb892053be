/**
 * Events a second of CPU time into datagrams, beside hot-shots doing the same job in the same run.
 *
 * Both count reads of 1,000 contents by 10,000 readers, an open and then a heartbeat with its dwell and progress, over UDP to a
 * socket of another process on this machine. CPU time is of the whole process, V8's threads included.
 */

import { fork } from "node:child_process";
import { once } from "node:events";
import { dial, id } from "../src/index.js";

const ROUNDS = 5;
const EVENTS = 1_000_000;
/** After so many events the event loop has its turn, as it does in a server. */
const TURN = 5000;

type Reads = [content: bigint, user: bigint][];
const turn = (): Promise<void> => new Promise((resolve) => setImmediate(resolve));

async function ours(port: number, reads: Reads): Promise<void> {
  const out = await dial(`udp://127.0.0.1:${port}`);
  const details = { dwell: 10_000, progress: 50 };
  for (let i = 0; i < reads.length; i++) {
    const [content, user] = reads[i]!;
    out.open(content, user);
    out.read(content, user, details);
    if (i % TURN === 0) await turn();
  }
  await out.close();
  const s = out.stats();
  if (s.added !== 2 * reads.length || s.sent + s.socket !== s.added) throw new Error(JSON.stringify(s));
}

async function statsd(port: number, reads: Reads): Promise<void> {
  const { default: StatsD } = await import("hot-shots");
  const out = new StatsD({ host: "127.0.0.1", port, maxBufferSize: 1400, bufferFlushInterval: 250 });
  const tags = new Map(reads.map(([content]) => [content, [`content:${content}`]]));
  for (let i = 0; i < reads.length; i++) {
    const tag = tags.get(reads[i]![0])!;
    out.increment("reads.open", 1, tag);
    out.distribution("reads.dwell", 10_000, tag);
    if (i % TURN === 0) await turn();
  }
  await new Promise((resolve) => out.close(resolve));
}

async function rate(send: (port: number, reads: Reads) => Promise<void>, port: number, reads: Reads): Promise<number> {
  const begin = process.cpuUsage();
  await send(port, reads);
  const { user, system } = process.cpuUsage(begin);
  return (2 * reads.length) / ((user + system) / 1e6);
}

let seed = 1;
const random = (): number => (seed = (seed * 48271) % 2147483647) / 2147483647;
const contents = Array.from({ length: 1000 }, (_, i) => id(`/content/${i}`));
const users = Array.from({ length: 10_000 }, (_, i) => id(`reader-${i}`));
const reads: Reads = Array.from({ length: EVENTS / 2 }, () => [contents[Math.floor(1000 * random() ** 3)]!, users[Math.floor(10_000 * random())]!]);

// Another process has the socket, for that what it costs there is not in these figures.
const nobody = fork(new URL("nobody.js", import.meta.url));
const [port] = (await once(nobody, "message")) as [number];
let lectern = 0;
let other = 0;
for (let i = 0; i < ROUNDS; i++) {
  // In turn, for that both have the same neighbours on the machine.
  lectern = Math.max(lectern, await rate(ours, port, reads));
  other = Math.max(other, await rate(statsd, port, reads.slice(0, reads.length / 10)));
}
console.log("lectern", Math.round(lectern));
console.log("hot-shots", Math.round(other));
nobody.kill();
