import { isIP } from "node:net";
import { z } from "zod";
import { isHostname } from "../model/hostname.ts";

/** Every default that holds for a whole mesh, in one place. */
export const MESH_DEFAULTS = {
  domain: "mesh.internal",
  trustDomain: "mesh.internal",
  /** Policies of this namespace hold in every other. */
  rootNamespace: "ironmesh-system",
  /** Where virtual addresses are taken from: ranges that no network routes. */
  vipRanges: { ipv4: "240.240.0.0/16", ipv6: "2001:2::/48" },
  /** A mesh is joined host by host: plain callers are let in until somebody says STRICT. */
  mtls: "PERMISSIVE",
  outboundTrafficPolicy: "ALLOW_ANY",
} as const;

const domainName = z.string().refine((name) => isHostname(name) && !name.startsWith("*"), "must be a DNS name in lower case");

function range(family: 4 | 6): z.ZodString {
  return z.string().refine((cidr) => {
    const [address = "", length = "", ...rest] = cidr.split("/");
    return isIP(address) === family && /^\d{1,3}$/.test(length) && Number(length) <= (family === 4 ? 32 : 128) && rest.length === 0;
  }, `must be an IPv${family} range`);
}

/** Settings of the whole mesh, in the control plane's configuration under `mesh`. */
export const meshConfigSchema = z.strictObject({
  domain: domainName.default(MESH_DEFAULTS.domain).describe("Services are called <name>.<namespace>.svc.<domain>."),
  trustDomain: domainName.default(MESH_DEFAULTS.trustDomain).describe("First part of every SPIFFE ID."),
  rootNamespace: z.string().regex(/^[a-z0-9]([-a-z0-9]{0,61}[a-z0-9])?$/, "must be a DNS label").default(MESH_DEFAULTS.rootNamespace)
    .describe("Policies of this namespace hold in every other."),
  vipRanges: z.tuple([range(4), range(6)]).default([MESH_DEFAULTS.vipRanges.ipv4, MESH_DEFAULTS.vipRanges.ipv6])
    .describe("IPv4 and IPv6 range of virtual addresses."),
  mtls: z.enum(["STRICT", "PERMISSIVE", "DISABLE"]).default(MESH_DEFAULTS.mtls)
    .describe("Inbound mode where no PeerAuthentication says otherwise."),
  outboundTrafficPolicy: z.enum(["ALLOW_ANY", "REGISTRY_ONLY"]).default(MESH_DEFAULTS.outboundTrafficPolicy)
    .describe("What happens to destinations that the mesh does not know."),
});

export type MeshConfig = z.infer<typeof meshConfigSchema>;
