import assert from "node:assert/strict";
import { parseDocuments } from "../../../../api/document.ts";
import { issueCodes } from "../../../../api/issue-codes.ts";
import { analysis, type AnalysisContext, type Findings } from "../../../../discovery/config/analyze.ts";
import { LabelCensus } from "../../../../discovery/config/label-census.ts";

const ports = [{ name: "http", number: 80, protocol: "HTTP" as const }];
const services = [
  ...["a", "b"].map((name) => ({ hostname: `${name}.default.svc.mesh.internal`, namespace: "default", ports, external: false })),
  { hostname: "audit.example.com", namespace: "default", ports, external: true },
];
const context: AnalysisContext = {
  meshDomain: "mesh.internal",
  roots: [{ namespace: "ironmesh-system", prefix: "" }],
  service: (host) => services.find(({ hostname }) => hostname === host),
  otherOwner: (_resource, host) => (host === "taken.example.com" ? "ops/taken.example.com" : undefined),
  workloads: workloads({ namespace: "default", labels: { app: "a" } }),
};

function workloads(...present: Parameters<LabelCensus["apply"]>[0][number]["after"][]): LabelCensus {
  const census = new LabelCensus();
  census.apply(present.map((after, at) => ({ key: String(at), ...(after === undefined ? {} : { after }) })));
  return census;
}

function analyze(...given: Parameters<typeof analysis>): Findings {
  const steps = analysis(...given);
  let step = steps.next();
  while (step.done !== true) step = steps.next();
  return step.value;
}

function document(kind: string, name: string, spec: string, namespace = "default"): string {
  const group = kind.endsWith("Policy") || kind.endsWith("Authentication") ? "security.istio.io/v1" : kind === "Service" ? "v1" : "networking.istio.io/v1";
  return `apiVersion: ${group}\nkind: ${kind}\nmetadata: {name: ${name}, namespace: ${namespace}}\nspec: ${spec}\n`;
}

function found(...documents: string[]): string[] {
  const { resources, issues } = parseDocuments(documents.join("---\n"), "x.yaml", "files");
  assert.deepEqual(issues, []);
  return [...analyze(resources, context)].flatMap(([key, list]) => list.map(({ code, path }) => `${key} ${code} ${path}`));
}

const route = (destination: string): string => `{hosts: [a], http: [{route: [{destination: {${destination}}}]}]}`;

