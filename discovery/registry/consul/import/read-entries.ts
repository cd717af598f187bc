import type { Issue } from "../../../../base/issue.ts";
import { err, ok, type Result } from "../../../../base/result.ts";
import { nearestName } from "../../../../base/suggestion.ts";
import { type EntryOf, isDefaultPlace, TRANSLATED_KINDS, type TranslatedKind } from "./entry.ts";
import { fieldsLeftOut } from "./fields.ts";
import { entryName, type ImportFinding } from "./finding.ts";

/** Config entries by kind and name, and what is known to be left out of them. */
export interface ConfigEntries {
  readonly proxyDefaults: EntryOf<"proxy-defaults"> | undefined;
  readonly defaults: ReadonlyMap<string, EntryOf<"service-defaults">>;
  readonly intentions: ReadonlyMap<string, EntryOf<"service-intentions">>;
  readonly resolvers: ReadonlyMap<string, EntryOf<"service-resolver">>;
  readonly routers: ReadonlyMap<string, EntryOf<"service-router">>;
  readonly splitters: ReadonlyMap<string, EntryOf<"service-splitter">>;
  readonly findings: readonly ImportFinding[];
}

/** One JSON value that should be a config entry, or a list of them, and where it comes from. */
export interface EntrySource {
  readonly origin: string;
  readonly value: unknown;
}

/** Under this name the intentions hold that are those of all destinations in all namespaces of Consul Enterprise. */
export const EVERYWHERE = "*/*";

const MAX_DEPTH = 50;

/** Consul's other kinds, and what to do instead. */
export const NAMED_KINDS: Readonly<Record<string, string>> = {
  mesh: "write what it says into the control plane's configuration: MeshDestinationsOnly is mesh.outboundTrafficPolicy: REGISTRY_ONLY",
  "ingress-gateway": "the mesh has no gateways yet: keep Consul's, or put a load balancer in front of the hosts",
  "terminating-gateway": "write a ServiceEntry and a DestinationRule with tls for each service that it leads to",
  "api-gateway": "the mesh has no gateways yet: keep Consul's, or put a load balancer in front of the hosts",
  "bound-api-gateway": "Consul makes it from the api-gateway itself",
  "http-route": "its api-gateway has no equal yet; for calls within the mesh write a VirtualService",
  "tcp-route": "its api-gateway has no equal yet; for calls within the mesh write a VirtualService",
  "inline-certificate": "it belongs to an api-gateway, which has no equal yet",
  "file-system-certificate": "it belongs to an api-gateway, which has no equal yet",
  "exported-services": "a mesh has no peers: read both Consul clusters as registries",
  "sameness-group": "a mesh has no peers: read both Consul clusters as registries",
  "jwt-provider": "the mesh does not check tokens yet: check them in the application",
  "control-plane-request-limit": "it protects Consul's own servers",
};

/**
 * Reads what Consul says as config entries. What is no entry at all is an
 * error: half a set of entries would let in or route what the whole does not.
 */
