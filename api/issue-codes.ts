import type { Severity } from "../base/issue.ts";

/** What a code stands for; shown by the CLI, the API and docs/reference/issues.md. */
export interface IssueExplanation {
  readonly severity: Severity;
  readonly title: string;
  readonly explanation: string;
}

/** Every code that a user's resources may be answered with. IM01xx: one document. IM02xx: several of them together. */
export const issueCodes = {
  IM0101: { severity: "error", title: "not YAML", explanation: "The text cannot be read as YAML. What the file said before stays in force." },
  IM0102: { severity: "error", title: "too large", explanation: "The file is too large, nested too deeply, or grows too much through anchors and aliases. Split it, or write it without aliases." },
  IM0103: { severity: "error", title: "duplicate key", explanation: "A mapping has the same key twice; which of the two is meant cannot be known." },
  IM0104: { severity: "error", title: "not a resource", explanation: "A document must be a mapping with apiVersion, kind, metadata and spec." },
  IM0105: { severity: "error", title: "unknown apiVersion", explanation: "The kind exists, under another apiVersion." },
  IM0106: { severity: "error", title: "kind not yet supported", explanation: "The kind is one of Istio's that Ironmesh does not implement yet. Nothing of the document is in force." },
  IM0107: { severity: "error", title: "unknown kind", explanation: "The apiVersion is one of the mesh's, but it has no such kind." },
  IM0108: { severity: "warning", title: "not the mesh's", explanation: "The document is a resource of another system (a Deployment, for example). It is skipped." },
  IM0109: { severity: "error", title: "bad metadata", explanation: "A resource needs a name that is a DNS name in lower case; its namespace is a DNS label." },
  IM0110: { severity: "error", title: "unknown field", explanation: "The kind has no such field. Nothing that is written is ever silently ignored." },
  IM0111: { severity: "error", title: "wrong type", explanation: "The value has another type than the field takes, or none at all." },
  IM0112: { severity: "error", title: "missing field", explanation: "A required field is missing, or a list that needs entries is empty." },
  IM0113: { severity: "error", title: "unknown value", explanation: "The field takes one of a fixed set of values." },
  IM0114: { severity: "error", title: "field not yet supported", explanation: "Istio has the field, Ironmesh does not implement it yet, and ignoring it would change who gets traffic or who is let in." },
  IM0115: { severity: "warning", title: "field ignored", explanation: "Istio has the field, Ironmesh does not implement it yet. It only tunes, so the rest of the resource is in force without it." },
  IM0116: { severity: "error", title: "value not yet supported", explanation: "Istio takes the value, Ironmesh does not implement it yet." },
  IM0120: { severity: "error", title: "bad duration", explanation: "Durations are written as 500ms, 1.5s, 2m or 1h30m, in whole milliseconds." },
  IM0121: { severity: "error", title: "number out of range", explanation: "The number lies outside of what the field takes." },
  IM0122: { severity: "error", title: "bad host", explanation: "A host is a DNS name in lower case, in places with a leading `*.`." },
  IM0123: { severity: "error", title: "bad regular expression", explanation: "Expressions are RE2's: no lookaround, no backreferences, no possessive quantifiers, and they match the whole text." },
  IM0124: { severity: "error", title: "bad header", explanation: "The header name is no HTTP token, is one that may not be changed, or its value cannot be sent." },
  IM0125: { severity: "error", title: "bad address", explanation: "An IP address or a CIDR range is malformed." },
  IM0126: { severity: "error", title: "bad label", explanation: "Labels follow Kubernetes' syntax: at most 63 letters, digits, `-`, `_` and `.`, and an optional DNS prefix in the key." },
  IM0127: { severity: "error", title: "bad pattern", explanation: "A policy's text is exact, `abc*`, `*abc` or `*`; anything else would never match what it seems to." },
  IM0128: { severity: "error", title: "malformed text", explanation: "The text does not have the form that the field takes." },
  IM0130: { severity: "error", title: "fields exclude each other", explanation: "Exactly one, or at most one, of the fields may be written." },
  IM0131: { severity: "error", title: "weights", explanation: "The weights of several destinations must sum to more than 0." },
  IM0132: { severity: "error", title: "field needs another", explanation: "The field makes sense only together with another one." },
  IM0133: { severity: "error", title: "duplicate entry", explanation: "Entries of the list must differ." },
  IM0134: { severity: "warning", title: "no effect", explanation: "What is written is allowed, but nothing follows from it." },
  IM0140: { severity: "error", title: "not Istio's schema", explanation: "The document does not fit the schema that Istio publishes for the kind." },
  IM0201: { severity: "error", title: "defined twice, in two sources", explanation: "The same kind, namespace and name comes from two of files, `apply` and Kubernetes clusters. They go before each other in this order." },
  IM0202: { severity: "error", title: "defined twice, in files", explanation: "The same kind, namespace and name is written twice. The first by file name is in force." },
  IM0203: { severity: "error", title: "unreadable", explanation: "A file, the directory or a Kubernetes cluster cannot be read. What it said before stays in force." },
  IM0204: { severity: "error", title: "empty file", explanation: "A file that said something is empty, as while it is being written. What it said before stays in force until it says something else, or is deleted." },
  IM0205: { severity: "error", title: "empty directory", explanation: "The configuration directory holds no YAML file, as while its file system is not mounted. What its files said before stays in force. Where nothing is meant to be in force, a file with a comment says so." },
  IM0206: { severity: "error", title: "not the cluster's to say", explanation: "A resource of a Kubernetes cluster speaks of hosts, namespaces, principals or addresses that are not the cluster's own. Whoever may write to a cluster has no say about the rest of the mesh, except for hosts in the registry's `resourceHosts`." },
  IM0207: { severity: "error", title: "cluster not read yet", explanation: "Since the control plane started the Kubernetes cluster has not said what its resources are. What they said before stays in force." },
  IM0208: { severity: "warning", title: "joined service", explanation: "A rule of the mesh has joined the cluster's service into one of another namespace. The joined service is not the cluster's to route, or to send callers to: resources of the mesh's own configuration do." },
  IM0210: { severity: "warning", title: "unknown host", explanation: "No service of the mesh has the host; requests that are routed there fail, and what is written for it has no effect." },
  IM0211: { severity: "warning", title: "unknown subset", explanation: "No DestinationRule defines the subset; requests that are routed there fail." },
  IM0212: { severity: "warning", title: "two VirtualServices for a host", explanation: "One VirtualService speaks for a host in the mesh; the other is not in force for it." },
  IM0213: { severity: "warning", title: "two DestinationRules for a host", explanation: "One DestinationRule speaks for a host; the other is not in force for it." },
  IM0214: { severity: "warning", title: "selector selects nothing", explanation: "No workload of the namespace has the labels." },
  IM0215: { severity: "warning", title: "unknown port", explanation: "The service has no such port; requests that are routed there fail." },
  IM0216: { severity: "warning", title: "mirror within the mesh", explanation: "A mirrored request has no caller whose identity it could carry, so endpoints in the mesh refuse it. Mirrors to services outside of the mesh are sent." },
  IM0217: { severity: "warning", title: "host of another service", explanation: "The host that a ServiceEntry declares is another service's: a registry's own names go before declared ones, and of two that declare one the first by namespace and name has it." },
} as const satisfies Readonly<Record<string, IssueExplanation>>;

export type IssueCode = keyof typeof issueCodes;
