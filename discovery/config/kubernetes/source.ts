import type { ParsedDocument } from "../../../api/document.ts";
import { issueCodes, type IssueCode } from "../../../api/issue-codes.ts";
import { type KindDefinition, kinds } from "../../../api/kinds.ts";
import type { Clock } from "../../../base/clock.ts";
import { SourceCollection } from "../../../base/collection.ts";
import type { CodedError } from "../../../base/coded-error.ts";
import { createKubernetesClient } from "../../kubernetes/client.ts";
import type { KubernetesAccess } from "../../kubernetes/client.ts";
import { FOLLOW_PACING, followKind } from "../../kubernetes/follow.ts";
import type { FollowPacing, ObjectChange } from "../../kubernetes/follow.ts";
import { identifyCluster } from "../../kubernetes/identity.ts";
import { namespacePrefixOf, wantedNamespaces } from "../../kubernetes/namespaces.ts";
import type { NamespaceSettings } from "../../kubernetes/namespaces.ts";
import { reader } from "../../kubernetes/object.ts";
import type { ConfigSource, ConfigUnit } from "../unit.ts";
import { parseClusterResource } from "./resource.ts";
import type { ResourceSettings } from "./resource.ts";
import { findServed, isIstios } from "./served.ts";

export interface KubernetesConfigOptions extends KubernetesAccess, NamespaceSettings {
  readonly meshDomain: string;
  readonly trustDomain: string;
  readonly clusterDomain: string;
  /** Whose policies hold in all of the cluster's namespaces: it is read too where only some are. */
  readonly istioRootNamespace: string;
  /** Hosts besides its own services that the cluster's resources may speak of. */
  readonly resourceHosts?: readonly string[] | undefined;
  readonly pacing?: Partial<ConfigPacing>;
  readonly clock: Clock;
}

export interface ConfigPacing extends FollowPacing {
  /** Changes so close together are told as one: each makes the whole configuration be joined anew. */
  readonly gatherMs: number;
}

const GATHER_MS = 50;

/** A cluster's resources as a source of configuration, with what a person should know of it. */
export interface KubernetesConfig extends ConfigSource {
  /** Sorted. */
  notes(): readonly string[];
}

/** The name of the cluster that a unit is of, by the unit's id. */
export function clusterOf(unit: string): string {
  return unit.slice(unit.indexOf(":") + 1).split("/", 1)[0] ?? "";
}

/** How following one kind goes. */
interface Following {
  readonly definition: KindDefinition;
  /** What it has was read at least once. */
  isSettled: boolean;
  isAbsent: boolean;
  confirmedAt: number | undefined;
  failure: CodedError | undefined;
}

/**
 * Reads Istio's resources out of one Kubernetes cluster, each kind by a list and
 * a watch; nothing is written into it. Until a kind was read, and while it
 * cannot be, a unit with a problem stands for it, so that what it said before
 * stays in force.
 */
