import type { ResourceOf } from "../../api/resource.ts";
import type { Endpoint } from "../../model/endpoint.ts";
import type { Service, ServiceKey } from "../../model/service.ts";
import { buildEndpoints } from "../ir/build-endpoints.ts";
import { translateEndpoints } from "../translate/endpoints.ts";
import type { TranslatedResource } from "../translate/resource.ts";
import { AheadOfBuild } from "./ahead-of-build.ts";
import type { AddressedInputs } from "./inputs.ts";
import type { OwnedResources } from "./owned-resources.ts";

type Rule = ResourceOf<"DestinationRule"> | undefined;

/** What clusters are there, as far as load assignments are concerned. */
interface Clusters {
  readonly service: Service;
  readonly rule: Rule;
  /** Whom they take. */
  readonly identities: ReadonlySet<string>;
}

/**
 * Keeps the load assignments of services up to date. Of those that are written
 * ahead, an endpoint whose identity the clusters do not take yet waits for those that do.
 */
export function createEndpointPush(inputs: Pick<AddressedInputs, "services" | "endpoints">, owned: OwnedResources, ruleOf: (service: Service) => Rule): AheadOfBuild<Clusters> {
  const { services } = inputs;
  const endpointsOf = (key: ServiceKey): readonly Endpoint[] => inputs.endpoints.get(key) ?? [];
  const clustersOf = (key: ServiceKey): Clusters | undefined => {
    const service = services.get(key);
    if (service === undefined || service.resolution !== "static") return undefined;
    return { service, rule: ruleOf(service), identities: new Set(endpointsOf(key).flatMap(({ identity }) => identity ?? [])) };
  };
  return new AheadOfBuild<Clusters>({
    services,
    owned,
    ownerOf: (key) => `endpoints ${key}`,
    build(key) {
      const written = clustersOf(key);
      // A service without endpoints has an empty assignment: Envoy keeps a cluster cold until it has one.
      return { resources: written === undefined ? [] : assignments(written, endpointsOf(key)), written };
    },
    ahead(key, clusters) {
      const all = endpointsOf(key);
      const taken = all.filter(({ identity }) => identity === undefined || clusters.identities.has(identity));
      // While all that there will be waits, those of before may still serve.
      return taken.length === 0 && all.length > 0 ? undefined : assignments(clusters, taken);
    },
  });
}

function assignments({ service, rule }: Clusters, endpoints: readonly Endpoint[]): TranslatedResource[] {
  return buildEndpoints(service, endpoints, rule).map(translateEndpoints);
}
