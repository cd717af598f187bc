import type { Problem } from "./finding.ts";

const DNS_LABEL = /^[a-z0-9]([-a-z0-9]{0,61}[a-z0-9])?$/;
const QUALIFIED_NAME = /^[A-Za-z0-9]([-A-Za-z0-9_.]{0,61}[A-Za-z0-9])?$/;
const PORT_NAME = /^(?=.*[a-z])[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?$/i;

/** A namespace, a service account, a subset. */
export function dnsLabelProblem(text: string): Problem | undefined {
  if (DNS_LABEL.test(text)) return undefined;
  return { code: "IM0128", message: `${JSON.stringify(text)} is not a DNS label`, remedy: "use at most 63 lower-case letters, digits and -" };
}

/** The name of a resource: DNS labels with dots. */
export function resourceNameProblem(text: string): Problem | undefined {
  if (text.length <= 253 && text.split(".").every((label) => DNS_LABEL.test(label))) return undefined;
  return { code: "IM0109", message: `${JSON.stringify(text)} is not a resource name`, remedy: "use lower-case letters, digits, - and ." };
}

export function portNameProblem(text: string): Problem | undefined {
  if (PORT_NAME.test(text)) return undefined;
  return { code: "IM0128", message: `${JSON.stringify(text)} is not a port name`, remedy: "use letters, digits and -, with at least one letter" };
}

/** A label's or annotation's key: a name, with an optional DNS prefix (`app.kubernetes.io/name`). */
export function labelKeyProblem(key: string): Problem | undefined {
  const [name = "", prefix, ...rest] = key.split("/").reverse();
  const isPrefixed = prefix === undefined || (prefix.length <= 253 && prefix.split(".").every((label) => DNS_LABEL.test(label)));
  if (rest.length === 0 && isPrefixed && QUALIFIED_NAME.test(name)) return undefined;
  return { code: "IM0126", message: `${JSON.stringify(key)} is not a label's name` };
}

export function labelValueProblem(value: string): Problem | undefined {
  if (value === "" || QUALIFIED_NAME.test(value)) return undefined;
  const remedy = value.includes("*") ? "labels are compared exactly; wildcards are not possible" : "use at most 63 letters, digits, -, _ and .";
  return { code: "IM0126", message: `${JSON.stringify(value)} is not a label's value`, remedy };
}
