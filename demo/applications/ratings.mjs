// Book ratings: an ordinary HTTP server that knows of no mesh.
//
//   node ratings.mjs '{"place", "uid", "port"}'
//
// /place   one line: where it runs
// else     what it is, and what it sees of its caller
import { createServer } from "node:http";

const { place, uid, port } = JSON.parse(process.argv[2] ?? "{}");
process.setgroups([]);
process.setgid(uid);
process.setuid(uid);

createServer(({ headers, url }, response) => {
  if (new URL(url, "http://ratings").pathname === "/place") {
    response.setHeader("content-type", "text/plain");
    response.end(`ratings on ${place}\n`);
    return;
  }
  response.setHeader("content-type", "application/json");
  response.end(`${JSON.stringify({ service: "ratings", average: 4.8, client: headers["x-forwarded-client-cert"] ?? "unknown" }, undefined, 2)}\n`);
}).listen(port, "::", () => process.stdout.write("listening\n"));
