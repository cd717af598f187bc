// Sends HTTP/1.1 requests at a constant rate over kept connections, and prints what they took as JSON.
//
//   node request-load.mjs '{"uid", "host", "port", "authority", "rate", "seconds", "connections"}'
//
// {latenciesMs, failed}: a latency counts from when the request was due, so that
// a slow answer also slows those behind it (no coordinated omission).
import { Agent, request } from "node:http";
import { setTimeout as sleep } from "node:timers/promises";

const { uid, host, port, authority, rate, seconds, connections } = JSON.parse(process.argv[2] ?? "{}");
process.setgroups([]);
process.setgid(uid);
process.setuid(uid);

const agent = new Agent({ keepAlive: true, maxSockets: connections, scheduling: "fifo" });
const latenciesMs = [];
let failed = 0;

function send(dueMs) {
  return new Promise((resolve) => {
    const call = request({ agent, host, port, path: "/", headers: { host: authority } }, (response) => {
      response.resume();
      response.on("end", () => {
        latenciesMs.push(performance.now() - dueMs);
        if (response.statusCode !== 200) failed += 1;
        resolve();
      });
    });
    call.on("error", () => {
      failed += 1;
      resolve();
    });
    call.end();
  });
}

// Connections are open before anything is counted.
await Promise.all(Array.from({ length: connections }, () => send(performance.now())));
latenciesMs.length = 0;
const startMs = performance.now();
const open = new Set();
for (let sent = 0; sent < rate * seconds; ) {
  const due = Math.min(rate * seconds, Math.floor(((performance.now() - startMs) / 1_000) * rate) + 1);
  for (; sent < due; sent += 1) {
    const call = send(startMs + (sent / rate) * 1_000).then(() => open.delete(call));
    open.add(call);
  }
  await sleep(1);
}
await Promise.all(open);
process.stdout.write(JSON.stringify({ latenciesMs, failed }), () => process.exit(0));
