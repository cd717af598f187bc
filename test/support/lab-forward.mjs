/**
 * node lab-forward.mjs PORT PATH: a port of this host's loopback that leads to a
 * unix socket, and so out of the host's network namespace.
 */
import { connect, createServer } from "node:net";

const [port, path] = process.argv.slice(2);
const server = createServer((incoming) => {
  const outgoing = connect(path);
  for (const [from, to] of [[incoming, outgoing], [outgoing, incoming]]) {
    from.pipe(to);
    from.on("error", () => to.destroy());
    from.on("close", () => to.destroy());
  }
});
server.listen(Number(port), "127.0.0.1", () => console.log("listening"));
