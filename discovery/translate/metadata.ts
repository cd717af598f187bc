/**
 * The metadata that we put on clusters and endpoints. Access logs and metrics
 * read it as `%CLUSTER_METADATA(ironmesh:service)%` and the like.
 */
export const METADATA_NAMESPACE = "ironmesh";

/** Envoy's own namespace, by which a cluster chooses an endpoint's transport socket. */
export const TRANSPORT_SOCKET_MATCH = "envoy.transport_socket_match";

/** On every endpoint that speaks mutual TLS; the name of the match is Istio's. */
export const MESH_TLS_MATCH: Readonly<Record<string, string>> = { tlsMode: "mesh" };
