import { z } from "zod";

/**
 * What is read of one entry of `/v1/health/service/NAME`. Consul leaves out or
 * nulls what is empty, and adds fields with every version: neither is an error.
 * Source: developer.hashicorp.com/consul/api-docs/health#list-service-instances-for-service
 */
const texts = z.record(z.string(), z.string()).nullish().transform((value) => value ?? {});
const locality = z.object({ Region: z.string().default(""), Zone: z.string().default("") }).nullish();
/** Consul takes any number for a port. */
const portNumber = z.number();

const entrySchema = z.object({
  Node: z.object({
    Node: z.string(),
    Address: z.string().default(""),
    Datacenter: z.string().default(""),
    Partition: z.string().default(""),
    TaggedAddresses: z.record(z.string(), z.string()).nullish().transform((value) => value ?? {}),
    Locality: locality,
  }),
  Service: z.object({
    ID: z.string(),
    Service: z.string(),
    Kind: z.string().default(""),
    Tags: z.array(z.string()).nullish().transform((value) => value ?? []),
    Meta: texts,
    Address: z.string().default(""),
    TaggedAddresses: z.record(z.string(), z.object({ Address: z.string(), Port: portNumber.default(0) })).nullish().transform((value) => value ?? {}),
    Port: portNumber.default(0),
    /** Since 1.22; `Port` is the default one of them. */
    Ports: z.array(z.object({ Name: z.string().default(""), Port: portNumber, Default: z.boolean().default(false) })).nullish().transform((value) => value ?? []),
    SocketPath: z.string().default(""),
    Connect: z.object({ Native: z.boolean().default(false) }).nullish(),
    /** Of a sidecar: whose it is. */
    Proxy: z.object({ DestinationServiceName: z.string().default(""), DestinationServiceID: z.string().default("") }).nullish(),
    Weights: z.object({ Passing: z.number().default(1), Warning: z.number().default(1) }).nullish(),
    Namespace: z.string().default(""),
    Locality: locality,
  }),
  Checks: z
    .array(z.object({ CheckID: z.string().default(""), Name: z.string().default(""), Status: z.string(), Output: z.string().default(""), Notes: z.string().default("") }))
    .nullish()
    .transform((value) => value ?? []),
});

/** One instance of a service, with the checks of itself and of its node. */
export type ConsulEntry = z.output<typeof entrySchema>;

export const healthAnswerSchema = z.array(entrySchema);

/** `/v1/catalog/services`: tags by name. */
export const servicesAnswerSchema = z.record(z.string(), z.array(z.string()).nullish());

/** `/v1/config/KIND`: the import judges the entries itself. */
export const configAnswerSchema = z.array(z.unknown());

const policySchema = z.enum(["allow", "deny"]);

/** `/v1/agent/self`, as far as it tells what the agent's proxies do without an intention. */
export const agentSettingsSchema = z.object({
  Config: z.object({ Datacenter: z.string() }),
  DebugConfig: z.object({
    DefaultIntentionPolicy: z.union([policySchema, z.literal("").transform(() => undefined)]).optional(),
    ACLResolverSettings: z.object({ ACLDefaultPolicy: policySchema }),
  }),
});
export type AgentSettings = z.output<typeof agentSettingsSchema>;

/** What is read of a check of `/v1/health/state/STATE`: whose it is. That of a node names no service. */
const checkPlaceSchema = z.object({ Node: z.string(), CheckID: z.string().default(""), ServiceName: z.string().default(""), ServiceID: z.string().default("") });

export type ConsulCheckPlace = z.output<typeof checkPlaceSchema>;

export const stateAnswerSchema = z.array(checkPlaceSchema);
