import { endpointAddress, SERVICE_PORT, serviceName } from "./registry-source.ts";

/** What the benchmark of a fleet writes into the control plane's folder, and what its hosts belong to. */

/** Groups that the hosts are spread over; each is a service of its own. */
export const GROUPS = 60;

export const groupOf = (host: number): string => `vm-${host % GROUPS}`;

/** Where a host says that it is: no two are at one address. */
export const hostAddress = (host: number): string => `172.16.${host >> 8}.${host & 255}`;

const clusterOf = (name: string): string => `outbound|${SERVICE_PORT}||${name}.default.svc.mesh.internal`;

/** The cluster, and load assignment, of a service out of YAML. */
export const serviceCluster = (index: number): string => clusterOf(serviceName(index));

/** True of the load assignments whose endpoints are the hosts of the fleet. */
export const isOfHosts = (cluster: string): boolean => cluster.startsWith(`outbound|${SERVICE_PORT}||vm-`);

/** JSON is YAML. */
const document = (kind: string, name: string, spec: object): string =>
  JSON.stringify({ apiVersion: kind === "Service" ? "v1" : "networking.istio.io/v1", kind, metadata: { name, namespace: "default" }, spec });

const service = (name: string): string => document("Service", name, { selector: { app: name }, ports: [{ name: "http", port: SERVICE_PORT }] });

/** An endpoint of a service; another generation has another address. */
export const endpointYaml = (index: number, replica: number, generation = 0): string =>
  document("WorkloadEntry", `${serviceName(index)}-${replica}`, { address: endpointAddress(index, replica, generation), labels: { app: serviceName(index) } });

export const serviceYaml = (index: number, replicas: readonly number[]): string =>
  [service(serviceName(index)), ...replicas.map((replica) => endpointYaml(index, replica))].join("\n---\n");

export const virtualServiceYaml = (index: number, generation: number): string =>
  document("VirtualService", "bench", { hosts: [serviceName(index)], http: [{ route: [{ destination: { host: serviceName(index) } }], timeout: `${generation}s` }] });

/** The groups of the hosts, and their services. */
export function groupsYaml(): string {
  return Array.from({ length: GROUPS }, (_, group) => groupOf(group))
    .flatMap((name) => [service(name), document("WorkloadGroup", name, { metadata: { labels: { app: name } }, template: { serviceAccount: name, ports: { http: SERVICE_PORT } } })])
    .join("\n---\n");
}
