import type { SampleInstance } from "./registry-conformance.ts";

/** Objects of a cluster as its API writes them, as far as tests need them. */

export interface KubernetesObject {
  readonly apiVersion: string;
  readonly kind: string;
  readonly metadata: Readonly<Record<string, unknown>> & { readonly name: string; readonly namespace?: string };
  readonly [field: string]: unknown;
}

/** A kind in the API: its path between version and namespace, and whether it has namespaces. */
export const RESOURCES = {
  Service: { group: "/api/v1", plural: "services", isNamespaced: true },
  EndpointSlice: { group: "/apis/discovery.k8s.io/v1", plural: "endpointslices", isNamespaced: true },
  Pod: { group: "/api/v1", plural: "pods", isNamespaced: true },
  Node: { group: "/api/v1", plural: "nodes", isNamespaced: false },
} as const;

const NETWORKING = { group: "/apis/networking.istio.io/v1", isNamespaced: true } as const;
const SECURITY = { group: "/apis/security.istio.io/v1", isNamespaced: true } as const;

/** Istio's, which are there where they are installed. */
export const ISTIO_RESOURCES = {
  ServiceEntry: { ...NETWORKING, plural: "serviceentries" },
  WorkloadEntry: { ...NETWORKING, plural: "workloadentries" },
  WorkloadGroup: { ...NETWORKING, plural: "workloadgroups" },
  VirtualService: { ...NETWORKING, plural: "virtualservices" },
  DestinationRule: { ...NETWORKING, plural: "destinationrules" },
  PeerAuthentication: { ...SECURITY, plural: "peerauthentications" },
  AuthorizationPolicy: { ...SECURITY, plural: "authorizationpolicies" },
} as const;

export type SampleKind = keyof typeof RESOURCES | keyof typeof ISTIO_RESOURCES;

/** Where objects of a kind are in the API. */
export function resourceOf(kind: SampleKind): { readonly group: string; readonly plural: string; readonly isNamespaced: boolean } {
  return kind in RESOURCES ? RESOURCES[kind as keyof typeof RESOURCES] : ISTIO_RESOURCES[kind as keyof typeof ISTIO_RESOURCES];
}

/** One of Istio's resources, of the cluster's namespace `shop` unless said otherwise. */
export function istio(kind: keyof typeof ISTIO_RESOURCES, name: string, spec: object, { namespace = "shop", ...metadata }: { readonly namespace?: string; readonly annotations?: object; readonly labels?: object } = {}): KubernetesObject {
  return { apiVersion: ISTIO_RESOURCES[kind].group.replace("/apis/", ""), kind, metadata: { name, namespace, ...metadata }, spec };
}

export function service(name: string, spec: object = {}, metadata: object = {}): KubernetesObject {
  return { apiVersion: "v1", kind: "Service", metadata: { name, namespace: "default", ...metadata }, spec: { ports: [{ name: "http", port: 80, targetPort: 8_080, protocol: "TCP" }], ...spec } };
}

export function node(name: string, region: string, zone: string): KubernetesObject {
  return { apiVersion: "v1", kind: "Node", metadata: { name, labels: { "topology.kubernetes.io/region": region, "topology.kubernetes.io/zone": zone } }, spec: {} };
}

export interface SamplePod {
  readonly uid?: string;
  readonly addresses?: readonly string[];
  readonly labels?: Readonly<Record<string, string>>;
  readonly annotations?: Readonly<Record<string, string>>;
  readonly serviceAccount?: string;
  readonly node?: string;
  readonly namespace?: string;
  readonly containers?: readonly string[];
}

export function pod(name: string, { uid, addresses = [], labels = {}, annotations = {}, serviceAccount = "default", node: nodeName, namespace = "default", containers = ["app"] }: SamplePod = {}): KubernetesObject {
  return {
    apiVersion: "v1",
    kind: "Pod",
    metadata: { name, namespace, labels, annotations, ...(uid === undefined ? {} : { uid }) },
    spec: { serviceAccountName: serviceAccount, ...(nodeName === undefined ? {} : { nodeName }), containers: containers.map((container) => ({ name: container, image: "app" })) },
    status: { phase: "Running", podIPs: addresses.map((ip) => ({ ip })) },
  };
}

export interface SampleEndpoint {
  readonly address: string;
  readonly pod?: { readonly name: string; readonly uid: string; readonly namespace?: string };
  readonly node?: string;
  readonly zone?: string;
  /** Zones that it is hinted for. */
  readonly zoneHints?: readonly string[];
  /** Nodes that it is hinted for. */
  readonly nodeHints?: readonly string[];
  readonly conditions?: { readonly ready?: boolean; readonly serving?: boolean; readonly terminating?: boolean };
}

export function slice(
  name: string,
  of: string,
  endpoints: readonly SampleEndpoint[],
  { ports = [{ name: "http", port: 8_080 }], addressType = "IPv4", namespace = "default" }: { readonly ports?: readonly object[]; readonly addressType?: string; readonly namespace?: string } = {},
): KubernetesObject {
  return {
    apiVersion: "discovery.k8s.io/v1",
    kind: "EndpointSlice",
    metadata: { name, namespace, labels: { "kubernetes.io/service-name": of } },
    addressType,
    ports: ports.map((port) => ({ protocol: "TCP", ...port })),
    endpoints: endpoints.map(({ address, pod: target, node: nodeName, zone, zoneHints, nodeHints, conditions = { ready: true, serving: true, terminating: false } }) => ({
      addresses: [address],
      conditions,
      ...(target === undefined ? {} : { targetRef: { kind: "Pod", namespace, ...target } }),
      ...(nodeName === undefined ? {} : { nodeName }),
      ...(zone === undefined ? {} : { zone }),
      ...(zoneHints === undefined && nodeHints === undefined ? {} : { hints: { ...hintsFor("forZones", zoneHints), ...hintsFor("forNodes", nodeHints) } }),
    })),
  };
}

function hintsFor(field: string, names: readonly string[] | undefined): object {
  return names === undefined ? {} : { [field]: names.map((name) => ({ name })) };
}

/** A service with a pod and a slice for each instance: slices whose ports differ are not one. */
export function clusterObjects(name: string, instances: readonly SampleInstance[]): KubernetesObject[] {
  if (instances.length === 0) return [];
  const octet = Number.parseInt(name.slice(0, 1), 36);
  return [
    service(name),
    ...instances.flatMap(({ id, port, isHealthy }) => {
      const podName = `${name}-${id}`;
      const address = `10.0.${octet}.${id}`;
      const conditions = { ready: isHealthy, serving: isHealthy, terminating: false };
      return [
        pod(podName, { uid: `uid-${podName}`, addresses: [address], labels: { app: name } }),
        slice(podName, name, [{ address, pod: { name: podName, uid: `uid-${podName}` }, conditions }], { ports: [{ name: "http", port }] }),
      ];
    }),
  ];
}

/** A slice whose endpoints are all hinted for a zone; anything else as it is. */
export function hintedFor(zone: string | undefined, object: KubernetesObject): KubernetesObject {
  if (zone === undefined || object.kind !== "EndpointSlice") return object;
  return { ...object, endpoints: (object["endpoints"] as object[]).map((endpoint) => ({ ...endpoint, hints: { forZones: [{ name: zone }] } })) };
}
