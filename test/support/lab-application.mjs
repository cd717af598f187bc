// A small server that knows of no mesh: it says who it is and whom it saw.
//
//   node lab-application.mjs '{"name", "uid", "listeners": [{"port", "address"?, "kind", "relayTo"?}]}'
//
// Prints one line when every port listens. Its options are the type
// LabApplicationOptions in network-lab.ts.
import { createSocket } from "node:dgram";
import { createServer as createHttpServer } from "node:http";
import { connect, createServer } from "node:net";

const { name, uid, listeners } = JSON.parse(process.argv[2] ?? "{}");
process.setgroups([]);
process.setgid(uid);
process.setuid(uid);

const peerOf = (socket) => (socket.remoteAddress ?? "").replace(/^::ffff:/, "");

const servers = {
  http: () =>
    createHttpServer((request, response) => {
      const { method, url: path, headers, socket } = request;
      response.setHeader("content-type", "application/json");
      response.end(`${JSON.stringify({ name, port: socket.localPort, peer: peerOf(socket), method, path, headers })}\n`);
    }),
  tcp: () =>
    createServer((socket) => {
      socket.on("error", () => {});
      socket.write(`${name} ${peerOf(socket)}\n`);
      socket.pipe(socket);
    }),
  relay: ({ relayTo }) =>
    createServer((socket) => {
      socket.write(`${name} ${peerOf(socket)}\n`);
      const onward = connect(relayTo);
      socket.pipe(onward).pipe(socket);
      socket.on("error", () => onward.destroy());
      onward.on("error", () => socket.destroy());
    }),
};

function listenForDatagrams({ address, port }, resolve, reject) {
  const socket = createSocket(address.includes(":") ? "udp6" : "udp4");
  socket.on("error", reject);
  socket.on("message", (_, peer) => socket.send(`${name} ${peer.address}`, peer.port, peer.address));
  socket.bind(port, address, resolve);
}

await Promise.all(
  listeners.map(
    (listener) =>
      new Promise((resolve, reject) => {
        if (listener.kind === "udp") return listenForDatagrams(listener, resolve, reject);
        const server = servers[listener.kind](listener);
        server.once("error", reject);
        server.listen({ port: listener.port, host: listener.address ?? "::" }, resolve);
        return undefined;
      }),
  ),
);
process.stdout.write("listening\n");
