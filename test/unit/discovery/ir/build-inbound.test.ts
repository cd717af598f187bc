import assert from "node:assert/strict";
import { parseDocuments } from "../../../../api/document.ts";
import type { ResourceOf } from "../../../../api/resource.ts";
import { mtlsMode } from "../../../../discovery/ir/build-inbound.ts";
import { rootNamespacesOf } from "../../../../model/root-namespace.ts";

const ROOTS = [{ namespace: "root", prefix: "" }, { namespace: "east-istio-system", prefix: "east-" }];

function policy(namespace: string, mode: string, selector = ""): ResourceOf<"PeerAuthentication"> {
  const { resources } = parseDocuments(`apiVersion: security.istio.io/v1\nkind: PeerAuthentication\nmetadata: {name: a, namespace: ${namespace}}\nspec: {mtls: {mode: ${mode}}${selector}}\n`, "a.yaml", "files");
  const [resource] = resources;
  assert.ok(resource?.kind === "PeerAuthentication");
  return resource;
}

describe("the mode of mutual TLS of a port", () => {
  const selecting = policy("east-shop", "DISABLE", ", selector: {matchLabels: {app: web}}");
  const [own, cluster, mesh] = [policy("east-shop", "PERMISSIVE"), policy("east-istio-system", "STRICT"), policy("root", "DISABLE")];
  const modeIn = (namespace: string, ...policies: readonly ResourceOf<"PeerAuthentication">[]): string =>
    mtlsMode(policies, { namespace, labels: { app: "web" }, rootNamespaces: rootNamespacesOf(namespace, ROOTS) }, 80, "PERMISSIVE");

  it("is the narrowest policy's: workload, namespace, cluster, mesh", () => {
    assert.equal(modeIn("east-shop", mesh, cluster, own, selecting), "DISABLE");
    assert.equal(modeIn("east-shop", mesh, cluster, own), "PERMISSIVE");
    assert.equal(modeIn("east-shop", mesh, cluster), "STRICT");
    assert.equal(modeIn("east-shop", mesh, policy("east-istio-system", "UNSET")), "DISABLE");
    assert.equal(modeIn("east-istio-system", mesh, cluster), "STRICT");
    assert.equal(modeIn("east-shop"), "PERMISSIVE");
  });

  it("is nothing of a cluster's root namespace outside of the cluster", () => {
    for (const namespace of ["shop", "root", "eastern"]) assert.equal(modeIn(namespace, cluster), "PERMISSIVE", namespace);
  });
});
