import { z } from "zod";
import { dnsLabelProblem } from "../../api/name.ts";
import { HOSTS_REGISTRY } from "../../discovery/registry/agents/registry.ts";
import { CONSUL_DEFAULTS } from "../../discovery/registry/consul/defaults.ts";
import { PUBLISH_DEFAULTS } from "../../discovery/registry/consul/publish/publisher.ts";
import { isHostname } from "../../model/hostname.ts";

const address = z.string().refine(
  (text) => /^unix:\/\/\/.+$/.test(text) || (/^https?:\/\/[^/?#@]+$/.test(text) && URL.canParse(text)),
  "must be http://HOST:PORT, https://HOST:PORT or unix:///PATH",
);
const path = z.string().min(1);

/** What of the mesh is registered in a Consul. */
const publishing = z.strictObject({
  from: z.array(z.string().min(1)).min(1).default([HOSTS_REGISTRY]).describe("Registries whose instances are published: those of enrolled hosts, unless others are named."),
  namespaces: z.array(z.string().min(1)).min(1).optional().describe("Namespaces of the mesh whose services are published; all where absent."),
  selector: z.record(z.string(), z.string()).optional().describe("Labels of the services that are published; any where absent."),
  name: z.string().regex(/^(?:[a-z0-9-]|\{name\}|\{namespace\})+$/, "may have lower-case letters, digits, hyphens, {name} and {namespace}")
    .refine((text) => text.includes("{name}"), "must contain {name}").default(PUBLISH_DEFAULTS.name).describe("Their names in Consul, out of {name} and {namespace}."),
  sharedNames: z.array(z.string().min(1)).optional().describe("Names in Consul that somebody else may have too: the mesh's instances are added to theirs, instead of being left out."),
  tags: z.array(z.string().min(1)).default([]).describe("Tags of everything that is published."),
  node: z.string().regex(/^[A-Za-z0-9]([A-Za-z0-9-]{0,61}[A-Za-z0-9])?$/, "must be a DNS label").default(PUBLISH_DEFAULTS.node)
    .describe("Node of Consul's catalog that everything published is on; made for this, with nothing else on it."),
  tokenFile: z.string().min(1).optional().describe("File that holds the ACL token to write with; the registry's tokenFile where absent."),
});

/** A registry that reads a datacenter of Consul. */
export const consulRegistrySchema = (name: z.ZodType<string>) =>
  z.strictObject({
    kind: z.literal("consul"),
    name,
    address: address.default("http://127.0.0.1:8500").describe("http://, https:// or unix:// address of a Consul agent. Over https:// a connection carries many questions (HTTP/2): right for more than a hundred services."),
    otherAddresses: z.array(address).optional().describe("Other agents of the same datacenter, asked in turn when one does not answer."),
    namespace: z.string().refine((text) => dnsLabelProblem(text) === undefined, "must be a DNS label in lower case").default("consul").describe("Namespace of the mesh that its services appear in."),
    datacenter: z.string().min(1).optional().describe("Datacenter to read; the agent's own where absent. Each further one is a registry of its own."),
    partition: z.string().min(1).optional().describe("Admin partition to read (Consul Enterprise)."),
    consulNamespace: z.string().min(1).optional().describe("Namespace of Consul to read (Consul Enterprise)."),
    tokenFile: path.optional().describe("File that holds the ACL token; read again when it changes."),
    caFile: path.optional().describe("PEM file of the roots that the Consul agent's certificate is checked against; the system's where absent. Read again for each connection, as certificateFile and keyFile are."),
    certificateFile: path.optional().describe("PEM file of the client certificate that is shown to the Consul agent."),
    keyFile: path.optional().describe("PEM file of the client certificate's key."),
    serverName: z.string().min(1).optional().describe("Name in the Consul agent's certificate, such as server.dc1.consul, where it is not that of the address."),
    addressTag: z.string().optional().describe("Tagged address to prefer, such as lan_ipv4 or wan."),
    network: z.string().optional().describe("Network of its endpoints; the mesh's own where absent."),
    dnsDomain: z.string().refine((domain) => isHostname(domain) && !domain.startsWith("*"), "must be a DNS name in lower case").default(CONSUL_DEFAULTS.dnsDomain)
      .describe("Consul's own domain, of the native names of its services."),
    ignoredServices: z.array(z.string()).optional().describe("Consul services that the mesh leaves alone; `consul` where absent."),
    ignoredSources: z.array(z.string()).optional().describe("Instances whose meta external-source is one of these are left alone; where absent, kubernetes where a registry of that kind is configured. What the mesh itself registered is left alone in any case."),
    maxAgeSeconds: z.number().min(90).optional().describe("How old content may be whose health is believed while Consul is away: after that its healthy instances count as unknown, which yields to what another registry says of them. Without end where absent; they get traffic either way."),
    agentCache: z.boolean().default(false).describe("Have the Consul agent answer out of its own cache (streaming): fewer questions to Consul's servers when several control planes ask one agent."),
    maxConnections: z.number().int().min(8).max(20_000).optional()
      .describe("Connections at a time. 128 where absent, shared by the registries of one address: Consul gives 200 to a client address (limits.http_max_conns_per_client)."),
    publish: publishing.optional().describe("Registers services of the mesh in this Consul, for those who are not in the mesh; off unless set. docs/consul-publish.md says what they find, and what the token needs."),
  });

export type ConsulRegistryConfig = z.infer<ReturnType<typeof consulRegistrySchema>>;

/** What in a configuration contradicts itself, with the field. */
export function findConsulFaults({ publish, partition, consulNamespace, address: first, otherAddresses = [], caFile, certificateFile, keyFile, serverName }: ConsulRegistryConfig): { readonly field: string; readonly message: string }[] {
  const faults: { readonly field: string; readonly message: string }[] = [];
  if (certificateFile !== undefined && keyFile === undefined) faults.push({ field: "certificateFile", message: "needs keyFile beside it" });
  if (keyFile !== undefined && certificateFile === undefined) faults.push({ field: "keyFile", message: "needs certificateFile beside it" });
  const isTls = [first, ...otherAddresses].some((one) => one.startsWith("https://"));
  const [field] = Object.entries({ caFile, certificateFile, keyFile, serverName }).flatMap(([name, value]) => (value === undefined ? [] : [name]));
  if (!isTls && field !== undefined) faults.push({ field, message: `is of no use with ${first}: give an https:// address` });
  if (publish !== undefined && (partition ?? consulNamespace) !== undefined) faults.push({ field: "publish", message: "goes into the default partition and namespace alone: give it to a registry without partition and consulNamespace" });
  return faults;
}
