import { checkIdOf, OWNER_META, type PublishedInstance, SOURCE, SOURCE_META } from "./instance.ts";
import type { Removal } from "./plan.ts";

/** One operation of Consul's `/v1/txn`. Source: developer.hashicorp.com/consul/api-docs/txn */
export type Operation = { readonly [part in "Node" | "Service" | "Check"]?: Readonly<Record<string, unknown>> };

/**
 * Consul wants an address of every node. This one is nowhere: each instance has
 * its own, and whoever takes the node's must not call another host for it.
 */
const NODE_ADDRESS = "127.0.0.1";

/** The node that instances are on: no agent runs there, and only its owner writes it. */
export function setNode(node: string, owner: string): Operation {
  return { Node: { Verb: "set", Node: { Node: node, Address: NODE_ADDRESS, Meta: { [SOURCE_META]: SOURCE, [OWNER_META]: owner } } } };
}

/** With all that is on it. */
export function deleteNode(node: string): Operation {
  return { Node: { Verb: "delete", Node: { Node: node } } };
}

/** The instance together with its check: at no moment is it there without, and well by default. */
export function setInstance(node: string, { id, record, output }: PublishedInstance): Operation[] {
  const { service, address, port, tags, meta, weight, status } = record;
  return [
    {
      Service: {
        Verb: "set",
        Node: node,
        Service: {
          ID: id,
          Service: service,
          Address: address,
          Port: port,
          Tags: tags,
          Meta: meta,
          Weights: { Passing: weight, Warning: 1 },
        },
      },
    },
    { Check: { Verb: "set", Check: { Node: node, CheckID: checkIdOf(id), Name: "Health in the mesh", Status: status, Output: output, ServiceID: id, ServiceName: service } } },
  ];
}

/** The instance; its check goes with it. */
export function deleteInstance(node: string, { id, service }: Removal): Operation {
  return { Service: { Verb: "delete", Node: node, Service: { ID: id, Service: service } } };
}
