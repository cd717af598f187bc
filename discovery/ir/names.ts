/** The names of generated resources. Each is made here and nowhere else. */

/** Istio's own form: `outbound|8080|v1|reviews.default.svc.mesh.internal`. */
export function outboundClusterName(port: number, subset: string, hostname: string): string {
  return `outbound|${port}|${subset}|${hostname}`;
}

/** The SNI by which a mesh connection says which cluster it is for, in Istio's form. */
export function outboundSni(port: number, subset: string, hostname: string): string {
  return `outbound_.${port}_.${subset}_.${hostname}`;
}

/** The SDS validation context that says who may answer for a host. */
export function validationSecretName(hostname: string): string {
  return `validation|${hostname}`;
}

/** The SDS validation context that says who may call: any workload of the trusted domains. */
export const CLIENT_VALIDATION_SECRET = "validation|clients";

/**
 * The SDS secret that a workload's inbound side shows; the agent serves the same
 * certificate under its SPIFFE ID for the outbound side. They must differ: the
 * on-demand selector of the outbound side waits for ever for a secret to which
 * a listener of the same Envoy has subscribed already.
 */
export function serverSecretName(spiffeId: string): string {
  return `server|${spiffeId}`;
}

/** The route table of HTTP to virtual addresses on one port number. */
export function routeTableName(port: number): string {
  return String(port);
}

/** The route table of HTTP to all other addresses on one port number. */
export function outsideTableName(port: number): string {
  return `outside|${port}`;
}

/** Unique in its table. */
export function virtualHostName(hostname: string, port: number): string {
  return `${hostname}:${port}`;
}

export function tcpRouteName(port: number, hostname: string, index: number): string {
  return `tcp|${port}|${hostname}${index === 0 ? "" : `|${index}`}`;
}
