import { fieldOf, hasField, itemsOf, noEffect, uniqueIn } from "./rules.ts";
import { choice, ignored, list, notYet, object, portReference, required, type ObjectRule } from "./schema.ts";
import { labels, portName, portNumber, protocol } from "./text.ts";

const namedPorts: ObjectRule = (value, path, report) => {
  const ports = itemsOf(value["ports"]);
  if (ports.length < 2) return;
  ports.forEach((port, index) => {
    if (!hasField(port, "name")) report({ code: "IM0112", path: [...path, "ports", index], message: "several ports need a name each", remedy: "add name" });
  });
};

const selected: ObjectRule = (value, path, report) => {
  if (Object.keys((value["selector"] as object | undefined) ?? {}).length === 0) {
    noEffect(path, "without a selector the service has no endpoints", report, "add selector with the labels of its workloads");
  }
};

/** Kubernetes' core v1/Service, as far as it has a meaning without Kubernetes. */
export const serviceSchema = object(
  {
    selector: labels,
    ports: required(
      list(
        object({
          name: portName,
          port: required(portNumber),
          targetPort: portReference,
          protocol: choice(["TCP"], ["UDP", "SCTP"]),
          appProtocol: protocol,
          nodePort: ignored(),
        }),
      ),
    ),
    type: choice(["ClusterIP"], ["NodePort", "LoadBalancer", "ExternalName"]),
    clusterIP: notYet("addresses are allocated by the mesh"),
    clusterIPs: notYet("addresses are allocated by the mesh"),
    externalIPs: notYet(),
    externalName: notYet("write a ServiceEntry"),
    sessionAffinity: choice(["None"], ["ClientIP"]),
    sessionAffinityConfig: notYet(),
    publishNotReadyAddresses: notYet(),
    internalTrafficPolicy: choice(["Cluster"], ["Local"]),
    externalTrafficPolicy: ignored(),
    trafficDistribution: ignored(),
    ipFamilies: ignored(),
    ipFamilyPolicy: ignored(),
    healthCheckNodePort: ignored(),
    allocateLoadBalancerNodePorts: ignored(),
    loadBalancerIP: ignored(),
    loadBalancerClass: ignored(),
    loadBalancerSourceRanges: notYet("write an AuthorizationPolicy"),
  },
  uniqueIn("ports", (port) => fieldOf(port, "name"), "the port name"),
  uniqueIn("ports", (port) => fieldOf(port, "port"), "the port"),
  namedPorts,
  selected,
);
