import { CodedError, messageOf } from "../../base/coded-error.ts";

/** What can be wrong with a Kubernetes cluster's API, by what to do about it. */
export type KubernetesFailureCode =
  /** Nobody answers, or not in time, or not in HTTP, or not with a certificate that is trusted. */
  | "MESH_REGISTRY_UNREACHABLE"
  /** It answers that it cannot: it starts, stops, or has no etcd. */
  | "MESH_REGISTRY_UNAVAILABLE"
  /** Who asks is not known, or may not list and watch. */
  | "MESH_REGISTRY_DENIED"
  /** Too many requests. */
  | "MESH_REGISTRY_THROTTLED"
  /** There is no usable kubeconfig, or the cluster does not know what it is asked for. */
  | "MESH_REGISTRY_MISCONFIGURED"
  /** What it answers is not what the API promises. */
  | "MESH_REGISTRY_MALFORMED"
  /** More is missing than is believable after its data was reset. */
  | "MESH_REGISTRY_SHRUNK";

const hints: Readonly<Record<KubernetesFailureCode, string>> = {
  MESH_REGISTRY_UNREACHABLE: "is the API server up, and are its address and certificates in the kubeconfig right?",
  MESH_REGISTRY_UNAVAILABLE: "is the cluster's etcd well? `kubectl get --raw /readyz?verbose`",
  MESH_REGISTRY_DENIED: "it needs list and watch of services, endpointslices, pods and nodes: apply docs/kubernetes/rbac.yaml (for its resources rbac-resources.yaml too), and check its token",
  MESH_REGISTRY_THROTTLED: "the API server sheds load; see its flow schemas (`kubectl get flowschemas`)",
  MESH_REGISTRY_MISCONFIGURED: "check the registry's kubeconfig and context; Kubernetes 1.21 or newer is needed",
  MESH_REGISTRY_MALFORMED: "is this address really a Kubernetes API server?",
  MESH_REGISTRY_SHRUNK: "the last good content stays in force until the cluster's controllers have had time to write theirs again",
};

/** Longer than this nobody is obeyed. */
const MAX_RETRY_AFTER_MS = 60_000;

export function kubernetesFailure(code: KubernetesFailureCode, message: string, cause?: unknown, facts: Readonly<Record<string, unknown>> = {}): CodedError {
  return new CodedError(code, message, { hint: hints[code], facts, ...(cause === undefined ? {} : { cause }) });
}

/** What an answer that is no 2xx means. @param said the API's own words @param retryAfterSeconds what it asks for; NaN or 0: nothing */
export function failureOfStatus(status: number, said: string, retryAfterSeconds = 0): CodedError {
  const words = said.trim().slice(0, 300);
  const retryAfterMs = retryAfterSeconds > 0 ? Math.min(MAX_RETRY_AFTER_MS, retryAfterSeconds * 1_000) : 0;
  return kubernetesFailure(codeOfStatus(status), `kubernetes answered ${status}${words === "" ? "" : `: ${words}`}`, undefined, { status, retryAfterMs });
}

/** What is thrown where no answer came at all. */
export function failureOfTransport(cause: unknown): CodedError {
  return kubernetesFailure("MESH_REGISTRY_UNREACHABLE", `kubernetes does not answer: ${messageOf(cause)}`, cause);
}

function codeOfStatus(status: number): KubernetesFailureCode {
  if (status === 401 || status === 403) return "MESH_REGISTRY_DENIED";
  if (status === 429) return "MESH_REGISTRY_THROTTLED";
  // A redirection is nothing that an API server does.
  if (status < 500) return "MESH_REGISTRY_MISCONFIGURED";
  return "MESH_REGISTRY_UNAVAILABLE";
}
