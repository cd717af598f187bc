import { z } from "zod";
import { reader, text } from "../../kubernetes/object.ts";

/**
 * What is kept of the cluster's objects: a few fields of each, and nothing of
 * the rest (managed fields and specs are most of their size). The API leaves out
 * or nulls what is empty, and adds fields with every version.
 */

const portNumber = z.number().int().min(1).max(65_535);
const protocol = z.string().nullish().transform((value) => value ?? "TCP");
const list = <T extends z.ZodType>(item: T) => z.array(item).nullish().transform((value) => value ?? []);
const flag = z.boolean().nullish().transform((value) => value ?? undefined);

/** A zone is the value of a node's label; a node's name is a DNS name. */
const zoneHint = z.object({ name: z.string().min(1).max(63) });
const nodeHint = z.object({ name: z.string().min(1).max(253) });

/** Each of them may be unknown. */
const conditions = z.object({ ready: flag, serving: flag, terminating: flag });

/** More for an endpoint an API server does not take. Source: the API reference, EndpointHints */
const MAX_HINTS = 8;

/** Which zones and which nodes an endpoint is meant for. */
interface Hints {
  readonly zones: readonly string[];
  readonly nodes: readonly string[];
  /** False where some are left out. */
  readonly areUnderstood: boolean;
}

const NO_HINTS: Hints = { zones: [], nodes: [], areUnderstood: true };

/** What is wrong with hints costs nobody an endpoint. */
const hints = z.unknown().nullish().transform((value): Hints => {
  if (value === undefined || value === null) return NO_HINTS;
  const told = z.object({ forZones: z.unknown().optional(), forNodes: z.unknown().optional() }).safeParse(value);
  if (!told.success) return { ...NO_HINTS, areUnderstood: false };
  const [zones, nodes] = [namesOf(told.data.forZones, zoneHint), namesOf(told.data.forNodes, nodeHint)];
  return { zones: zones.names, nodes: nodes.names, areUnderstood: zones.areAll && nodes.areAll };
});

function namesOf(hints: unknown, hint: typeof zoneHint): { readonly names: readonly string[]; readonly areAll: boolean } {
  const all = list(z.unknown()).safeParse(hints);
  if (!all.success) return { names: [], areAll: false };
  const names = all.data.slice(0, MAX_HINTS).flatMap((one) => hint.safeParse(one).data?.name ?? []);
  return { names, areAll: names.length === all.data.length };
}

/** A word that Kubernetes may add others to; empty: the usual. */
const policy = (usual: string) => z.unknown().optional().transform((value) => (value === undefined || value === null || value === usual ? "" : typeof value === "string" ? value : JSON.stringify(value)));

const serviceSpec = z.object({
  type: text,
  externalName: text,
  ipFamilies: list(z.string()),
  /** Which endpoints callers prefer, such as `PreferClose`; empty: any. */
  trafficDistribution: policy(""),
  internalTrafficPolicy: policy("Cluster"),
  sessionAffinity: policy("None"),
  ports: list(z.object({ name: text, protocol, port: portNumber, appProtocol: text })),
});

const sliceBody = z.object({
  addressType: z.string(),
  endpoints: list(
    z.object({
      addresses: z.array(z.string()),
      conditions: conditions.nullish().transform((value) => value ?? { ready: undefined, serving: undefined, terminating: undefined }),
      targetRef: z.object({ kind: text, namespace: text, name: text, uid: text }).nullish(),
      nodeName: text,
      zone: text,
      hints,
    }),
  ),
  ports: list(z.object({ name: text, protocol, port: portNumber.nullish() })),
});

const podBody = z.object({
  spec: z.object({ serviceAccountName: text, initContainers: list(z.object({ name: z.string() })), containers: list(z.object({ name: z.string() })) }),
  status: z.object({ podIPs: list(z.object({ ip: text })) }).nullish(),
});

export interface KubernetesService extends z.output<typeof serviceSpec> {
  readonly namespace: string;
  readonly name: string;
  readonly labels: Readonly<Record<string, string>>;
  /** Of Istio's annotation; empty without it. */
  readonly exportTo: string;
}

/** A part of a service's endpoints: of one address family, all with the same ports. */
export interface EndpointSlice extends z.output<typeof sliceBody> {
  readonly namespace: string;
  readonly name: string;
  /** `NAMESPACE/NAME` of the service; undefined where it belongs to none. */
  readonly service: string | undefined;
  /** When what it last changed for happened, as the cluster's controller notes it. Milliseconds since the epoch. */
  readonly changedAt: number | undefined;
}

export type SliceEndpoint = EndpointSlice["endpoints"][number];

export interface Pod {
  readonly namespace: string;
  readonly name: string;
  readonly uid: string;
  readonly labels: Readonly<Record<string, string>>;
  readonly serviceAccount: string;
  readonly addresses: readonly string[];
  /** In an Istio mesh: behind a sidecar, or in ambient mode. */
  readonly isInIstio: boolean;
}

export interface Node {
  readonly region: string;
  readonly zone: string;
}

export const readService = reader((metadata, object): KubernetesService => {
  const { namespace, name, labels, annotations } = metadata;
  return { namespace, name, labels, exportTo: annotations["networking.istio.io/exportTo"] ?? "", ...serviceSpec.parse(object["spec"] ?? {}) };
});

export const readSlice = reader((metadata, object): EndpointSlice => {
  const { namespace, name, labels, annotations } = metadata;
  const owner = labels["kubernetes.io/service-name"] ?? "";
  const changedAt = Date.parse(annotations["endpoints.kubernetes.io/last-change-trigger-time"] ?? "");
  return { namespace, name, service: owner === "" ? undefined : `${namespace}/${owner}`, changedAt: Number.isNaN(changedAt) ? undefined : changedAt, ...sliceBody.parse(object) };
});

export const readPod = reader((metadata, object): Pod => {
  const { namespace, name, uid, labels, annotations } = metadata;
  const { spec, status } = podBody.parse(object);
  return {
    namespace,
    name,
    uid,
    labels,
    serviceAccount: spec.serviceAccountName,
    addresses: (status?.podIPs ?? []).map(({ ip }) => ip),
    isInIstio:
      annotations["sidecar.istio.io/status"] !== undefined ||
      // What Istio's own control plane goes by.
      labels["security.istio.io/tlsMode"] === "istio" ||
      annotations["ambient.istio.io/redirection"] === "enabled" ||
      [...spec.initContainers, ...spec.containers].some((container) => container.name === "istio-proxy"),
  };
});

export const readNode = reader(({ labels }): Node => ({ region: labels["topology.kubernetes.io/region"] ?? "", zone: labels["topology.kubernetes.io/zone"] ?? "" }));
