/** test log: sends the events of its standard input. */

import { createInterface } from "node:readline";
import { Kind, dial, id } from "../src/index.js";

const [way, address, stream] = process.argv.slice(2) as [string, string, string];
const out = await dial(`${way}://${address}`, { stream: Number(stream) });
let n = 0;
for await (const line of createInterface({ input: process.stdin })) {
  const [at, kind, content, user] = line.split("\t") as [string, keyof typeof Kind, string, string];
  out.add(Kind[kind], id(content), id(user), { at: Number(at) });
  const about = { title: `Title of ${content}`, section: "Log", author: "A. Writer", published: 1767225600000, words: 1200 };
  while (!out.name(content) || !out.describe(id(content), about)) await new Promise((resolve) => setTimeout(resolve, 1));
  if (way === "udp" && ++n % 200 === 0) await new Promise((resolve) => setTimeout(resolve, 1));
}
const ok = await out.close(60_000);
const s = out.stats();
const keys = ["added", "sent", "acked", "buffered", "queue", "socket", "closed", "refused", "unsure"] as const;
console.log("ok", keys.map((k) => `${k}=${s[k]}`).join(" "));
process.exitCode = ok ? 0 : 1;
