// Book details: an ordinary HTTP server that knows of no mesh, and whose host is in none.
//
//   node details.mjs '{"box", "uid", "port"}'
//
// /         what it is, and what it sees of its caller
// /box      one line: where it runs
// /health   for Consul's check
// /slow     answers after three seconds
import { createServer } from "node:http";

const { box, uid, port } = JSON.parse(process.argv[2] ?? "{}");
process.setgroups([]);
process.setgid(uid);
process.setuid(uid);

const SLOW_MS = 3_000;

const pages = {
  "/": ({ headers, socket }) => {
    const peer = socket.remoteAddress?.replace(/^::ffff:/, "");
    return JSON.stringify({ service: "details", box, pages: 200, peer, "x-request-id": headers["x-request-id"] ?? "none", client: headers["x-forwarded-client-cert"] ?? "unknown" }, undefined, 2);
  },
  "/box": () => `details on ${box}`,
  "/health": () => "well",
  "/slow": () => new Promise((resolve) => setTimeout(resolve, SLOW_MS, "finally")),
};

createServer(async (request, response) => {
  const page = pages[new URL(request.url, "http://details").pathname];
  response.writeHead(page === undefined ? 404 : 200, { "content-type": "text/plain" });
  response.end(`${page === undefined ? "no such page" : await page(request)}\n`);
}).listen(port, "::", () => process.stdout.write("listening\n"));
