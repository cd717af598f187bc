import assert from "node:assert/strict";
import { parseDocuments } from "../../../api/document.ts";
import { type IssueCode, issueCodes } from "../../../api/issue-codes.ts";
import { structuralErrors } from "../../../api/istio-schema.ts";
import type { Issue } from "../../../base/issue.ts";

const vs = (spec: string): string => `apiVersion: networking.istio.io/v1\nkind: VirtualService\nmetadata: {name: a}\nspec:\n${spec}`;
const http = (route: string): string => vs(`  hosts: [a]\n  http:\n  - ${route}`);
const routed = (rest: string): string => http(`{route: [{destination: {host: a}}], ${rest}}`);
const dr = (spec: string): string => `apiVersion: networking.istio.io/v1\nkind: DestinationRule\nmetadata: {name: a}\nspec: {host: a, ${spec}}`;
const se = (spec: string): string => `apiVersion: networking.istio.io/v1\nkind: ServiceEntry\nmetadata: {name: a}\nspec: {hosts: [a.example], ports: [{number: 80, name: http}], ${spec}}`;
const ap = (spec: string): string => `apiVersion: security.istio.io/v1\nkind: AuthorizationPolicy\nmetadata: {name: a}\nspec: {${spec}}`;
const pa = (spec: string): string => `apiVersion: security.istio.io/v1\nkind: PeerAuthentication\nmetadata: {name: a}\nspec: {${spec}}`;
const source = (rest: string): string => ap(`rules: [{from: [{source: {${rest}}}]}]`);
const operation = (rest: string): string => ap(`rules: [{to: [{operation: {${rest}}}]}]`);

