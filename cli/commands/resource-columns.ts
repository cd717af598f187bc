import type { ResourceWord } from "../../discovery/http/api.ts";
import { formatHostPort } from "../../model/address.ts";
import type { Column } from "../terminal/table.ts";

/** Envoy resources in proto JSON. */
type Json = Record<string, unknown>;
type Row = readonly string[];

interface ResourceColumns {
  readonly columns: readonly Column<Row>[];
  /** A resource may make several rows: a listener one for each filter chain. */
  readonly rows: (resource: Json) => Row[];
}

/** What people see of each type of resource; `-o json` shows all of it. */
export const RESOURCE_COLUMNS: Readonly<Record<ResourceWord, ResourceColumns>> = {
  listeners: {
    columns: columns("LISTENER", "ADDRESS", "CHAIN", "DESTINATION"),
    rows: (listener) =>
      list(listener["filterChains"]).map((chain) => [
        text(listener["name"]),
        socketAddress(listener["address"]),
        text(chain["name"]),
        describeMatch(record(chain["filterChainMatch"])),
      ]),
  },
  routes: {
    columns: columns("ROUTE TABLE", "DOMAINS", "MATCH", "DESTINATION", "FROM"),
    rows: (host) =>
      list(host["routes"]).map((route) => [
        text(host["name"]),
        strings(host["domains"]).slice(0, 2).join(","),
        describeRouteMatch(record(route["match"])),
        describeAction(route),
        text(route["name"]),
      ]),
  },
  clusters: {
    columns: columns("CLUSTER", "TYPE", "LOAD BALANCER"),
    rows: (cluster) => [[text(cluster["name"]), text(cluster["type"]) || "STATIC", text(cluster["lbPolicy"]) || "ROUND_ROBIN"]],
  },
  endpoints: {
    columns: columns("CLUSTER", "ENDPOINT", "HEALTH", "WEIGHT"),
    rows: (assignment) =>
      list(assignment["endpoints"]).flatMap((locality) =>
        list(locality["lbEndpoints"]).map((endpoint) => [
          text(assignment["clusterName"]),
          socketAddress(record(endpoint["endpoint"])["address"]),
          text(endpoint["healthStatus"]) || "UNKNOWN",
          text(endpoint["loadBalancingWeight"]) || "1",
        ]),
      ),
  },
  secrets: {
    columns: columns("SECRET", "KIND"),
    rows: (secret) => [[text(secret["name"]), "validationContext" in secret ? "validation" : "certificate"]],
  },
};

function columns(...headings: string[]): Column<Row>[] {
  return headings.map((heading, index) => [heading, (row) => row[index] ?? ""]);
}

function socketAddress(address: unknown): string {
  const socket = record(record(address)["socketAddress"]);
  return formatHostPort(text(socket["address"]), Number(socket["portValue"] ?? 0));
}

function describeMatch(match: Json): string {
  const ranges = list(match["prefixRanges"]).map((range) => `${text(range["addressPrefix"])}/${text(range["prefixLen"])}`);
  const port = text(match["destinationPort"]);
  const parts = [ranges.join(","), port === "" ? "" : `:${port}`, ...strings(match["serverNames"]), text(match["transportProtocol"]), strings(match["applicationProtocols"]).join(",")];
  return parts.filter(Boolean).join(" ") || "anything else";
}

function describeRouteMatch(match: Json): string {
  const path = ["path", "prefix", "pathSeparatedPrefix"].map((field) => text(match[field])).find(Boolean);
  const regex = text(record(match["safeRegex"])["regex"]);
  return [path ?? regex, ...list(match["headers"]).map((header) => text(header["name"]))].filter(Boolean).join(" & ");
}

function describeAction(route: Json): string {
  const forward = record(route["route"]);
  const weighted = list(record(forward["weightedClusters"])["clusters"]);
  if (weighted.length > 0) {
    const total = weighted.reduce((sum, cluster) => sum + Number(cluster["weight"] ?? 0), 0);
    return weighted.map((cluster) => `${shareOf(Number(cluster["weight"] ?? 0), total)} ${text(cluster["name"])}`).join(", ");
  }
  if ("redirect" in route) return "redirect";
  if ("directResponse" in route) return `status ${text(record(route["directResponse"])["status"])}`;
  return text(forward["cluster"]);
}

/** Weights need not add up to 100. */
function shareOf(weight: number, total: number): string {
  return `${total === 0 ? 0 : Math.round((weight / total) * 10_000) / 100}%`;
}

function text(value: unknown): string {
  return typeof value === "string" || typeof value === "number" ? String(value) : "";
}

function record(value: unknown): Json {
  return typeof value === "object" && value !== null && !Array.isArray(value) ? (value as Json) : {};
}

function list(value: unknown): Json[] {
  return Array.isArray(value) ? value.map(record) : [];
}

function strings(value: unknown): string[] {
  return Array.isArray(value) ? value.map(text) : [];
}
