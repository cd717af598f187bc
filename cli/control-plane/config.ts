import { z } from "zod";
import { meshConfigSchema } from "../../api/mesh-config.ts";
import type { ConfigFile } from "../../base/config-file.ts";
import { caConfigSchema } from "../../ca/config.ts";
import { LIVENESS_DEFAULTS } from "../../discovery/registry/agents/registry.ts";
import { KUBERNETES_DEFAULTS } from "../../discovery/registry/kubernetes/registry.ts";
import { isHostname } from "../../model/hostname.ts";
import { consulRegistrySchema, findConsulFaults } from "./consul-config.ts";
import { findPublicationMistakes } from "./publication-mistakes.ts";
import { findRegistryConflicts } from "./registry-conflicts.ts";
import { findFaultsOfSameness, samenessSchema } from "./sameness.ts";

/** Every port, path and default of the control plane, with its reason, in one place. */
export const CONTROL_PLANE_DEFAULTS = {
  /** gRPC over mutual TLS: enrolment, certificates and delta ADS of the agents. */
  agentPort: 15_012,
  /** Metrics, on loopback: they name services and hosts. */
  metricsPort: 15_014,
  /** State store with the sealed CA key and the last good configuration; also the key that seals it, unless `ca.keyFile` is elsewhere. */
  stateDir: "/var/lib/ironmesh/control-plane",
  /** Until roles exist the API is the local administrator's: a socket, by file permission. */
  apiSocket: "/run/ironmesh/control-plane.sock",
} as const;

const hostPort = z.strictObject({
  host: z.string().min(1),
  port: z.number().int().min(0).max(65_535),
});

const registryName = (name: string) =>
  z.string().regex(/^[a-z0-9]([a-z0-9-]*[a-z0-9])?$/, "must be a lower-case name").default(name).describe("How the registry is called in status and precedence.");

const consulRegistry = consulRegistrySchema(registryName("consul"));

const kubernetesRegistry = z.strictObject({
  kind: z.literal("kubernetes"),
  name: registryName("kubernetes"),
  kubeconfig: z.string().min(1).optional().describe("Kubeconfig of the cluster; absent: the cluster that the control plane runs in, as its pod's service account."),
  context: z.string().min(1).optional().describe("Context of the kubeconfig; its current one where absent."),
  tokenFile: z.string().min(1).optional().describe("File of a bearer token that goes before the kubeconfig's; read for every request."),
  namespacePrefix: z.string().regex(/^[a-z0-9][a-z0-9-]*-$/, "must begin with a letter or digit and end with a hyphen").optional()
    .describe("Stands before each of the cluster's namespaces to make the mesh's; the name and a hyphen where absent."),
  namespaces: z.array(z.string().min(1)).min(1).optional().describe("The cluster's namespaces to read; all but the ignored ones where absent."),
  ignoredNamespaces: z.array(z.string().min(1)).optional().describe("The cluster's namespaces to leave alone; kube-node-lease, kube-public and kube-system where absent."),
  clusterDomain: z.string().refine((domain) => isHostname(domain) && !domain.startsWith("*"), "must be a DNS name in lower case").default(KUBERNETES_DEFAULTS.clusterDomain)
    .describe("The cluster's own domain, of the native names of its services."),
  istioPods: z.enum(["plaintext", "exclude"]).default(KUBERNETES_DEFAULTS.istioPods)
    .describe("How pods that are in an Istio mesh of the cluster are called: its authority is another one. `exclude` where that mesh, or what is sent there, takes no plaintext."),
  resources: z.boolean().default(false)
    .describe("Reads Istio's resources of the cluster as configuration: what they say of its own services and namespaces. Needs the rights of docs/kubernetes/rbac-resources.yaml."),
  istioRootNamespace: z.string().regex(/^[a-z0-9]([-a-z0-9]{0,61}[a-z0-9])?$/, "must be a DNS label").default("istio-system")
    .describe("The cluster's namespace whose policies hold in all of its namespaces, as its Istio has it. They hold in no others of the mesh."),
  resourceHosts: z.array(z.string().refine((host) => host !== "*" && isHostname(host), "must be a DNS name in lower case, `*.` allowed")).optional()
    .describe("Hosts besides its own services that the cluster's resources may route and declare; none where absent. Needs `resources`."),
  network: z.string().optional().describe("Network of its endpoints; the mesh's own where absent."),
  locality: z.string().optional().describe("`region/zone` of endpoints whose nodes do not say where they are."),
});

