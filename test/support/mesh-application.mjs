// An ordinary server of several protocols that says what reached it.
//
//   node mesh-application.mjs '{"name", "uid", "http"?: [ports], "http2"?: [ports], "tcp"?: [ports]}'
//
// http and http2 answer with JSON: {name, peer, headers}. tcp speaks first
// ("NAME says hello"), then echoes. Every connection is a line on standard
// output: "connection PORT PEER"; the first line is "listening".
import { createServer as createHttpServer } from "node:http";
import { createServer as createHttp2Server } from "node:http2";
import { createServer as createTcpServer } from "node:net";

const { name, uid, http = [], http2 = [], tcp = [] } = JSON.parse(process.argv[2] ?? "{}");
process.setgroups([]);
process.setgid(uid);
process.setuid(uid);

function answer(request, response) {
  const { method, url: path, headers, socket } = request;
  response.setHeader("content-type", "application/json");
  response.end(JSON.stringify({ name, method, path, peer: socket.remoteAddress, version: request.httpVersion, headers }));
}

function greet(socket) {
  socket.on("error", () => {});
  socket.write(`${name} says hello\n`);
  socket.pipe(socket);
}

const servers = [
  ...http.map((port) => [port, createHttpServer(answer)]),
  ...http2.map((port) => [port, createHttp2Server(answer)]),
  ...tcp.map((port) => [port, createTcpServer(greet)]),
];

await Promise.all(
  servers.map(
    ([port, server]) =>
      new Promise((resolve, reject) => {
        server.on("connection", (socket) => console.log(`connection ${port} ${socket.remoteAddress}`));
        server.once("error", reject);
        server.listen(port, "::", resolve);
      }),
  ),
);
console.log("listening");
