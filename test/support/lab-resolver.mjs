// A resolver of a company: it knows the names that it is given, and says of all others that there are none.
//
//   node lab-resolver.mjs ADDRESS '{"name": "address", …}'
import { createSocket } from "node:dgram";
import { isIPv4 } from "node:net";
import packet from "dns-packet";

const NXDOMAIN = 3;
const [, , address, names] = process.argv;
const known = new Map(Object.entries(JSON.parse(names)));

const socket = createSocket("udp4");
socket.on("message", (message, client) => {
  const { id, questions } = packet.decode(message);
  const [question] = questions;
  const data = known.get(question.name.toLowerCase());
  const answers = data !== undefined && question.type === (isIPv4(data) ? "A" : "AAAA") ? [{ type: question.type, name: question.name, ttl: 1, data }] : [];
  socket.send(packet.encode({ type: "response", id, flags: packet.RECURSION_DESIRED | packet.RECURSION_AVAILABLE | (data === undefined ? NXDOMAIN : 0), questions, answers }), client.port, client.address);
});
socket.bind(53, address);