export function startKubernetesConfig(options: KubernetesConfigOptions): KubernetesConfig {
  const { name, clock } = options;
  const pacing: ConfigPacing = { ...FOLLOW_PACING, gatherMs: GATHER_MS, ...options.pacing };
  const settings: ResourceSettings = { ...options, namespacePrefix: namespacePrefixOf(options), resourceHosts: options.resourceHosts ?? [] };
  const { namespaces, istioRootNamespace } = options;
  const isWanted = wantedNamespaces({ ...options, ...(namespaces === undefined ? {} : { namespaces: [...namespaces, istioRootNamespace] }) });
  const client = createKubernetesClient(options, clock);
  const units = new SourceCollection<ConfigUnit>();
  const followings: Following[] = kinds.filter(isIstios).map((definition) => ({ definition, isSettled: false, isAbsent: false, confirmedAt: undefined, failure: undefined }));
  const changed = new Map<string, ConfigUnit | undefined>();
  const closing = new AbortController();
  let cancelTelling: (() => void) | undefined;

  function follow(following: Following): Promise<void> {
    const { definition } = following;
    return followKind<ParsedDocument>(
      {
        client,
        // Until it is located; a group has at least this version wherever it is installed.
        kind: { path: `/apis/${definition.group}/${definition.versions[0]}/${definition.plural}` },
        locate: (signal) => findServed(client, definition, signal),
        identify: (signal) => identifyCluster(client, signal),
        read: reader((metadata, object) => parseClusterResource(definition, metadata, object, settings)),
        isWanted,
        clock,
        pacing,
        onContent(changes) {
          note(definition, changes);
          following.isSettled = true;
          following.isAbsent = false;
          tell();
        },
        onAbsent() {
          following.isAbsent = true;
        },
        onConfirmed() {
          following.confirmedAt = clock.now();
        },
        onFailure(failure) {
          following.failure = failure;
          tell();
        },
      },
      closing.signal,
    );
  }

  function note({ kind }: KindDefinition, changes: readonly ObjectChange<ParsedDocument>[]): void {
    for (const { key, seen } of changes) {
      if (seen?.problem !== undefined) continue;
      const unitName = `${name}/${kind}/${key}`;
      changed.set(unitName, seen?.value === undefined ? undefined : { origin: "kubernetes", name: unitName, documents: [seen.value] });
    }
  }

  /** Changes the units in a moment. */
  function tell(): void {
    if (cancelTelling !== undefined || closing.signal.aborted) return;
    cancelTelling = clock.after(pacing.gatherMs, () => {
      cancelTelling = undefined;
      units.apply([...changed, ...problemUnits()]);
      changed.clear();
    });
  }

  /** For the cluster and for each kind: the unit that tells its problem, or undefined without one. */
  function problemUnits(): Map<string, ConfigUnit | undefined> {
    const [first] = followings;
    const isWhole = first?.failure !== undefined && followings.every(({ failure }) => failure?.code === first.failure?.code);
    const told = new Map<string, ConfigUnit | undefined>([[`${name}/`, isWhole ? problemUnit(`${name}/`, first.failure, confirmedAt()) : undefined]]);
    for (const { definition, failure, isSettled, confirmedAt: at } of followings) {
      const unitName = `${name}/${definition.kind}/`;
      // The cluster's problem stands for all of its kinds.
      const isWell = failure === undefined && isSettled;
      told.set(unitName, isWhole || isWell ? undefined : problemUnit(unitName, failure, at));
    }
    return told;
  }

  function problemUnit(unitName: string, failure: CodedError | undefined, readAt: number | undefined): ConfigUnit {
    const code: IssueCode = failure === undefined ? "IM0207" : "IM0203";
    const since = readAt === undefined ? "it was not read since the start" : `it was read last at ${new Date(readAt).toISOString()}`;
    const problem = {
      code,
      severity: issueCodes[code].severity,
      message: failure === undefined ? "is not read yet" : `cannot be read: ${failure.message}; ${since}`,
      path: "",
      remedy: failure?.hint ?? "wait for it",
      position: { file: `kubernetes:${unitName.slice(0, -1).replace("/", " ")}`, line: 0, column: 0 },
    };
    return { origin: "kubernetes", name: unitName, documents: [], problem };
  }

  /** What is not known since a while counts, also where others are fresh. */
  function confirmedAt(): number | undefined {
    const known = followings.flatMap(({ confirmedAt: at }) => at ?? []);
    return known.length === 0 ? undefined : Math.min(...known);
  }

  units.apply(problemUnits());
  const finished = Promise.all(followings.map(follow));
  return {
    origin: "kubernetes",
    units,
    notes() {
      const absent = followings.filter(({ isAbsent }) => isAbsent).map(({ definition }) => definition.kind);
      return absent.length === 0 ? [] : [`its cluster does not have Istio's ${absent.join(", ")}: they are read when they are installed`];
    },
    async close() {
      closing.abort();
      cancelTelling?.();
      await finished;
      client.close();
    },
  };
}