export function readConfigEntries(sources: readonly EntrySource[]): Result<ConfigEntries, readonly Issue[]> {
  const issues: Issue[] = [];
  const findings: ImportFinding[] = [];
  const seen = new Map<string, string>();
  const read: { [K in TranslatedKind]: Map<string, EntryOf<K>> } = {
    "proxy-defaults": new Map(),
    "service-defaults": new Map(),
    "service-intentions": new Map(),
    "service-resolver": new Map(),
    "service-router": new Map(),
    "service-splitter": new Map(),
  };

  function readOne<K extends TranslatedKind>(kind: K, name: string, value: Readonly<Record<string, unknown>>, origin: string): void {
    const entry = entryName(kind, name);
    const parsed = TRANSLATED_KINDS[kind].safeParse(value);
    if (!parsed.success) {
      for (const { path, message } of parsed.error.issues) {
        issues.push(issueOf("IM0603", `${origin}: ${entry}`, formatPath(path), `${message.slice(0, 1).toLowerCase()}${message.slice(1)}`, "compare with what `consul config read` prints"));
      }
      return;
    }
    const isEverywhere = kind === "service-intentions" && name === "*" && isDefaultPlace({ ...parsed.data, Namespace: "" }) && parsed.data.Namespace === "*";
    if (!isEverywhere && !isDefaultPlace(parsed.data)) {
      findings.push({ effect: "lost", entry, path: "Namespace", message: "it belongs to a namespace or partition other than default", remedy: "import each namespace of Consul Enterprise by itself, under a namespace of the mesh" });
      return;
    }
    read[kind].set(isEverywhere ? EVERYWHERE : name, parsed.data as EntryOf<K>);
    for (const { path, isKnown, remedy } of fieldsLeftOut(kind, value)) {
      findings.push({ effect: "lost", entry, path, message: isKnown ? "it is left out" : "the import does not know the field", remedy });
    }
  }

  for (const { origin, value } of sources) {
    for (const [index, item] of (Array.isArray(value) ? value : [value]).entries()) {
      const where = Array.isArray(value) ? `${origin}[${index}]` : origin;
      if (!isMapping(item) || typeof item["Kind"] !== "string") {
        issues.push(issueOf("IM0602", where, "", "is not a config entry: it has no Kind", remedyOf(item)));
        continue;
      }
      if (isTooDeep(item)) {
        issues.push(issueOf("IM0602", where, "", `is nested deeper than ${MAX_DEPTH}: no config entry is`, remedyOf(item)));
        continue;
      }
      const kind = item["Kind"];
      const name = nameOf(item);
      const entry = entryName(kind, name);
      const place = item["Namespace"] === "*" ? `${entry} of all namespaces` : entry;
      const before = seen.get(place);
      if (before !== undefined) {
        issues.push(issueOf("IM0604", where, "Name", `${entry} is there twice, also in ${before}`, "leave out the older one"));
        continue;
      }
      seen.set(place, where);
      if (Object.hasOwn(TRANSLATED_KINDS, kind)) readOne(kind as TranslatedKind, name, item, where);
      else findings.push({ effect: "lost", entry, path: "", message: "entries of this kind are not translated", remedy: remedyOfKind(kind) });
    }
  }
  if (issues.length > 0) return err(issues);
  return ok({
    proxyDefaults: read["proxy-defaults"].values().next().value,
    defaults: read["service-defaults"],
    intentions: read["service-intentions"],
    resolvers: read["service-resolver"],
    routers: read["service-router"],
    splitters: read["service-splitter"],
    findings,
  });
}

/** Without recursion: JSON may be nested as deep as it is long. */
function isTooDeep(value: unknown): boolean {
  let level: unknown[] = [value];
  for (let depth = 0; depth < MAX_DEPTH; depth += 1) {
    level = level.flatMap((one) => (typeof one === "object" && one !== null ? Object.values(one) : []));
    if (level.length === 0) return false;
  }
  return true;
}

function nameOf(item: Readonly<Record<string, unknown>>): string {
  if (typeof item["Name"] === "string") return item["Name"];
  return item["Kind"] === "mesh" ? "mesh" : "";
}

function remedyOf(item: unknown): string {
  const isSnakeCase = isMapping(item) && typeof item["kind"] === "string";
  return isSnakeCase ? "it is written as for `consul config write`: give what `consul config read` or /v1/config/KIND prints" : "give what `consul config read` or /v1/config/KIND prints";
}

function remedyOfKind(kind: string): string {
  const known = Object.hasOwn(NAMED_KINDS, kind) ? NAMED_KINDS[kind] : undefined;
  if (known !== undefined) return known;
  const near = nearestName(kind, [...Object.keys(TRANSLATED_KINDS), ...Object.keys(NAMED_KINDS)]);
  return near === undefined ? "the import does not know the kind: look up what it does" : `did you mean ${near}?`;
}

function issueOf(code: string, where: string, path: string, message: string, remedy: string): Issue {
  return { code, severity: "error", path: `${where}${path === "" ? "" : ` ${path}`}`, message, remedy };
}

function formatPath(path: readonly PropertyKey[]): string {
  return path.map((step, index) => (typeof step === "number" ? `[${step}]` : `${index === 0 ? "" : "."}${String(step)}`)).join("");
}

function isMapping(value: unknown): value is Readonly<Record<string, unknown>> {
  return typeof value === "object" && value !== null && !Array.isArray(value);
}
