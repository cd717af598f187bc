import assert from "node:assert/strict";
import { waitUntil } from "../../test/support/wait-until.ts";
import { RATINGS, WEB } from "../mesh.ts";
import type { Step } from "../step.ts";

const POLICY = `apiVersion: security.istio.io/v1
kind: AuthorizationPolicy
metadata: {name: reviews, namespace: default}
spec:
  selector: {matchLabels: {app: reviews}}
  action: ALLOW
  rules:
  - from: [{source: {principals: ["mesh.internal/ns/default/sa/ratings"]}}]
    to: [{operation: {methods: [GET]}}]
`;

const URL = "http://reviews.default:8080/version";
const STATUS = ["-w", " (HTTP %{http_code})\n"];

export const authorization: Step = {
  title: "A policy names who may call: ratings may, web may not",
  async run({ narrator, terminal }) {
    await terminal.ironmesh(["delete", "VirtualService", "default/reviews"]);
    await terminal.ironmesh(["apply", "-f", "-"], { input: POLICY });
    const statusesOfWeb = async (): Promise<string[]> => {
      const { stdout } = await terminal.quietCurl(WEB, ["-o", "/dev/null", "-w", "%{http_code}\n", `${URL}?[1-20]`]);
      return stdout.trim().split("\n");
    };
    await waitUntil(async () => (await statusesOfWeb()).every((status) => status === "403"), { what: "the policy to hold on both hosts" });

    assert.match(await terminal.curl(WEB, [...STATUS, URL]), /HTTP 403/);
    narrator.proof("web is refused, whichever host it reaches");
    assert.match(await terminal.curl(RATINGS, [...STATUS, URL]), /HTTP 200/);
    narrator.proof("ratings is let in: the second application of vm3, with an identity of its own");
    assert.match(await terminal.curl(RATINGS, ["-X", "DELETE", ...STATUS, URL]), /HTTP 403/);
    narrator.proof("but only to GET");

    await terminal.ironmesh(["delete", "AuthorizationPolicy", "default/reviews"]);
    await waitUntil(async () => (await statusesOfWeb()).every((status) => status === "200"), { what: "web to be let in again" });
    narrator.proof("without the policy web is let in again");
  },
};
