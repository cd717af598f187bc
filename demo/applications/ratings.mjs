// Book ratings: an ordinary HTTP server that knows of no mesh.
//
//   node ratings.mjs '{"uid", "port"}'
import { createServer } from "node:http";

const { uid, port } = JSON.parse(process.argv[2] ?? "{}");
process.setgroups([]);
process.setgid(uid);
process.setuid(uid);

createServer(({ headers }, response) => {
  response.setHeader("content-type", "application/json");
  response.end(`${JSON.stringify({ service: "ratings", average: 4.8, client: headers["x-forwarded-client-cert"] ?? "unknown" }, undefined, 2)}\n`);
}).listen(port, "::", () => process.stdout.write("listening\n"));
