/**
 * Sends read events to a Lectern collector.
 *
 * Over UDP nothing waits and nothing is resent; what is lost shows in the collector's books. Over TCP every event is kept
 * until the collector has it on its disk, and is sent again, over new connections, until then.
 *
 * @module
 */

import { TCP, type TCPOptions } from "./tcp.js";
import { UDP, openSocket, type UDPOptions } from "./udp.js";

export { Emitter, Kind, type About, type CommonOptions, type Details, type Id, type Stats } from "./emitter.js";
export { id } from "./id.js";
export { TCP, type SourceEnded, type TCPOptions } from "./tcp.js";
export { UDP, type UDPOptions } from "./udp.js";
export { RefusedError } from "./wire.js";

/**
 * Resolves to an emitter for the collector at udp://host:port or tcp://host:port.
 *
 * Over UDP it rejects where the name cannot be resolved. Over TCP nothing is waited for: error of the emitter tells why
 * there is no connection.
 */
export function dial(url: `udp://${string}`, options?: UDPOptions): Promise<UDP>;
export function dial(url: `tcp://${string}`, options?: TCPOptions): Promise<TCP>;
export function dial(url: string, options?: UDPOptions & TCPOptions): Promise<UDP | TCP>;
export async function dial(url: string, options: UDPOptions & TCPOptions = {}): Promise<UDP | TCP> {
  const match = /^(udp|tcp):\/\/(\[[0-9a-fA-F:.%]+\]|[^:/[\]]+):(\d+)\/?$/.exec(url);
  const port = Number(match?.[3]);
  if (!match || port < 1 || port > 65535) throw new RangeError(`${JSON.stringify(url)} is not udp://host:port or tcp://host:port`);
  const host = match[2]!.replace(/^\[|\]$/g, "");
  return match[1] === "tcp" ? new TCP(host, port, options) : new UDP(host, port, await openSocket(host, port), options);
}
