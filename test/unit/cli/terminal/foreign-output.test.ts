import assert from "node:assert/strict";
import { parse } from "yaml";
import { CodedError } from "../../../../base/coded-error.ts";
import { silentLogger } from "../../../../base/logger.ts";
import { buildProgram } from "../../../../cli/program.ts";
import { renderFailure } from "../../../../cli/terminal/failure.ts";
import { renderValue } from "../../../../cli/terminal/output.ts";

const ESCAPES = "vm\u001b[2J\u009b1;1H\u001b]0;owned\u0007\u007f";
/** What a terminal would obey: all controls but the line end. */
// oxlint-disable-next-line no-control-regex
const OBEYED = /[\u0000-\u0009\u000b-\u001f\u007f-\u009f]/;

/** What a command prints where the API answers with this. */
async function printed(answer: unknown, ...args: string[]): Promise<string> {
  const lines: string[] = [];
  const program = buildProgram({
    api: () => ({ get: async () => answer, send: async () => assert.fail("nothing is sent") }),
    print: (text) => void lines.push(text),
    complain: (text) => assert.fail(text),
    readInput: async () => "",
    setExitCode: () => {},
    logger: () => silentLogger,
  });
  await program.exitOverride().parseAsync(args, { from: "user" });
  return lines.join("\n");
}

describe("what hosts say, on a terminal", () => {
  const host = { id: "h1", name: ESCAPES, state: "connected", addresses: [`${ESCAPES}\nh2  db-1`], workloads: [], envoyVersion: "1", lastSeen: "now", issues: [] };

  it("cannot reach it, nor make a row, through a table", async () => {
    const text = await printed([host], "get", "hosts");
    assert.doesNotMatch(text, OBEYED);
    assert.match(text, /vm\?\[2J\?1;1H/);
    assert.equal(text.split("\n").length, 2);
  });

  it("cannot reach it through notes and rejections", async () => {
    const service = { namespace: "a", name: "b", hostname: "c", ports: [], vips: [], registry: "r", registries: ["r"], endpoints: { healthy: 0, total: 0 }, notes: [ESCAPES] };
    assert.doesNotMatch(await printed([service], "get", "services"), OBEYED);
    const proxy = { host: "h1", hostName: ESCAPES, connected: true, types: [{ type: "clusters", state: "REJECTED", resources: 1, error: `one\n${ESCAPES}`, causes: [] }] };
    const text = await printed([proxy], "proxy-status");
    assert.doesNotMatch(text, OBEYED);
    assert.match(text, / {2}one\n {2}vm\?/);
  });

  it("cannot reach it through the reason that an endpoint is not healthy", async () => {
    const endpoint = { service: "a/b", servicePort: 80, address: "10.0.0.1", additionalAddresses: [], port: 80, workload: "b", health: "unhealthy", detail: ESCAPES, meshed: true, identity: "", locality: "", registry: "hosts" };
    const text = await printed([endpoint, { ...endpoint, servicePort: 81 }, { ...endpoint, workload: "c", health: "healthy", detail: "" }], "get", "endpoints");
    assert.doesNotMatch(text, OBEYED);
    assert.equal(text.split("b at 10.0.0.1:80 is unhealthy: vm?").length, 2, "once for all services");
    assert.doesNotMatch(text, /is healthy/);
  });

  it("cannot reach it through an error", () => {
    const failure = new CodedError("MESH_X", `no host ${ESCAPES}`, { cause: new Error(ESCAPES), hint: "look" });
    assert.doesNotMatch(renderFailure(failure), OBEYED);
    assert.match(renderFailure(failure), /^ironmesh: MESH_X: no host vm.*\n {2}look$/);
    const told = (message: string): string => renderFailure(new CodedError("MESH_X", message, { cause: new Error("refused\n") }));
    assert.equal(told("no answer"), "ironmesh: MESH_X: no answer: refused");
    assert.equal(told("no answer: refused"), "ironmesh: MESH_X: no answer: refused", "a cause that the message has is not told twice");
  });

  for (const format of ["json", "yaml"] as const) {
    it(`is escaped in ${format}, and read as it was`, () => {
      const value = { [ESCAPES]: [ESCAPES, "grün"] };
      const text = renderValue(value, format);
      assert.doesNotMatch(text, OBEYED);
      assert.deepEqual(parse(text), value);
    });
  }
});