export const controlPlaneSchema = z.strictObject({
  configDir: z.string().optional().describe("Directory of YAML that is watched; applied resources live in the state store besides."),
  stateDir: z.string().default(CONTROL_PLANE_DEFAULTS.stateDir),
  replica: z.string().regex(/^[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?$/, "must be a DNS label").default("control-plane-1").describe("Name of this replica in its SPIFFE ID."),
  listen: z.strictObject({
    agents: z.array(hostPort).min(1).default([{ host: "::", port: CONTROL_PLANE_DEFAULTS.agentPort }]),
    metrics: hostPort.default({ host: "127.0.0.1", port: CONTROL_PLANE_DEFAULTS.metricsPort }),
    apiSocket: z.string().default(CONTROL_PLANE_DEFAULTS.apiSocket),
  }).prefault({}),
  mesh: meshConfigSchema.prefault({}),
  registries: z.array(z.discriminatedUnion("kind", [consulRegistry, kubernetesRegistry])).default([]),
  sameness: z.array(samenessSchema).default([]).describe("Which services of several registries are one. Without a rule each is a service of its own."),
  ca: caConfigSchema
    .omit({ trustDomain: true, replica: true, keyFile: true })
    .extend({ keyFile: z.string().min(1).optional().describe("File of the key that seals the authority's private key and its journal; `ca.key` in stateDir unless set. There it protects from who gets state.db alone; who gets the whole of stateDir, or a backup of it, is the authority. Elsewhere, in a folder that the control plane may write to, it also protects stateDir and its backups.") })
    .prefault({}),
  liveness: z.strictObject({
    graceMs: z.number().int().min(0).default(LIVENESS_DEFAULTS.graceMs).describe("How long a host may be silent before it gets no new traffic."),
    returnMs: z.number().int().min(0).default(LIVENESS_DEFAULTS.returnMs).describe("How long known hosts may take to return after a start of the control plane, or when most were lost at once; longer while others are still returning, ten times as long at most."),
    forgetMs: z.number().int().min(0).default(LIVENESS_DEFAULTS.forgetMs).describe("How long a lost host stays listed."),
  }).prefault({}),
  debug: z.strictObject({
    plaintextXds: z.string().regex(/^(127\.0\.0\.1|\[::1\]|localhost):\d{1,5}$/, "must be a port of loopback, such as 127.0.0.1:15010").optional()
      .describe("Port of loopback where an xDS client of any make, delta or state of the world, sees what the workload of its node id `sidecar~IP~NAME.NAMESPACE~DOMAIN` gets; off unless set."),
  }).prefault({}),
  log: z.strictObject({ level: z.enum(["trace", "debug", "info", "warn", "error"]).default("info") }).prefault({}),
}).superRefine(({ registries, sameness, mesh }, context) => {
  for (const [index, registry] of registries.entries()) {
    if (registry.kind === "consul") for (const { field, message } of findConsulFaults(registry)) context.addIssue({ code: "custom", path: ["registries", index, field], message });
    if (registry.kind !== "kubernetes" || registry.resources || registry.resourceHosts === undefined) continue;
    context.addIssue({ code: "custom", path: ["registries", index, "resourceHosts"], message: "needs `resources: true`" });
  }
  for (const { index, message } of findRegistryConflicts(registries, mesh)) context.addIssue({ code: "custom", path: ["registries", index], message });
  for (const [index, rule] of sameness.entries()) {
    for (const { path, message } of findFaultsOfSameness(rule, registries)) context.addIssue({ code: "custom", path: ["sameness", index, ...path], message });
  }
  for (const { path, message } of findPublicationMistakes(registries)) context.addIssue({ code: "custom", path: ["registries", ...path], message });
});

/** One registry's configuration, parsed. */
export type RegistryConfig = z.infer<typeof consulRegistry> | z.infer<typeof kubernetesRegistry>;

/** The control plane's configuration file, parsed. */
export type ControlPlaneConfig = z.infer<typeof controlPlaneSchema>;

export const CONTROL_PLANE_CONFIG_FILE: ConfigFile<ControlPlaneConfig> = { schema: controlPlaneSchema, reference: "docs/reference/control-plane-config.md" };
