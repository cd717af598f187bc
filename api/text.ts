import { isIP } from "node:net";
import { isHostname } from "../model/hostname.ts";
import { protocolNamed } from "../model/port.ts";
import { durationMs, isDuration } from "./duration.ts";
import type { Problem } from "./finding.ts";
import { dnsLabelProblem, labelKeyProblem, labelValueProblem, portNameProblem } from "./name.ts";
import { regexProblem } from "./regex.ts";
import { integer, map, object, text, type TextCheck, type TextSchema } from "./schema.ts";

const YEAR_MS = 366 * 86_400_000;

function malformed(message: string, remedy?: string): Problem {
  return { code: "IM0128", message, ...(remedy === undefined ? {} : { remedy }) };
}

/** Not empty. */
export function textProblem(value: string): Problem | undefined {
  return value === "" ? malformed("the text is empty", "write something, or remove the field") : undefined;
}

/** Not empty, and fit for a header of HTTP. */
function headerTextProblem(value: string): Problem | undefined {
  // oxlint-disable-next-line no-control-regex -- control characters are what must not get in
  return /[\u0000-\u001f\u007f]/.test(value) ? malformed("the text has control characters") : textProblem(value);
}

/** Istio's rule: whole milliseconds; `minimumMs` of 0 lets `0s` switch something off. */
function durationCheck(minimumMs: number): TextCheck {
  return (written) => {
    const remedy = "write it as 500ms, 1.5s, 2m or 1h30m";
    if (!isDuration(written)) return { code: "IM0120", message: `${JSON.stringify(written)} is not a duration`, remedy };
    const milliseconds = durationMs(written);
    if (Math.abs(milliseconds - Math.round(milliseconds)) > 1e-6) {
      return { code: "IM0120", message: `${written} is not in whole milliseconds` };
    }
    if (milliseconds < minimumMs || milliseconds > YEAR_MS) {
      return { code: "IM0120", message: `${written} is not between ${minimumMs}ms and a year` };
    }
    return undefined;
  };
}

function hostCheck(allowsWildcard: boolean): TextCheck {
  return (written) => {
    const isAllowed = isHostname(written) && (allowsWildcard || !written.startsWith("*"));
    if (isAllowed) return undefined;
    const lower = written.toLowerCase();
    const remedy =
      lower !== written && isHostname(lower) ? `write it in lower case: ${lower}` : allowsWildcard ? "a DNS name, or *. and a DNS name" : "a DNS name";
    return { code: "IM0122", message: `${JSON.stringify(written)} is not a host`, remedy };
  };
}

/** An IP address with an optional prefix length. */
export function cidrProblem(written: string): Problem | undefined {
  const [address = "", length, ...rest] = written.split("/");
  const family = isIP(address);
  const isLength = length === undefined || (/^\d{1,3}$/.test(length) && Number(length) <= (family === 4 ? 32 : 128));
  if (family !== 0 && isLength && rest.length === 0 && !address.includes("%")) return undefined;
  return { code: "IM0125", message: `${JSON.stringify(written)} is not an IP address or CIDR range`, remedy: "write it as 10.0.0.0/8 or 2001:db8::/32" };
}

function endpointAddressProblem(written: string): Problem | undefined {
  if (isIP(written) !== 0 && !written.includes("%")) return undefined;
  if (written.startsWith("unix://")) return { code: "IM0116", message: "unix sockets are not yet supported as addresses" };
  const looksNumeric = /^[\d.]+$/.test(written);
  if (!looksNumeric && isHostname(written) && !written.startsWith("*")) return undefined;
  return { code: "IM0125", message: `${JSON.stringify(written)} is neither an IP address nor a DNS name` };
}

function protocolProblem(written: string): Problem | undefined {
  if (protocolNamed(written) !== undefined) return undefined;
  return { code: "IM0113", message: `unknown protocol ${JSON.stringify(written)}`, remedy: "use HTTP, HTTP2, GRPC, TCP, TLS or HTTPS" };
}

function localityProblem(written: string): Problem | undefined {
  const parts = written.split("/");
  if (parts.length <= 3 && parts.every((part) => /^[\w.-]+$/.test(part))) return undefined;
  return malformed(`${JSON.stringify(written)} is not a locality`, "write it as region/zone/subzone");
}

/** Only `*`: everything else would hide a resource from somebody, which is not done yet. */
function exportToProblem(written: string): Problem | undefined {
  if (written === "*") return undefined;
  return { code: "IM0116", message: `visibility ${JSON.stringify(written)} is not yet supported`, remedy: "use *, or remove exportTo" };
}

function meshGatewayProblem(written: string): Problem | undefined {
  if (written === "mesh") return undefined;
  return { code: "IM0116", message: `gateway ${JSON.stringify(written)}: gateways are not yet supported`, remedy: "use mesh, or remove gateways" };
}

const HTTP_TOKEN = /^[!#$%&'*+.^_`|~0-9A-Za-z-]+$/;

export function isHttpToken(written: string): boolean {
  return HTTP_TOKEN.test(written);
}

function methodProblem(written: string): Problem | undefined {
  return isHttpToken(written) ? undefined : malformed(`${JSON.stringify(written)} is not an HTTP method`);
}

export const words: TextSchema = text("text", textProblem);
export const headerText: TextSchema = text("text", headerTextProblem);
export const anyText: TextSchema = text("text");
/** At least 1 ms. */
export const duration: TextSchema = text("duration", durationCheck(1));
/** `0s` too. */
export const durationOrZero: TextSchema = text("duration", durationCheck(0));
export const host: TextSchema = text("host", hostCheck(false));
export const wildcardHost: TextSchema = text("host, `*.` allowed", hostCheck(true));
export const cidr: TextSchema = text("address or CIDR", cidrProblem);
export const endpointAddress: TextSchema = text("IP address or host", endpointAddressProblem);
export const protocol: TextSchema = text("protocol", protocolProblem);
export const locality: TextSchema = text("locality", localityProblem);
export const exportTo: TextSchema = text("`*`", exportToProblem);
export const meshGateway: TextSchema = text("`mesh`", meshGatewayProblem);
export const method: TextSchema = text("HTTP method", methodProblem);
export const regex: TextSchema = text("regular expression (RE2)", regexProblem);
export const dnsLabel: TextSchema = text("name", dnsLabelProblem);
export const serviceAccount: TextSchema = text("service account", dnsLabelProblem);
export const portName: TextSchema = text("port name", portNameProblem);
export const labels = map(labelKeyProblem, text("label value", labelValueProblem));
export const annotations = map(labelKeyProblem, anyText);
export const portNumber = integer(1, 65_535);
export const portsByName = map(portNameProblem, portNumber);
export const selector = object({ matchLabels: labels });
