// Book reviews: an ordinary HTTP server that knows of no mesh.
//
//   node reviews.mjs '{"version", "uid", "port"}'
//
// /         what it is, and what it was told about its caller
// /version  one line
// /flaky    answers 503 twice to each `key`, then 200
// /slow     answers after three seconds
import { createServer } from "node:http";

const { version, uid, port } = JSON.parse(process.argv[2] ?? "{}");
process.setgroups([]);
process.setgid(uid);
process.setuid(uid);

const FAILURES_BEFORE_SUCCESS = 2;
const SLOW_MS = 3_000;
const MAX_KEYS = 1_000;
const attempts = new Map();

function answer(response, status, body) {
  response.writeHead(status, { "content-type": "text/plain" });
  response.end(`${body}\n`);
}

function countAttempt(key) {
  if (attempts.size >= MAX_KEYS) attempts.clear();
  const count = (attempts.get(key) ?? 0) + 1;
  attempts.set(key, count);
  return count;
}

const pages = {
  "/": ({ headers }, response) =>
    answer(response, 200, JSON.stringify({ service: "reviews", version, stars: 5, client: headers["x-forwarded-client-cert"] ?? "unknown" }, undefined, 2)),
  "/version": (_, response) => answer(response, 200, `reviews ${version}`),
  "/flaky": ({ url }, response) => {
    const attempt = countAttempt(url);
    if (attempt <= FAILURES_BEFORE_SUCCESS) answer(response, 503, `attempt ${attempt} failed`);
    else answer(response, 200, `reviews ${version}: attempt ${attempt} succeeded`);
  },
  "/slow": (_, response) => setTimeout(() => answer(response, 200, "finally"), SLOW_MS),
};

createServer((request, response) => {
  const page = pages[new URL(request.url, "http://reviews").pathname];
  if (page === undefined) answer(response, 404, "no such page");
  else page(request, response);
}).listen(port, "::", () => process.stdout.write("listening\n"));