/** What is written, the issue that it gets, and the path of the issue. */
const cases: readonly (readonly [IssueCode, string, path: string])[] = [
  ["IM0101", "a: [", ""],
  ["IM0101", "a: !secret x", ""],
  ["IM0101", "? [a]\n: b", ""],
  ["IM0101", "a: .nan", ""],
  ["IM0101", "a: *nowhere", ""],
  ["IM0101", "__proto__: {a: b}", ""],
  ["IM0101", "<<: 3", ""],
  ["IM0102", "a: &a [*a]", ""],
  ["IM0103", "kind: a\nkind: b", ""],
  ["IM0104", "- a", ""],
  ["IM0104", "knid: VirtualService\napiVersion: networking.istio.io/v1", ""],
  ["IM0105", "apiVersion: networking.istio.io/v9\nkind: VirtualService", "apiVersion"],
  ["IM0105", "apiVersion: security.istio.io/v1alpha3\nkind: PeerAuthentication", "apiVersion"],
  ["IM0106", "apiVersion: networking.istio.io/v1\nkind: Sidecar", "kind"],
  ["IM0107", "apiVersion: networking.istio.io/v1\nkind: VirtualServise", "kind"],
  ["IM0108", "apiVersion: apps/v1\nkind: Deployment", "kind"],
  ["IM0108", "apiVersion: serving.knative.dev/v1\nkind: Service", "kind"],
  ["IM0109", "apiVersion: networking.istio.io/v1\nkind: WorkloadEntry\nspec: {address: 192.0.2.1}", ""],
  ["IM0109", "apiVersion: networking.istio.io/v1\nkind: WorkloadEntry\nmetadata: {name: a, namespace: A}\nspec: {address: 192.0.2.1}", "metadata.namespace"],
  ["IM0110", routed("tiemout: 5s"), "spec.http[0].tiemout"],
  ["IM0110", vs("  constructor: {}"), "spec.constructor"],
  ["IM0111", routed("timeout: 5"), "spec.http[0].timeout"],
  ["IM0111", vs("  hosts: a"), "spec.hosts"],
  ["IM0111", pa("selector: "), "spec.selector"],
  ["IM0112", vs("  hosts: []\n  http: [{route: [{destination: {host: a}}]}]"), "spec.hosts"],
  ["IM0112", http("timeout: 5s"), "spec.http[0]"],
  ["IM0112", source(""), "spec.rules[0].from[0].source"],
  ["IM0112", source("principals: []"), "spec.rules[0].from[0].source.principals"],
  ["IM0112", se("resolution: STATIC"), "spec"],
  ["IM0113", pa("mtls: {mode: STRIKT}"), "spec.mtls.mode"],
  ["IM0113", routed("retries: {retryOn: 5xy}"), "spec.http[0].retries.retryOn"],
  ["IM0113", routed("fault: {abort: {grpcStatus: GONE, percentage: {value: 1}}}"), "spec.http[0].fault.abort.grpcStatus"],
  ["IM0114", http("{match: [{sourceLabels: {a: b}}], route: [{destination: {host: a}}]}"), "spec.http[0].match[0].sourceLabels"],
  ["IM0114", ap('rules: [{when: [{key: a, values: [b]}]}]'), "spec.rules[0].when"],
  ["IM0114", source("requestPrincipals: [a]"), "spec.rules[0].from[0].source.requestPrincipals"],
  ["IM0114", ap("}\nstatus: {").replace("{name: a}", '{name: a, annotations: {istio.io/dry-run: "true"}}'), 'metadata.annotations["istio.io/dry-run"]'],
  ["IM0115", dr("trafficPolicy: {retryBudget: {percent: 10}}"), "spec.trafficPolicy.retryBudget"],
  ["IM0116", vs('  hosts: [a]\n  exportTo: ["."]\n  http: [{route: [{destination: {host: a}}]}]'), "spec.exportTo[0]"],
  ["IM0116", ap("action: AUDIT"), "spec.action"],
  ["IM0116", operation('paths: ["/a/{*}/b"]'), "spec.rules[0].to[0].operation.paths[0]"],
  ["IM0120", routed("timeout: 5 s"), "spec.http[0].timeout"],
  ["IM0120", routed("timeout: 1us"), "spec.http[0].timeout"],
  ["IM0120", routed("retries: {perTryTimeout: 0s}"), "spec.http[0].retries.perTryTimeout"],
  ["IM0121", routed("fault: {delay: {fixedDelay: 1s, percentage: {value: 101}}}"), "spec.http[0].fault.delay.percentage.value"],
  ["IM0121", operation('ports: ["70000"]'), "spec.rules[0].to[0].operation.ports[0]"],
  ["IM0121", http("redirect: {redirectCode: 305}"), "spec.http[0].redirect.redirectCode"],
  ["IM0121", http(`{match: [{queryParams: {${"q".repeat(1_025)}: {}}}], route: [{destination: {host: a}}]}`), `spec.http[0].match[0].queryParams.${"q".repeat(1_025)}`],
  ["IM0121", routed(`headers: {request: {set: {${"x".repeat(16_385)}: a}}}`), `spec.http[0].headers.request.set.${"x".repeat(16_385)}`],
  ["IM0121", routed(`headers: {response: {add: {${Array.from({ length: 1_001 }, (_, index) => `x${index}: a`).join(", ")}}}}`), "spec.http[0].headers.response"],
  ["IM0122", vs("  hosts: [a_b..c]\n  http: [{route: [{destination: {host: a}}]}]"), "spec.hosts[0]"],
  ["IM0122", se("resolution: DNS").replace("a.example", '"*.example"'), "spec.hosts[0]"],
  ["IM0123", http("{match: [{uri: {regex: '(?=a)b'}}], route: [{destination: {host: a}}]}"), "spec.http[0].match[0].uri.regex"],
  ["IM0124", routed("headers: {request: {set: {':path': /}}}"), 'spec.http[0].headers.request.set[":path"]'],
  ["IM0124", routed("headers: {request: {set: {x-a: 100%}}}"), 'spec.http[0].headers.request.set.x-a'],
  ["IM0124", http("{match: [{headers: {method: {exact: GET}}}], route: [{destination: {host: a}}]}"), "spec.http[0].match[0].headers.method"],
  ["IM0124", http("{route: [{destination: {host: a}, headers: {request: {set: {host: b}}}}]}"), "spec.http[0].route[0].headers.request.set.host"],
  ["IM0125", source("ipBlocks: [10.0.0.0/33]"), "spec.rules[0].from[0].source.ipBlocks[0]"],
  ["IM0125", se("resolution: STATIC, endpoints: [{address: b.example}]"), "spec.endpoints[0].address"],
  ["IM0126", pa('selector: {matchLabels: {app: "web*"}}'), "spec.selector.matchLabels.app"],
  ["IM0127", source('principals: ["spiffe://a/ns/b/sa/c"]'), "spec.rules[0].from[0].source.principals[0]"],
  ["IM0127", source('namespaces: ["a*b"]'), "spec.rules[0].from[0].source.namespaces[0]"],
  ["IM0127", operation("methods: [get]"), "spec.rules[0].to[0].operation.methods[0]"],
  ["IM0128", dr("subsets: [{name: V 1}]"), "spec.subsets[0].name"],
  ["IM0128", http("directResponse: {status: 200, body: {bytes: '!'}}"), "spec.http[0].directResponse.body.bytes"],
  ["IM0128", http('{redirect: {uri: "/a\\nb"}}'), "spec.http[0].redirect.uri"],
  ["IM0128", routed('rewrite: {authority: "a\\rb"}'), "spec.http[0].rewrite.authority"],
  ["IM0130", routed("redirect: {uri: /}"), "spec.http[0].redirect"],
  ["IM0130", http("{match: [{uri: {exact: a, prefix: b}}], route: [{destination: {host: a}}]}"), "spec.http[0].match[0].uri.prefix"],
  ["IM0130", http("{redirect: {uri: /}, timeout: 5s}"), "spec.http[0].timeout"],
  ["IM0131", http("{route: [{destination: {host: a}, weight: 0}, {destination: {host: b}}]}"), "spec.http[0].route"],
  ["IM0132", routed("mirrorPercentage: {value: 1}"), "spec.http[0].mirrorPercentage"],
  ["IM0132", pa('portLevelMtls: {"8080": {mode: DISABLE}}'), "spec.portLevelMtls"],
  ["IM0132", ap("action: DENY"), "spec.action"],
  ["IM0132", dr("trafficPolicy: {tls: {mode: ISTIO_MUTUAL, insecureSkipVerify: true}}"), "spec.trafficPolicy.tls.insecureSkipVerify"],
  ["IM0132", vs("  hosts: [a]\n  tls: [{match: [{sniHosts: [b.example]}], route: [{destination: {host: a}}]}]"), "spec.tls[0].match[0].sniHosts[0]"],
  ["IM0132", se("endpoints: [{address: 192.0.2.1}]"), "spec.endpoints"],
  ["IM0133", dr("subsets: [{name: v1}, {name: v1}]"), "spec.subsets[1]"],
  ["IM0134", routed("fault: {delay: {fixedDelay: 1s}}"), "spec.http[0].fault.delay"],
  ["IM0134", vs("  hosts: [a]\n  http: [{route: [{destination: {host: a}}]}, {route: [{destination: {host: b}}]}]"), "spec.http[1]"],
];

describe("issue codes", () => {
  for (const [code, text, path] of cases) {
    it(`${code} at ${path === "" ? "the document" : path.slice(0, 80)}`, () => {
      const { issues, resources } = parseDocuments(text, "a.yaml", "files");
      const found = issues.find((issue) => issue.code === code && issue.path === path);
      assert.ok(found, `not among ${JSON.stringify(issues)}`);
      assert.equal(found.severity, issueCodes[code].severity);
      assert.equal(found.position?.file, "a.yaml");
      assert.equal(resources.length, issues.some((issue: Issue) => issue.severity === "error") || code === "IM0108" ? 0 : 1);
    });
  }

  it("IM0140 is what Istio's schema says beyond ours", () => {
    const errors = structuralErrors("VirtualService", { http: [{ route: [{ weight: "x" }] }] });
    assert.deepEqual(errors.map(({ path }) => path), [["http", 0, "route", 0], ["http", 0, "route", 0, "weight"]].map((path) => ["spec", ...path]));
  });

  it("has a test for every code about one document", () => {
    const tested = new Set<string>([...cases.map(([code]) => code), "IM0140"]);
    assert.deepEqual(Object.keys(issueCodes).filter((code) => code < "IM0200" && !tested.has(code)), []);
  });
});
