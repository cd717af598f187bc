import assert from "node:assert/strict";
import { kinds } from "../../../../../api/kinds.ts";
import type { ParsedDocument } from "../../../../../api/document.ts";
import { parseClusterResource, type ResourceSettings } from "../../../../../discovery/config/kubernetes/resource.ts";
import { readMetadata } from "../../../../../discovery/kubernetes/object.ts";
import { istio } from "../../../../support/kubernetes-objects.ts";
import type { KubernetesObject } from "../../../../support/kubernetes-objects.ts";

const SETTINGS: ResourceSettings = { name: "east", namespacePrefix: "east-", clusterDomain: "cluster.local", meshDomain: "mesh.internal", trustDomain: "mesh.internal", resourceHosts: ["*.example.com"] };

function parse(object: KubernetesObject, settings: Partial<ResourceSettings> = {}): ParsedDocument {
  const definition = kinds.find(({ kind }) => kind === object.kind);
  assert.ok(definition !== undefined);
  const written = { ...object, metadata: { ...object.metadata, resourceVersion: "1" } };
  return parseClusterResource(definition, readMetadata(written), written, { ...SETTINGS, ...settings });
}

function specOf(object: KubernetesObject, settings: Partial<ResourceSettings> = {}): unknown {
  const { resource, issues } = parse(object, settings);
  assert.deepEqual(issues, []);
  return resource?.spec;
}

function issuesOf(object: KubernetesObject, settings: Partial<ResourceSettings> = {}): string[] {
  return parse(object, settings).issues.map(({ code, path }) => `${code} ${path}`);
}

const to = (host: string) => ({ destination: { host } });
const weighted = (host: string) => ({ ...to(host), weight: 1 });
const NATIVE = "reviews.shop.svc.cluster.local";
const OURS = "reviews.east-shop.svc.mesh.internal";

