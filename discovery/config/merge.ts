import type { ParsedDocument } from "../../api/document.ts";
import { issueCodes, type IssueCode } from "../../api/issue-codes.ts";
import { type AnyResource, resourceKey, type ResourceKey } from "../../api/resource.ts";
import { formatPlace, type Issue, type SourcePosition } from "../../base/issue.ts";
import type { ConfigStatus } from "../status/config-status.ts";
import { CONFIG_ORIGINS, type ConfigUnit, isWholeSource, unitId } from "./unit.ts";

/** A resource as it was last accepted. */
export interface GoodResource {
  readonly resource: AnyResource;
  /** The `unitId` that it came from. */
  readonly unit: string;
  /** Since when this content has been in force. */
  readonly acceptedAtMs: number;
}

export interface MergedConfig {
  /** What is in force. */
  readonly inForce: ReadonlyMap<ResourceKey, GoodResource>;
  /** By resource key; a document or file that names no resource is keyed by its place. */
  readonly statuses: ReadonlyMap<string, ConfigStatus>;
}

/** Problems of a source that are none where nothing of it is in force. */
const QUIET: ReadonlySet<string> = new Set<IssueCode>(["IM0205", "IM0207"]);

interface Claim {
  readonly unit: ConfigUnit;
  readonly document: ParsedDocument;
}

/**
 * Decides what is in force, from everything that all sources say now and what
 * was in force before. Files come before the store, that before clusters, and
 * within them names decide. A
 * rejected resource keeps its last good value; one that nobody mentions any
 * more is gone, unless the file that held it cannot be fully read, the whole
 * directory is empty, or the cluster does not answer.
 */
export function mergeConfig(units: readonly ConfigUnit[], before: ReadonlyMap<ResourceKey, GoodResource>, nowMs: number): MergedConfig {
  const ordered = [...units].sort(compareUnits);
  const claims = new Map<ResourceKey, Claim[]>();
  const statuses = new Map<string, ConfigStatus>();
  const obscured = new Set<string>();
  for (const unit of ordered) {
    if (unit.problem !== undefined) {
      const concerned = [...before.values()].map((good) => good.unit).filter((known) => isWholeSource(unit) && known.startsWith(unitId(unit)));
      // A source that is empty or not read yet, and of which nothing is in force, is just that.
      if (concerned.length === 0 && QUIET.has(unit.problem.code)) continue;
      for (const id of [unitId(unit), ...concerned]) obscured.add(id);
      statuses.set(`unit/${unitId(unit)}`, anonymousStatus(unit, unit.problem.position ?? startOf(unit), [unit.problem]));
    }
    for (const document of unit.documents) {
      if (document.key !== undefined) {
        const known = claims.get(document.key);
        if (known === undefined) claims.set(document.key, [{ unit, document }]);
        else known.push({ unit, document });
        continue;
      }
      if (document.isUnidentified) obscured.add(unitId(unit));
      const { line } = document.position;
      if (document.issues.length > 0) statuses.set(`unit/${unitId(unit)}:${line}`, anonymousStatus(unit, document.position, document.issues));
    }
  }
  const inForce = new Map<ResourceKey, GoodResource>();
  for (const [key, [winner, ...losers]] of claims) {
    if (winner === undefined) continue;
    const good = goodOf(winner, before.get(key), nowMs);
    if (good !== undefined) inForce.set(key, good);
    statuses.set(key, claimedStatus(key, winner, losers, good));
  }
  for (const [key, good] of before) {
    if (claims.has(key) || !obscured.has(good.unit)) continue;
    inForce.set(key, good);
    statuses.set(key, keptStatus(key, good));
  }
  return { inForce, statuses };
}

function compareUnits(left: ConfigUnit, right: ConfigUnit): number {
  const byOrigin = CONFIG_ORIGINS.indexOf(left.origin) - CONFIG_ORIGINS.indexOf(right.origin);
  if (byOrigin !== 0) return byOrigin;
  return left.name < right.name ? -1 : Number(left.name > right.name);
}

function goodOf({ unit, document }: Claim, before: GoodResource | undefined, nowMs: number): GoodResource | undefined {
  const { resource } = document;
  if (resource === undefined) return before;
  if (before?.resource === resource && before.unit === unitId(unit)) return before;
  const isSame = before !== undefined && contentOf(before.resource) === contentOf(resource);
  return { resource, unit: unitId(unit), acceptedAtMs: isSame ? before.acceptedAtMs : nowMs };
}

/** What a resource says, without where it stands. */
function contentOf({ apiVersion, metadata, spec }: AnyResource): string {
  return JSON.stringify([apiVersion, metadata, spec]);
}

function claimedStatus(key: ResourceKey, winner: Claim, losers: readonly Claim[], good: GoodResource | undefined): ConfigStatus {
  const { unit, document } = winner;
  const conflicts = losers.map((loser) => conflict(winner, loser));
  const hasErrors = document.resource === undefined;
  const state = hasErrors ? "rejected" : conflicts.length > 0 ? "conflict" : document.issues.length > 0 ? "warning" : "accepted";
  return {
    ...partsOf(key),
    origin: unit.origin,
    state,
    position: document.position,
    issues: [...document.issues, ...conflicts],
    inForceSinceMs: good?.acceptedAtMs ?? null,
  };
}

function keptStatus(key: ResourceKey, good: GoodResource): ConfigStatus {
  const file = good.unit.slice(good.unit.indexOf(":") + 1);
  return {
    ...partsOf(key),
    origin: good.resource.origin,
    state: "rejected",
    position: good.resource.position,
    issues: [issue("IM0203", good.resource.position, `${file} cannot be fully read; the last good value is in force`, good.resource.origin === "kubernetes" ? "it is read when the cluster answers" : "correct the issues of that file")],
    inForceSinceMs: good.acceptedAtMs,
  };
}

function anonymousStatus(unit: ConfigUnit, position: SourcePosition, issues: readonly Issue[]): ConfigStatus {
  const isRejected = issues.some(({ severity }) => severity === "error");
  return { kind: "", namespace: "", name: "", origin: unit.origin, state: isRejected ? "rejected" : "warning", position, issues, inForceSinceMs: null };
}

function conflict(winner: Claim, loser: Claim): Issue {
  const { position } = winner.document;
  const isAcross = winner.unit.origin !== loser.unit.origin;
  return issue(
    isAcross ? "IM0201" : "IM0202",
    loser.document.position,
    `also defined at ${formatPlace(position)}, which is in force`,
    "remove one of the two",
  );
}

function issue(code: IssueCode, position: SourcePosition, message: string, remedy: string): Issue {
  return { code, severity: issueCodes[code].severity, message, path: "", remedy, position };
}

function partsOf(key: ResourceKey): Pick<ConfigStatus, "kind" | "namespace" | "name"> {
  const [kind = "", namespace = "", name = ""] = key.split("/");
  return { kind, namespace, name };
}

function startOf(unit: ConfigUnit): SourcePosition {
  return { file: unit.name, line: 1, column: 1 };
}

/** The resources of what is in force, under their keys. */
export function resourcesOf(inForce: ReadonlyMap<ResourceKey, GoodResource>): ReadonlyMap<ResourceKey, AnyResource> {
  return new Map([...inForce.values()].map(({ resource }) => [resourceKey(resource), resource]));
}
