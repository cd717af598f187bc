import { join } from "node:path";
import { ensureGoPeer, goPeerPaths } from "./go-peer.ts";
import type { GoPeer } from "./go-peer.ts";

const VERSION = "1.36.3";

/** Debian's etcd-server would start a service on the machine: it is built with the API server, in the version that goes with it. */
const KUBERNETES: GoPeer = {
  name: "kubernetes",
  folder: join(import.meta.dirname, "..", "peers", "tools-kubernetes"),
  goVersion: "1.26.0",
  cpuMinutes: 10,
  programs: [
    { command: "kube-apiserver", version: VERSION, package: "k8s.io/kubernetes/cmd/kube-apiserver" },
    { command: "kubectl", version: VERSION, package: "k8s.io/kubernetes/cmd/kubectl" },
    { command: "etcd", version: "3.6.8", package: "go.etcd.io/etcd/server/v3" },
  ],
  remedy: "install kube-apiserver, kubectl and etcd (https://kubernetes.io/releases/download)",
};

/** The programs of a Kubernetes API, and its command line. */
export interface KubernetesPrograms {
  /** Of Kubernetes; the program itself does not know it. */
  readonly version: string;
  readonly apiServer: string;
  readonly kubectl: string;
  readonly etcd: string;
}

/** Those to run; undefined without them. */
export function kubernetesPrograms(): KubernetesPrograms | undefined {
  const paths = goPeerPaths(KUBERNETES);
  return paths === undefined ? undefined : { version: VERSION, apiServer: paths.get("kube-apiserver") ?? "", kubectl: paths.get("kubectl") ?? "", etcd: paths.get("etcd") ?? "" };
}

/** Builds them where they are missing. @returns why they are missing still */
export async function ensureKubernetes(say?: (text: string) => void): Promise<string | undefined> {
  const found = await ensureGoPeer(KUBERNETES, say);
  return "missing" in found ? found.missing : undefined;
}
