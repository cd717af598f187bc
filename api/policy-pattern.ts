import type { Problem } from "./finding.ts";
import { isHttpToken } from "./text.ts";

/** A policy's text as plain data. */
export type PolicyPattern =
  | { readonly kind: "exact" | "prefix" | "suffix"; readonly value: string }
  | { readonly kind: "present" };

/** Istio's wildcards: `*` for anything that is there, `abc*`, `*abc`; all else is exact. */
export function policyPattern(written: string): PolicyPattern {
  if (written === "*") return { kind: "present" };
  if (written.endsWith("*")) return { kind: "prefix", value: written.slice(0, -1) };
  if (written.startsWith("*")) return { kind: "suffix", value: written.slice(1) };
  return { kind: "exact", value: written };
}

/** Istio would take a `*` elsewhere as a plain character, so that the rule never matches. */
export function policyPatternProblem(written: string): Problem | undefined {
  const remedy = "use an exact text, abc*, *abc or *";
  if (written === "") return { code: "IM0127", message: "the text is empty", remedy };
  const middle = written === "*" ? "" : written.endsWith("*") ? written.slice(0, -1) : written.replace(/^\*/, "");
  if (middle.includes("*")) return { code: "IM0127", message: `${JSON.stringify(written)} has a * where it is no wildcard`, remedy };
  return undefined;
}

/** `mesh.internal/ns/default/sa/web`, with wildcards at its ends. */
export function principalProblem(written: string): Problem | undefined {
  const problem = policyPatternProblem(written);
  if (problem !== undefined) return problem;
  if (written.includes("://")) {
    return { code: "IM0127", message: "principals are written without spiffe://", remedy: `write ${written.replace(/^[a-z]+:\/\//, "")}` };
  }
  const isWild = written.includes("*");
  if (isWild || /^[a-z0-9._-]+\/ns\/[^/\s]+\/sa\/[^/\s]+$/.test(written)) return undefined;
  return { code: "IM0127", message: `${JSON.stringify(written)} is not a principal`, remedy: "write it as <trust domain>/ns/<namespace>/sa/<service account>" };
}

export function policyMethodProblem(written: string): Problem | undefined {
  const problem = policyPatternProblem(written);
  if (problem !== undefined) return problem;
  if (!isHttpToken(written)) return { code: "IM0127", message: `${JSON.stringify(written)} is not an HTTP method` };
  if (written === written.toUpperCase()) return undefined;
  return { code: "IM0127", message: `${JSON.stringify(written)}: methods are compared exactly`, remedy: `write ${written.toUpperCase()}` };
}

export function policyPathProblem(written: string): Problem | undefined {
  if (/\{\*{1,2}\}/.test(written)) return { code: "IM0116", message: "path templates are not yet supported", remedy: "use abc* or *abc" };
  const problem = policyPatternProblem(written);
  if (problem !== undefined) return problem;
  if (written.startsWith("/") || written.startsWith("*")) return undefined;
  return { code: "IM0127", message: `${JSON.stringify(written)} does not begin with / or *`, remedy: `write /${written}` };
}

export function policyPortProblem(written: string): Problem | undefined {
  if (/^[1-9]\d{0,4}$/.test(written) && Number(written) <= 65_535) return undefined;
  return { code: "IM0121", message: `${JSON.stringify(written)} is not a port number` };
}