describe("analysis of all resources together", () => {
  it("finds that a cluster does not speak for what its service was joined into", () => {
    const joined: AnalysisContext = { ...context, service: (host) => services.find(({ hostname }) => hostname === (host === "a.east-shop.svc.mesh.internal" ? "a.default.svc.mesh.internal" : host)) };
    const { resources } = parseDocuments(document("DestinationRule", "a", "{host: a}", "east-shop") + "---\n" + document("DestinationRule", "b", "{host: audit.example.com}", "east-shop"), "x.yaml", "kubernetes");
    const codes = (all: typeof resources): string[] => [...analyze(all, joined)].flatMap(([key, list]) => list.map(({ code }) => `${key} ${code}`));
    assert.deepEqual(codes(resources.map((resource) => ({ ...resource, confinedTo: "east-" }))), ["DestinationRule/east-shop/a IM0208"]);
    assert.deepEqual(codes(resources), []);
    const routed = parseDocuments(document("VirtualService", "b", `{hosts: [audit.example.com], http: [{route: [{destination: {host: a}}]}]}`, "east-shop"), "x.yaml", "kubernetes").resources;
    assert.deepEqual(codes(routed.map((resource) => ({ ...resource, confinedTo: "east-" }))), ["VirtualService/east-shop/b IM0208"]);
    assert.deepEqual(codes(routed), []);
  });

  it("says that a cluster's word on a foreign host gives way to the mesh's own", () => {
    const rule = (name: string, namespace: string): string => document("DestinationRule", name, "{host: audit.example.com}", namespace);
    const { resources } = parseDocuments(`${rule("a", "east-shop")}---\n${rule("b", "ops")}`, "x.yaml", "kubernetes");
    const marked = resources.map((resource) => (resource.metadata.namespace === "ops" ? resource : { ...resource, confinedTo: "east-" }));
    assert.deepEqual([...analyze(marked, context).keys()], ["DestinationRule/east-shop/a"]);
    assert.deepEqual([...analyze(resources, context).keys()], ["DestinationRule/ops/b"]);
  });

  it("knows the workloads that a cluster's root namespace speaks to", () => {
    const policy = (namespace: string): string => document("PeerAuthentication", "p", "{mtls: {mode: STRICT}, selector: {matchLabels: {app: web}}}", namespace);
    const cluster: AnalysisContext = { ...context, roots: [...context.roots, { namespace: "east-root", prefix: "east-" }], workloads: workloads({ namespace: "east-shop", labels: { app: "web" } }) };
    const codes = (namespace: string): string[] => [...analyze(parseDocuments(policy(namespace), "x.yaml", "files").resources, cluster).values()].flatMap((list) => list.map(({ message }) => message));
    assert.deepEqual([codes("east-root"), codes("ironmesh-system"), codes("east-other")], [[], [], ["no workload of east-other has app=web"]]);
    assert.deepEqual([...analyze(parseDocuments(policy("east-root"), "x.yaml", "files").resources, { ...cluster, workloads: workloads() }).values()].flat().map(({ message }) => message), ["no workload of east-… has app=web"]);
  });

  it("is silent where all fits", () => {
    const rule = document("DestinationRule", "a", "{host: a, subsets: [{name: v1}]}");
    assert.deepEqual(found(document("VirtualService", "a", route("host: a, subset: v1, port: {number: 80}")), rule), []);
    // By its whole name the rule is for the same host.
    const whole = document("DestinationRule", "a", "{host: a.default.svc.mesh.internal, subsets: [{name: v1}]}");
    assert.deepEqual(found(document("VirtualService", "a", route("host: a, subset: v1")), whole), []);
  });

  it("finds hosts, subsets and ports that are not there", () => {
    const at = "spec.http[0].route[0].destination";
    assert.deepEqual(found(document("VirtualService", "a", route("host: c"))), [`VirtualService/default/a IM0210 ${at}.host`]);
    assert.deepEqual(found(document("VirtualService", "a", route("host: a, port: {number: 81}"))), [`VirtualService/default/a IM0215 ${at}.port.number`]);
    const rule = document("DestinationRule", "b", "{host: b, subsets: [{name: v1}]}");
    assert.deepEqual(found(document("VirtualService", "a", route("host: a, subset: v1")), rule), [`VirtualService/default/a IM0211 ${at}.subset`]);
    assert.deepEqual(found(document("DestinationRule", "c", "{host: c}")), ["DestinationRule/default/c IM0210 spec.host"]);
    const gone = document("VirtualService", "c", "{hosts: [a, c, '*.example.com'], http: [{route: [{destination: {host: a}}]}]}");
    assert.deepEqual(found(gone), ["VirtualService/default/c IM0210 spec.hosts[1]"]);
  });

  it("says that a service of the mesh gets no mirrored requests", () => {
    const mirrored = (mirror: string): string => document("VirtualService", "a", `{hosts: [a], http: [{route: [{destination: {host: a}}], ${mirror}}]}`);
    assert.deepEqual(found(mirrored("mirror: {host: b}")), ["VirtualService/default/a IM0216 spec.http[0].mirror.host"]);
    assert.deepEqual(found(mirrored("mirrors: [{destination: {host: audit.example.com}}, {destination: {host: b}}]")), [
      "VirtualService/default/a IM0216 spec.http[0].mirrors[1].destination.host",
    ]);
    assert.deepEqual(found(mirrored("mirror: {host: audit.example.com}")), []);
  });

  it("finds two resources for one host; the service's own namespace comes first, then the root's", () => {
    const spec = "{hosts: [a.default.svc.mesh.internal], http: [{route: [{destination: {host: a.default.svc.mesh.internal}}]}]}";
    const one = document("VirtualService", "one", spec, "a-first");
    assert.deepEqual(found(one, document("VirtualService", "two", spec)), ["VirtualService/a-first/one IM0212 spec"]);
    assert.deepEqual(found(one, document("VirtualService", "two", spec, "ironmesh-system")), ["VirtualService/a-first/one IM0212 spec"]);
    const rules = ["x", "y"].map((name) => document("DestinationRule", name, "{host: a}"));
    assert.deepEqual(found(...rules), ["DestinationRule/default/y IM0213 spec"]);
  });

  it("finds selectors that select nothing", () => {
    assert.deepEqual(found(document("AuthorizationPolicy", "p", "{selector: {matchLabels: {app: z}}}")), ["AuthorizationPolicy/default/p IM0214 spec.selector"]);
    assert.deepEqual(found(document("AuthorizationPolicy", "p", "{selector: {matchLabels: {app: a}}}", "ironmesh-system")), []);
    assert.deepEqual(found(document("PeerAuthentication", "p", "{selector: {matchLabels: {app: a}}}", "other")), ["PeerAuthentication/other/p IM0214 spec.selector"]);
    assert.deepEqual(found(document("Service", "s", "{selector: {app: z}, ports: [{port: 80}]}")), ["Service/default/s IM0214 spec.selector"]);
  });

  it("finds hosts that another service has", () => {
    const entry = (host: string): string => document("ServiceEntry", "e", `{hosts: [free.example.com, ${host}], ports: [{number: 80, name: http}]}`);
    assert.deepEqual(found(entry("taken.example.com")), ["ServiceEntry/default/e IM0217 spec.hosts[1]"]);
    assert.deepEqual(found(entry("also-free.example.com")), []);
  });

  it("only warns", () => {
    const codes = ["IM0210", "IM0211", "IM0212", "IM0213", "IM0214", "IM0215", "IM0216", "IM0217"] as const;
    assert.ok(codes.every((code) => issueCodes[code].severity === "warning"));
  });
});