describe("a resource of a cluster", () => {
  it("is in the namespace that the cluster's is mapped to, and says where it stands", () => {
    const { resource, key } = parse(istio("DestinationRule", "reviews", { host: "reviews" }, { labels: { team: "a" }, annotations: { note: "b", "kubectl.kubernetes.io/last-applied-configuration": "{}" } }));
    assert.equal(key, "DestinationRule/east-shop/reviews");
    assert.deepEqual(resource?.metadata, { name: "reviews", namespace: "east-shop", labels: { team: "a" }, annotations: { note: "b" } });
    assert.deepEqual([resource?.origin, resource?.position.file, resource?.confinedTo], ["kubernetes", "kubernetes:east shop/reviews", "east-"]);
  });

  it("names services by the mesh's names: short ones by its namespace, native ones mapped", () => {
    assert.deepEqual(
      specOf(istio("VirtualService", "reviews", {
        hosts: ["reviews", NATIVE, "*.shop.svc.cluster.local"],
        http: [{ route: [weighted("ratings.other.svc.cluster.local"), weighted("reviews")], mirror: { host: NATIVE } }],
        tcp: [{ route: [to(NATIVE)] }],
        tls: [{ match: [{ sniHosts: [NATIVE] }], route: [to(NATIVE)] }],
      })),
      {
        hosts: ["reviews", OURS, "*.east-shop.svc.mesh.internal"],
        http: [{ route: [weighted("ratings.east-other.svc.mesh.internal"), weighted("reviews")], mirror: { host: OURS } }],
        tcp: [{ route: [to(OURS)] }],
        tls: [{ match: [{ sniHosts: [OURS] }], route: [to(OURS)] }],
      },
    );
    assert.deepEqual(specOf(istio("DestinationRule", "reviews", { host: NATIVE })), { host: OURS });
    const ports = [{ number: 80, name: "http" }];
    assert.deepEqual(specOf(istio("ServiceEntry", "old", { hosts: ["old.shop.svc.cluster.local", "api.example.com"], ports, resolution: "DNS", endpoints: [{ address: "old.corp" }] })), {
      hosts: ["old.east-shop.svc.mesh.internal", "api.example.com"], ports, resolution: "DNS", endpoints: [{ address: "old.corp" }],
    });
  });

  it("names callers by the mesh's namespaces and identities", () => {
    const source = (names: object): object => ({ rules: [{ from: [{ source: names }] }] });
    assert.deepEqual(
      specOf(istio("AuthorizationPolicy", "a", source({
        namespaces: ["shop", "sh*", "*"],
        notNamespaces: ["other"],
        principals: ["cluster.local/ns/shop/sa/web", "*/ns/shop/*", "cluster.local/ns/*", "cluster.local/*", "*", "mesh.internal/ns/payments/sa/pay"],
      }))),
      source({
        namespaces: ["east-shop", "east-sh*", "*"],
        notNamespaces: ["east-other"],
        principals: ["mesh.internal/ns/east-shop/sa/web", "mesh.internal/ns/east-shop/*", "mesh.internal/ns/east-*", "mesh.internal/ns/east-*", "*", "mesh.internal/ns/payments/sa/pay"],
      }),
    );
    const everybody = ["cluster.local*", "cluster.loc*", "cluster.local/n*", "cluster.local/ns*", "*/*", "*/ns*"];
    assert.deepEqual(
      specOf(istio("AuthorizationPolicy", "a", source({ notPrincipals: everybody }))),
      source({ notPrincipals: everybody.map(() => "mesh.internal/ns/east-*") }),
      "what means all callers of the cluster goes on to mean them",
    );
    assert.deepEqual(issuesOf(istio("AuthorizationPolicy", "a", source({ namespaces: ["*-prod"], notPrincipals: ["*/sa/web"] }))), [
      "IM0206 spec.rules[0].from[0].source.namespaces[0]",
      "IM0206 spec.rules[0].from[0].source.notPrincipals[0]",
    ]);
  });

  for (const host of ["payments.prod.svc.mesh.internal", "payments.east.svc.mesh.internal", "*.mesh.internal", "*.svc.mesh.internal", "*.svc.cluster.local", "web-0.web.shop.svc.cluster.local", "bank.com", "example.com", "reviews.shop"]) {
    it(`may not speak of ${host}`, () => {
      assert.deepEqual(issuesOf(istio("VirtualService", "a", { hosts: [host], http: [{ route: [to("reviews")] }] })).filter((issue) => issue.startsWith("IM0206")), ["IM0206 spec.hosts[0]"]);
      assert.equal(parse(istio("DestinationRule", "a", { host })).resource, undefined);
    });
  }

  it("may not send callers elsewhere, who would go there as themselves", () => {
    const host = "payments.prod.svc.mesh.internal";
    assert.deepEqual(issuesOf(istio("VirtualService", "a", { hosts: ["reviews"], http: [{ route: [weighted("reviews"), weighted(host)], mirrors: [{ destination: { host } }] }], tcp: [{ route: [to(host)] }] })), [
      "IM0206 spec.http[0].route[1].destination.host",
      "IM0206 spec.tcp[0].route[0].destination.host",
      "IM0206 spec.http[0].mirrors[0].destination.host",
    ]);
  });

  it("may declare foreign hosts that are allowed, but no addresses, and no place of each host's own", () => {
    const entry = { hosts: ["api.example.com"], ports: [{ number: 443, name: "tls", protocol: "TLS" }], resolution: "STATIC", endpoints: [{ address: "10.0.0.1" }] };
    assert.deepEqual(issuesOf(istio("ServiceEntry", "a", entry)), []);
    assert.deepEqual(issuesOf(istio("ServiceEntry", "a", entry), { resourceHosts: [] }), ["IM0206 spec.hosts[0]"]);
    assert.deepEqual(issuesOf(istio("ServiceEntry", "a", { ...entry, addresses: ["10.9.9.9"], endpoints: [{ address: "127.0.0.1" }] })), ["IM0206 spec.endpoints[0].address", "IM0206 spec.addresses[0]"]);
    assert.deepEqual(issuesOf(istio("WorkloadEntry", "a", { address: "localhost" })), ["IM0206 spec.address"]);
  });

  it("is rejected for what a file would be rejected for, with the path of the field", () => {
    assert.deepEqual(issuesOf(istio("VirtualService", "a", { hosts: [7], http: "x", gateways: ["shop-gateway"] })), ["IM0111 spec.hosts[0]", "IM0111 spec.http", "IM0116 spec.gateways[0]"]);
    assert.equal(parse(istio("VirtualService", "a", { hosts: ["*"], http: [{ route: [to("reviews")] }] })).resource, undefined);
    assert.deepEqual(issuesOf(istio("PeerAuthentication", "a", { mtls: null }, { namespace: "n".repeat(60) })).map((issue) => issue.slice(0, 6)), ["IM0109", "IM0111"]);
    assert.equal(parse(istio("AuthorizationPolicy", "a", { rules: [{ from: null }] })).resource, undefined);
  });
});
