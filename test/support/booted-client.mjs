// An ordinary client as a service: looks its name up once, then asks again and
// again, each time over a new connection, and prints a line of JSON for each try.
//
//   node booted-client.mjs URL
import { lookup } from "node:dns/promises";
import { request } from "node:http";
import { setTimeout as sleep } from "node:timers/promises";

const url = new URL(process.argv[2] ?? "");
const PAUSE_MS = 25;
const TIMEOUT_MS = 10_000;

/** The status and, where the application echoes it, whom its proxy took us for. */
function ask(address) {
  return new Promise((resolve) => {
    const call = request(url, { agent: false, timeout: TIMEOUT_MS, hostname: address, headers: { host: url.host } }, (response) => {
      let body = "";
      response.setEncoding("utf8");
      response.on("data", (text) => (body += text));
      response.on("error", (error) => resolve({ error: error.code ?? error.message }));
      response.on("end", () => resolve({ status: response.statusCode, caller: callerIn(body) }));
    });
    call.on("timeout", () => call.destroy(new Error("timeout")));
    call.on("error", (error) => resolve({ error: error.code ?? error.message }));
    call.end();
  });
}

function callerIn(body) {
  try {
    return /URI=([^;]*)/.exec(JSON.parse(body).headers["x-forwarded-client-cert"] ?? "")?.[1] ?? "nobody";
  } catch {
    return "nobody";
  }
}

let address;
for (;;) {
  let answer;
  try {
    address ??= (await lookup(url.hostname, { family: 4 })).address;
    answer = await ask(address);
  } catch (error) {
    answer = { error: error.code ?? error.message };
  }
  process.stdout.write(`${JSON.stringify({ pid: process.pid, ...answer })}\n`);
  await sleep(PAUSE_MS);
}
