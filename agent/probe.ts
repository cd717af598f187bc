import { z } from "zod";

import { err, ok } from "../base/result.ts";
import type { Result } from "../base/result.ts";

const positive = z.number().positive();
const port = z.number().int().min(1).max(65_535);

/** Istio's ReadinessProbe, as the control plane sends it: JSON of an object that it has validated. */
const schema = z
  .object({
    initialDelaySeconds: z.number().min(0).default(0),
    timeoutSeconds: positive.max(3_600).default(1),
    periodSeconds: positive.max(86_400).default(10),
    successThreshold: z.number().int().min(1).default(1),
    failureThreshold: z.number().int().min(1).default(3),
    httpGet: z
      .object({
        path: z.string().default("/"),
        port,
        host: z.string().optional(),
        scheme: z.string().default("HTTP"),
        httpHeaders: z.array(z.object({ name: z.string(), value: z.string() })).default([]),
      })
      .optional(),
    tcpSocket: z.object({ host: z.string().optional(), port }).optional(),
    exec: z.object({ command: z.array(z.string()).min(1) }).optional(),
    grpc: z.object({ port, service: z.string().default("") }).optional(),
  })
  .refine((probe) => [probe.httpGet, probe.tcpSocket, probe.exec, probe.grpc].filter(Boolean).length === 1, "needs exactly one of httpGet, tcpSocket, exec, grpc");

/** A health check with every default filled in. */
export type Probe = z.output<typeof schema>;

export function parseProbe(json: string): Result<Probe, string> {
  let content: unknown;
  try {
    content = JSON.parse(json);
  } catch {
    return err("the probe is no JSON");
  }
  // Kubernetes takes 0 for "not set".
  const cleaned = typeof content === "object" && content !== null ? Object.fromEntries(Object.entries(content).filter(([, value]) => value !== 0)) : content;
  const parsed = schema.safeParse(cleaned);
  return parsed.success ? ok(parsed.data) : err(parsed.error.issues.map((issue) => `${issue.path.join(".")}: ${issue.message}`).join("; "));
}
