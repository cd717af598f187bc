import assert from "node:assert/strict";
import { execFileSync } from "node:child_process";
import { existsSync, globSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { basename, join } from "node:path";
import { type JsonObject, toJson } from "@bufbuild/protobuf";
import { parse, stringify } from "yaml";
import { buildBootstrap, XDS_CLUSTER } from "../../../agent/bootstrap.ts";
import type { ClusterEndpointsIr } from "../../../discovery/ir/cluster.ts";
import type { OutboundServiceIr } from "../../../discovery/ir/outbound.ts";
import type { ProxyIr } from "../../../discovery/ir/proxy.ts";
import { translateEndpoints } from "../../../discovery/translate/endpoints.ts";
import { translateProxy } from "../../../discovery/translate/proxy.ts";
import { encodeResource, sortResources, type TranslatedResource } from "../../../discovery/translate/resource.ts";
import { translateService } from "../../../discovery/translate/service.ts";
import { PROTO_REGISTRY } from "../../../proto/registry.ts";
import { TYPE_URLS } from "../../../xds/type-urls.ts";
import { envoyPath } from "../../support/envoy.ts";

interface Case {
  readonly proxy?: ProxyIr;
  readonly services?: readonly OutboundServiceIr[];
  readonly endpoints?: readonly ClusterEndpointsIr[];
}

/** The word that stands for the PEM of a root in the inputs. */
const ROOT = /"ROOT"/g;
const isUpdating = process.env["UPDATE_GOLDEN"] === "1";
const rootPem = readFileSync(join(import.meta.dirname, "root.pem"), "utf8");

describe("golden: translate", function () {
  this.timeout(60_000);
  for (const input of globSync("*.in.yaml", { cwd: import.meta.dirname }).sort()) {
    const name = basename(input, ".in.yaml");
    const read = (): Case => JSON.parse(JSON.stringify(parse(readFileSync(join(import.meta.dirname, input), "utf8"), { merge: true })).replaceAll(ROOT, JSON.stringify(rootPem))) as Case;

    it(`${name} is as it was`, () => {
      const path = join(import.meta.dirname, `${name}.out.yaml`);
      const actual = print(translateCase(read()));
      if (isUpdating) writeFileSync(path, actual);
      assert.ok(existsSync(path), `${name}.out.yaml is missing: run \`npm run golden\``);
      assert.equal(actual, readFileSync(path, "utf8"), "run `npm run golden` and look at the difference");
    });

    it(`${name} does not depend on the order of keys`, () => {
      const versions = (of: Case): string[] => translateCase(of).map((resource) => encodeResource(resource).version);
      assert.deepEqual(versions(reversed(read()) as Case), versions(read()));
    });

    it(`${name} is valid for Envoy`, () => validateByEnvoy(translateCase(read())));
  }
});

function translateCase({ proxy, services = [], endpoints = [] }: Case): TranslatedResource[] {
  return sortResources([
    ...(proxy === undefined ? [] : translateProxy(proxy)),
    ...services.flatMap(translateService),
    ...endpoints.map(translateEndpoints),
  ]);
}

function jsonOf({ schema, message }: TranslatedResource): JsonObject {
  return toJson(schema, message, { registry: PROTO_REGISTRY, useProtoFieldName: true }) as JsonObject;
}

function print(resources: readonly TranslatedResource[]): string {
  const documents = resources.map((resource) => ({ type: resource.typeUrl.replace(/^.*\./, ""), name: resource.name, resource: jsonOf(resource) }));
  return stringify(JSON.parse(JSON.stringify(documents).replaceAll(JSON.stringify(rootPem), '"ROOT"')), { lineWidth: 0, aliasDuplicateObjects: false });
}

/** The same data with the keys of every object in reverse. */
function reversed(value: unknown): unknown {
  if (Array.isArray(value)) return value.map(reversed);
  if (value === null || typeof value !== "object") return value;
  return Object.fromEntries(Object.entries(value).reverse().map(([key, inner]) => [key, reversed(inner)]));
}

/** As a bootstrap with everything static: virtual hosts in a listener made for them, load assignments in a cluster. */
function validateByEnvoy(resources: readonly TranslatedResource[]): void {
  const of = (typeUrl: string): JsonObject[] => resources.filter((resource) => resource.typeUrl === typeUrl).map(jsonOf);
  const tables = of(TYPE_URLS.routeConfiguration).map((table) => ({ ...table, vhds: null }));
  const pushed = of(TYPE_URLS.virtualHost);
  const bootstrap = JSON.parse(
    buildBootstrap({ hostId: "h", trustDomain: "mesh.internal", locality: { region: "", zone: "", subZone: "" }, xdsSocketPath: "/nowhere", adminSocketPath: "/nowhere", maxConnections: 1 }).json,
  ) as { admin?: unknown; static_resources: Record<string, unknown[]>; dynamic_resources: Record<string, unknown> };
  delete bootstrap.admin;
  delete bootstrap.dynamic_resources["cds_config"];
  delete bootstrap.dynamic_resources["lds_config"];
  const clusters = of(TYPE_URLS.cluster);
  Object.assign(bootstrap.static_resources, {
    clusters: [...(bootstrap.static_resources["clusters"] ?? []), ...clusters, ...of(TYPE_URLS.clusterLoadAssignment).map(staticCluster)],
    listeners: [...of(TYPE_URLS.listener), ...[...tables, { name: "pushed", virtual_hosts: pushed }].map(routeListener)],
    secrets: of(TYPE_URLS.secret),
  });
  assert.ok(JSON.stringify(bootstrap).includes(XDS_CLUSTER));
  const folder = mkdtempSync(join(tmpdir(), "ironmesh-golden-"));
  try {
    const path = join(folder, "envoy.json");
    writeFileSync(path, JSON.stringify(bootstrap));
    execFileSync(envoyPath(), ["--mode", "validate", "-c", path, "--log-level", "error"], { stdio: "pipe" });
  } catch (error) {
    throw new Error(`Envoy refuses it: ${String((error as { stderr?: Buffer }).stderr)}`, { cause: error });
  } finally {
    rmSync(folder, { recursive: true, force: true });
  }
}

function staticCluster(assignment: JsonObject): JsonObject {
  const name = `assignment ${JSON.stringify(assignment["cluster_name"])}`;
  return { name, type: "STATIC", connect_timeout: "1s", load_assignment: { ...assignment, cluster_name: name } };
}

function routeListener(table: JsonObject, index: number): JsonObject {
  // Clusters of other services are not part of the case.
  const routes = { ...table, validate_clusters: false };
  return {
    name: `table ${index}`,
    address: { socket_address: { address: "127.0.0.1", port_value: 20_000 + index } },
    filter_chains: [
      {
        filters: [
          {
            name: "envoy.filters.network.http_connection_manager",
            typed_config: {
              "@type": "type.googleapis.com/envoy.extensions.filters.network.http_connection_manager.v3.HttpConnectionManager",
              stat_prefix: "golden",
              route_config: routes,
              http_filters: httpFilters(),
            },
          },
        ],
      },
    ],
  };
}

/** Route settings of a filter that is not in the chain are refused. */
function httpFilters(): JsonObject[] {
  return [
    ["envoy.filters.http.rbac.deny", "rbac.v3.RBAC"],
    ["envoy.filters.http.rbac.allow", "rbac.v3.RBAC"],
    ["envoy.filters.http.cors", "cors.v3.Cors"],
    ["envoy.filters.http.fault", "fault.v3.HTTPFault"],
    ["envoy.filters.http.router", "router.v3.Router"],
  ].map(([name = "", type = ""]) => ({ name, typed_config: { "@type": `type.googleapis.com/envoy.extensions.filters.http.${type}` } }));
}
