import assert from "node:assert/strict";
import { waitUntil } from "../../test/support/wait-until.ts";
import { WEB } from "../mesh.ts";
import type { Step } from "../step.ts";

export const SUBSETS = `apiVersion: networking.istio.io/v1
kind: DestinationRule
metadata: {name: reviews, namespace: default}
spec:
  host: reviews
  subsets:
  - {name: v1, labels: {version: v1}}
  - {name: v2, labels: {version: v2}}
`;

const SPLIT = `${SUBSETS}---
apiVersion: networking.istio.io/v1
kind: VirtualService
metadata: {name: reviews, namespace: default}
spec:
  hosts: [reviews]
  http:
  - route:
    - {destination: {host: reviews, subset: v1}, weight: 90}
    - {destination: {host: reviews, subset: v2}, weight: 10}
`;

const REQUESTS = 200;
/** Of 200 requests at 10 %, fewer than 6 or more than 40 come once in thousands of runs. */
const SHARE_PERCENT = { least: 3, most: 20 };

export const trafficSplit: Step = {
  title: "Istio's own YAML splits traffic 90 to 10",
  async run({ narrator, terminal, proxyConfig }) {
    await terminal.ironmesh(["apply", "-f", "-"], { input: SPLIT });
    await waitUntil(async () => (await proxyConfig("routes", "vm1")).includes("|v2|reviews.default"), { what: "the route to reach vm1" });
    await waitUntil(async () => count(await sample(terminal.quietCurl), "v1") > REQUESTS / 2 + REQUESTS / 5, { what: "the split to take effect" });
    narrator.command(WEB.vm, `curl -s 'http://reviews.default:8080/version?[1-${REQUESTS}]' | sort | uniq -c`);
    const answers = await sample(terminal.quietCurl);
    const [v1, v2] = [count(answers, "v1"), count(answers, "v2")];
    narrator.output(`${String(v1).padStart(7)} reviews v1\n${String(v2).padStart(7)} reviews v2`);
    assert.equal(v1 + v2, REQUESTS, "not every request was answered");
    const percent = (100 * v2) / REQUESTS;
    assert.ok(percent >= SHARE_PERCENT.least && percent <= SHARE_PERCENT.most, `v2 got ${percent} %`);
    narrator.proof(`v2 got ${percent} % of ${REQUESTS} requests, and none failed`);
  },
};

async function sample(curl: (caller: typeof WEB, args: readonly string[]) => Promise<{ readonly stdout: string }>): Promise<string[]> {
  const { stdout } = await curl(WEB, [`http://reviews.default:8080/version?[1-${REQUESTS}]`]);
  return stdout.split("\n").filter((line) => line.startsWith("reviews "));
}

function count(answers: readonly string[], version: "v1" | "v2"): number {
  return answers.filter((line) => line === `reviews ${version}`).length;
}
