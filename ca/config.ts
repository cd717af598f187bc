import { z } from "zod";

import { isMeshTrustDomain } from "../model/identity.ts";

const hourSeconds = 3_600;
const daySeconds = 24 * hourSeconds;

/** A certificate's life: at least an hour, so that an outage of the control plane is survived; at most 90 days. */
const ttlSeconds = z.int().min(hourSeconds).max(90 * daySeconds);

/** A DNS name or, for a wildcard, `*.` and one: what a TLS client may ask for. */
const dnsName = z.string().max(253).regex(/^(\*\.)?([a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?\.)*[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?$/);

/** What an operator may say about the certificate authority. Every default of the room is here. */
export const caConfigSchema = z.strictObject({
  trustDomain: z.string().refine(isMeshTrustDomain, "not a trust domain that is also a DNS name").default("mesh.internal"),
  /** Unique among the replicas of one mesh: part of the control plane's identity, and the name of its journal. */
  replica: z.string().regex(/^[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?$/).default("control-plane-1"),
  /** What agents dial: DNS names of this replica's certificate. */
  dnsNames: z.array(dnsName).max(64).default(["localhost"]),
  /** Where the key that encrypts the authority's private key lies, 0600; made on the very first start. The end of the journal is kept beside it. */
  keyFile: z.string().min(1),
  workloadTtlSeconds: ttlSeconds.default(daySeconds),
  /** A host that is off for longer needs a new token. */
  hostTtlSeconds: ttlSeconds.default(30 * daySeconds),
  controlPlaneTtlSeconds: ttlSeconds.default(daySeconds),
  rootTtlDays: z.int().min(365).max(36_500).default(3_650),
  /** How far certificates reach into the past, for hosts whose clock is behind. */
  backdateSeconds: z.int().min(0).max(hourSeconds).default(60),
  /** Journal entries and lines of the log for refused requests, of all peers together; more are counted only, as are those of a peer that is refused again and again. */
  refusalsPerMinute: z.int().min(1).max(100_000).default(600),
});

export type CaConfig = z.output<typeof caConfigSchema>;
