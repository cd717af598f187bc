import { z } from "zod";

/**
 * What is read of Consul's answers about what was published. Consul leaves out
 * or nulls what is empty, and adds fields with every version.
 * Source: developer.hashicorp.com/consul/api-docs/catalog and …/txn
 */
const texts = z.record(z.string(), z.string()).nullish().transform((value) => value ?? {});

/** `/v1/catalog/node-services/NODE`; all null where there is no such node. */
export const nodeAnswerSchema = z.object({
  Node: z.object({ Meta: texts }).nullable(),
  Services: z
    .array(
      z.object({
        ID: z.string(),
        Service: z.string(),
        Tags: z.array(z.string()).nullish().transform((value) => value ?? []),
        Address: z.string().default(""),
        Meta: texts,
        Port: z.number().default(0),
        Weights: z.object({ Passing: z.number().default(1) }).nullish(),
      }),
    )
    .nullish()
    .transform((value) => value ?? []),
});

/** `/v1/health/node/NODE`. */
export const checksAnswerSchema = z.array(z.object({ CheckID: z.string(), ServiceID: z.string().default(""), Status: z.string() }));

/** `/v1/catalog/nodes`. */
export const nodesAnswerSchema = z.array(z.object({ Node: z.string() }));

/** `/v1/catalog/service/NAME`. */
export const holdersAnswerSchema = z.array(z.object({ Node: z.string(), NodeMeta: texts }));

/** What `/v1/txn` says where it did nothing. */
export const refusalAnswerSchema = z.object({ Errors: z.array(z.object({ OpIndex: z.number(), What: z.string() })).min(1) });
