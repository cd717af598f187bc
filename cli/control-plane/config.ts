import { z } from "zod";

/** Every port, path and default of the control plane, with its reason, in one place. */
export const CONTROL_PLANE_DEFAULTS = {
  /** gRPC over mutual TLS: enrolment, certificates and delta ADS of the agents. */
  agentPort: 15_012,
  /** Metrics, on loopback: they name services and hosts. */
  metricsPort: 15_014,
  /** State store, sealed CA key, last good configuration. */
  stateDir: "/var/lib/ironmesh/control-plane",
  /** Until roles exist the API is the local administrator's: a socket, by file permission. */
  apiSocket: "/run/ironmesh/control-plane.sock",
} as const;

const hostPort = z.strictObject({
  host: z.string().min(1),
  port: z.number().int().min(0).max(65_535),
});

const consulRegistry = z.strictObject({
  kind: z.literal("consul"),
  name: z.string().regex(/^[a-z0-9]([a-z0-9-]*[a-z0-9])?$/, "must be a lower-case name").default("consul")
    .describe("How the registry is called in status and precedence."),
  address: z.string().default("http://127.0.0.1:8500").describe("http://, https:// or unix:// address of a Consul agent."),
  namespace: z.string().default("consul").describe("Namespace of the mesh that its services appear in."),
  datacenter: z.string().optional().describe("Datacenter to read; the agent's own where absent."),
  tokenFile: z.string().optional().describe("File that holds the ACL token; read again when it changes."),
  caFile: z.string().optional().describe("PEM file of the roots that the Consul agent's certificate is checked against."),
});

export const controlPlaneSchema = z.strictObject({
  configDir: z.string().optional().describe("Directory of YAML that is watched; applied resources live in the state store besides."),
  stateDir: z.string().default(CONTROL_PLANE_DEFAULTS.stateDir),
  replica: z.string().regex(/^[a-z0-9-]{1,63}$/).default("1").describe("Name of this replica in its SPIFFE ID."),
  listen: z.strictObject({
    agents: z.array(hostPort).min(1).default([{ host: "::", port: CONTROL_PLANE_DEFAULTS.agentPort }]),
    metrics: hostPort.default({ host: "127.0.0.1", port: CONTROL_PLANE_DEFAULTS.metricsPort }),
    apiSocket: z.string().default(CONTROL_PLANE_DEFAULTS.apiSocket),
  }).prefault({}),
  mesh: z.strictObject({
    domain: z.string().default("mesh.internal"),
    trustDomain: z.string().default("mesh.internal"),
    rootNamespace: z.string().default("ironmesh-system").describe("Policies of this namespace hold in every other."),
    vipRanges: z.tuple([z.string(), z.string()]).default(["240.240.0.0/16", "2001:2::/48"]).describe("IPv4 and IPv6 range of virtual addresses."),
    mtls: z.enum(["STRICT", "PERMISSIVE", "DISABLE"]).default("PERMISSIVE").describe("Inbound mode where no PeerAuthentication says otherwise."),
    outboundTrafficPolicy: z.enum(["ALLOW_ANY", "REGISTRY_ONLY"]).default("ALLOW_ANY"),
  }).prefault({}),
  registries: z.array(z.discriminatedUnion("kind", [consulRegistry])).default([]),
  ca: z.strictObject({
    workloadTtlSeconds: z.number().int().min(3_600).max(90 * 86_400).default(86_400),
    hostTtlSeconds: z.number().int().min(3_600).max(90 * 86_400).default(7 * 86_400),
    keyFile: z.string().optional().describe("Key that the CA's private key is sealed under; made in stateDir where absent."),
  }).prefault({}),
  liveness: z.strictObject({
    graceMs: z.number().int().min(0).default(5_000).describe("How long a host may be silent before it gets no new traffic."),
    forgetMs: z.number().int().min(0).default(3_600_000).describe("How long a lost host stays listed."),
  }).prefault({}),
  debug: z.strictObject({
    plaintextXds: z.string().optional().describe("host:port on loopback where any xDS client may look; off unless set."),
  }).prefault({}),
  log: z.strictObject({ level: z.enum(["trace", "debug", "info", "warn", "error"]).default("info") }).prefault({}),
});

/** The control plane's configuration file, parsed. */
export type ControlPlaneConfig = z.infer<typeof controlPlaneSchema>;
