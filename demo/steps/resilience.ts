import assert from "node:assert/strict";
import { randomBytes } from "node:crypto";
import { waitUntil } from "../../test/support/wait-until.ts";
import { WEB } from "../mesh.ts";
import type { Step } from "../step.ts";

const RULES = `apiVersion: networking.istio.io/v1
kind: VirtualService
metadata: {name: reviews, namespace: default}
spec:
  hosts: [reviews]
  http:
  - match: [{headers: {x-demo: {exact: abort}}}]
    fault: {abort: {httpStatus: 418, percentage: {value: 100}}}
    route: [{destination: {host: reviews, subset: v1}}]
  - match: [{headers: {x-demo: {exact: delay}}}]
    fault: {delay: {fixedDelay: 1s, percentage: {value: 100}}}
    route: [{destination: {host: reviews, subset: v1}}]
  - match: [{uri: {prefix: /slow}}]
    timeout: 500ms
    route: [{destination: {host: reviews, subset: v1}}]
  - match: [{uri: {prefix: /flaky}}]
    retries: {attempts: 3, retryOn: 5xx}
    route: [{destination: {host: reviews, subset: v1}}]
  - match: [{uri: {prefix: /no-retry}}]
    rewrite: {uri: /flaky}
    retries: {attempts: 0}
    route: [{destination: {host: reviews, subset: v1}}]
  - route: [{destination: {host: reviews, subset: v1}}]
`;

const BASE = "http://reviews.default:8080";
/** Envoy's timers count from the start of its loop's turn, which may be some milliseconds before the request. */
const LEAST_DELAY_SECONDS = 0.9;
const STATUS = ["-w", "(HTTP %{http_code} after %{time_total} s)\n"];

export const resilience: Step = {
  title: "A fault, a delay, a timeout and retries, without a change to any application",
  async run({ narrator, terminal }) {
    await terminal.ironmesh(["apply", "-f", "-"], { input: RULES });
    const status = async (args: readonly string[]): Promise<string> => (await terminal.quietCurl(WEB, ["-o", "/dev/null", "-w", "%{http_code}", ...args])).stdout;
    await waitUntil(async () => (await status(["-H", "x-demo: abort", `${BASE}/version`])) === "418", { what: "the fault to take effect" });

    assert.match(await terminal.curl(WEB, ["-H", "x-demo: abort", ...STATUS, `${BASE}/version`]), /HTTP 418/);
    narrator.proof("the fault answers in the server's place");

    const delayed = await terminal.curl(WEB, ["-H", "x-demo: delay", ...STATUS, `${BASE}/version`]);
    assert.match(delayed, /HTTP 200/);
    assert.ok(Number(/after ([\d.]+) s/.exec(delayed)?.[1]) >= LEAST_DELAY_SECONDS, "the answer came without the delay");
    narrator.proof("the delay holds an answer back by a second");

    assert.match(await terminal.curl(WEB, [...STATUS, `${BASE}/slow`]), /HTTP 504/);
    narrator.proof("a server that needs three seconds is given up after half of one");

    const key = randomBytes(4).toString("hex");
    assert.match(await terminal.curl(WEB, [...STATUS, `${BASE}/no-retry?${key}`]), /HTTP 503/);
    assert.match(await terminal.curl(WEB, [...STATUS, `${BASE}/flaky?${randomBytes(4).toString("hex")}`]), /attempt 3 succeeded[^]*HTTP 200/);
    narrator.proof("a server that fails twice is asked a third time; its caller sees one good answer");
  },
};
