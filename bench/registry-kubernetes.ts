import { Agent, request } from "node:https";
import { ensureKubernetes, kubernetesPrograms } from "../test/support/kubernetes.ts";
import { KubernetesApi } from "../test/support/kubernetes-api.ts";
import { endpointAddress, SERVICE_PORT, serviceName, type Size, type Source } from "./registry-source.ts";

const TOKEN = "bench-token";
/** etcd takes 128 operations in one transaction. */
const BATCH = 100;
const NODES = 500;

/**
 * A real kube-apiserver with its etcd and no controllers. It is filled in etcd
 * itself, as the API server would have written it: 70,000 writes through the API
 * take minutes. Changes go through the API.
 */
export async function startKubernetesSource({ services, endpoints }: Size): Promise<Source> {
  const missing = await ensureKubernetes(console.error);
  const programs = kubernetesPrograms();
  if (programs === undefined) throw new Error(missing ?? "there is no kube-apiserver");
  const api = await KubernetesApi.start(programs, { [TOKEN]: "bench" });
  await api.apply({
    apiVersion: "rbac.authorization.k8s.io/v1",
    kind: "ClusterRole",
    metadata: { name: "bench" },
    rules: [
      { apiGroups: [""], resources: ["services", "pods", "nodes"], verbs: ["list", "watch"] },
      { apiGroups: ["discovery.k8s.io"], resources: ["endpointslices"], verbs: ["list", "watch"] },
    ],
  }, {
    apiVersion: "rbac.authorization.k8s.io/v1",
    kind: "ClusterRoleBinding",
    metadata: { name: "bench" },
    roleRef: { apiGroup: "rbac.authorization.k8s.io", kind: "ClusterRole", name: "bench" },
    subjects: [{ apiGroup: "rbac.authorization.k8s.io", kind: "User", name: "bench" }],
  });
  const kubeconfig = await api.kubeconfig(TOKEN);
  const connections = new Agent({ keepAlive: true, maxSockets: 16, ca: await api.certificate() });

  const nodeOf = (index: number, replica: number): string => `node-${(index * endpoints + replica) % NODES}`;
  const podOf = (index: number, replica: number): { readonly name: string; readonly uid: string } => ({ name: `${serviceName(index)}-${replica}`, uid: `00000000-0000-4000-8000-${String(index * endpoints + replica).padStart(12, "0")}` });
  const endpointsOf = (index: number, isFirstReady: boolean): object[] =>
    Array.from({ length: endpoints }, (_, replica) => ({
      addresses: [endpointAddress(index, replica)],
      conditions: { ready: replica > 0 || isFirstReady, serving: replica > 0 || isFirstReady, terminating: false },
      targetRef: { kind: "Pod", namespace: "default", ...podOf(index, replica) },
      nodeName: nodeOf(index, replica),
      zone: `zone-${replica}`,
    }));

  function objectsOf(index: number): [key: string, object: object][] {
    const [name, labels] = [serviceName(index), { app: serviceName(index) }];
    const stamped = (of: string, uid: string, more: object = {}): object => ({ name: of, namespace: "default", uid, creationTimestamp: "2026-01-01T00:00:00Z", ...more });
    const pods = Array.from({ length: endpoints }, (_, replica): [string, object] => {
      const { name: pod, uid } = podOf(index, replica);
      const ip = endpointAddress(index, replica);
      return [`/registry/pods/default/${pod}`, {
        apiVersion: "v1",
        kind: "Pod",
        metadata: stamped(pod, uid, { labels }),
        spec: { serviceAccountName: "default", nodeName: nodeOf(index, replica), containers: [{ name: "app", image: "app" }] },
        status: { phase: "Running", podIP: ip, podIPs: [{ ip }] },
      }];
    });
    return [
      // Headless: the API server would go through all others to mend what it keeps about their addresses.
      [`/registry/services/specs/default/${name}`, {
        apiVersion: "v1",
        kind: "Service",
        metadata: stamped(name, `00000000-0000-4000-8001-${String(index).padStart(12, "0")}`),
        spec: { type: "ClusterIP", clusterIP: "None", clusterIPs: ["None"], ipFamilies: ["IPv4"], ipFamilyPolicy: "SingleStack", selector: labels, sessionAffinity: "None", internalTrafficPolicy: "Cluster", ports: [{ name: "http", protocol: "TCP", port: SERVICE_PORT, targetPort: SERVICE_PORT }] },
      }],
      ...pods,
      [`/registry/endpointslices/default/${name}`, {
        apiVersion: "discovery.k8s.io/v1",
        kind: "EndpointSlice",
        metadata: stamped(name, `00000000-0000-4000-8002-${String(index).padStart(12, "0")}`, { labels: { "kubernetes.io/service-name": name } }),
        addressType: "IPv4",
        ports: [{ name: "http", protocol: "TCP", port: SERVICE_PORT }],
        endpoints: endpointsOf(index, true),
      }],
    ];
  }

  /** As a controller writes, over connections that stay. */
  function patchSlice(index: number, content: object): Promise<void> {
    return new Promise((resolve, reject) => {
      const path = `/apis/discovery.k8s.io/v1/namespaces/default/endpointslices/${serviceName(index)}`;
      const asked = request({ host: "127.0.0.1", port: api.port, method: "PATCH", path, agent: connections, headers: { ...api.administrator, "content-type": "application/merge-patch+json" } }, (response) => {
        response.resume();
        response.once("end", () => (response.statusCode === 200 ? resolve() : reject(new Error(`kubernetes: ${path}: ${response.statusCode}`))));
      });
      asked.once("error", reject);
      asked.end(JSON.stringify(content));
    });
  }

  return {
    program: `kube-apiserver ${programs.version} with etcd, no controllers`,
    config: { kind: "kubernetes", kubeconfig },
    clusterName: (index) => `outbound|${SERVICE_PORT}||${serviceName(index)}.kubernetes-default.svc.mesh.internal`,
    async fill() {
      const nodes = Array.from({ length: NODES }, (_, at): [string, object] => [`/registry/minions/node-${at}`, { apiVersion: "v1", kind: "Node", metadata: { name: `node-${at}`, uid: `00000000-0000-4000-8003-${String(at).padStart(12, "0")}`, labels: { "topology.kubernetes.io/region": "eu", "topology.kubernetes.io/zone": `zone-${at % 5}` } } }]);
      let waiting = nodes;
      for (let index = 0; index < services; index += 1) {
        waiting.push(...objectsOf(index));
        for (; waiting.length >= BATCH; waiting = waiting.slice(BATCH)) await api.storeInEtcd(waiting.slice(0, BATCH));
      }
      if (waiting.length > 0) await api.storeInEtcd(waiting);
    },
    change: (index, generation) => patchSlice(index, { endpoints: endpointsOf(index, generation % 2 === 0) }),
    async stop() {
      connections.destroy();
      await api.stop();
    },
  };
}
