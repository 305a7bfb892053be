/** A socket that takes datagrams and tells its port. */

import { createSocket } from "node:dgram";

const socket = createSocket("udp4");
socket.bind(0, "127.0.0.1", () => process.send!(socket.address().port));
