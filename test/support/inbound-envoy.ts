import { mkdir } from "node:fs/promises";
import { meshConfigSchema } from "../../api/mesh-config.ts";
import type { AnyResource } from "../../api/resource.ts";
import { translateOffline } from "../../cli/offline.ts";
import { type StaticEnvoy, startStaticEnvoy } from "./static-envoy.ts";
import type { TestAuthority } from "./test-authority.ts";

type Json = Readonly<Record<string, unknown>>;

interface Listener extends Json {
  readonly filterChains: readonly { readonly name: string; readonly filters: readonly { readonly name: string; readonly typedConfig: Json }[]; readonly transportSocket?: { readonly name: string; readonly typedConfig: Json } }[];
  readonly listenerFilters: readonly { readonly name: string }[];
}

export interface InboundEnvoyOptions {
  /** A folder of its own. */
  readonly folder: string;
  readonly resources: readonly AnyResource[];
  /** `NAMESPACE/NAME` of the WorkloadGroups that the host runs; each has one port, of its own. */
  readonly groups: readonly string[];
  /** Whose certificates callers have. */
  readonly authority: TestAuthority;
  /** Where all of them answer, on loopback. */
  readonly applicationPort: number;
}

/**
 * A real Envoy with what the translation says about callers of a host's
 * workloads, and a listener `GROUP` (without the namespace) for each of them.
 * Only how connections get in and out is another way: nothing is captured, and
 * what would come by xDS is in the bootstrap.
 */
export async function startInboundEnvoy({ folder, resources, groups, authority, applicationPort }: InboundEnvoyOptions): Promise<StaticEnvoy> {
  await mkdir(folder, { recursive: true });
  const { resources: told } = await translateOffline(resources, groups, meshConfigSchema.parse({}));
  const named = (type: string, name: string): Json | undefined => (told[type] ?? []).map((one) => one as Json).find((one) => one["name"] === name);
  const inbound = named("Listener", "virtualInbound") as Listener | undefined;
  if (inbound === undefined) throw new Error("the translation has no inbound listener");
  const chains = inbound.filterChains.filter(({ name }) => name.endsWith("|mtls"));
  const listeners = chains.map((chain) => ({
    name: chain.name.split("|")[0],
    address: { socketAddress: { address: "127.0.0.1", portValue: 0 } },
    listenerFilters: inbound.listenerFilters.filter(({ name }) => name === "envoy.filters.listener.tls_inspector"),
    filterChains: [
      {
        name: chain.name,
        filters: chain.filters.map(({ name, typedConfig: { rds, ...config } }) => {
          const table = (rds as { routeConfigName: string } | undefined)?.routeConfigName;
          return { name, typedConfig: { ...config, ...(table === undefined ? {} : { routeConfig: named("RouteConfiguration", table) }) } };
        }),
        transportSocket: fromBootstrap(chain.transportSocket),
      },
    ],
  }));
  const identities = groups.map((group) => `spiffe://mesh.internal/ns/${group.replace("/", "/sa/")}`);
  const secrets = [
    withRoot(named("Secret", "validation|clients"), authority.root),
    ...identities.map((identity) => {
      const { certificateChain, privateKey } = authority.mint(identity);
      return { name: `server|${identity}`, tlsCertificate: { certificateChain: { inlineString: certificateChain }, privateKey: { inlineString: privateKey.revealText() } } };
    }),
  ];
  const clusters = (told["Cluster"] ?? [])
    .map((one) => one as Json & { readonly name: string })
    .filter(({ name }) => name.startsWith("inbound|"))
    .map(({ lbPolicy: _way, upstreamBindConfig: _source, ...cluster }) => ({
      ...cluster,
      type: "STATIC",
      loadAssignment: { clusterName: cluster.name, endpoints: [{ lbEndpoints: [{ endpoint: { address: { socketAddress: { address: "127.0.0.1", portValue: applicationPort } } } }] }] },
    }));
  return startStaticEnvoy({ folder, bootstrap: { staticResources: { listeners, clusters, secrets } }, listeners: listeners.map(({ name }) => name ?? "") });
}

/** Secrets are looked for in the bootstrap where no source of them is named. */
function fromBootstrap(written: unknown): unknown {
  return JSON.parse(JSON.stringify(written, (key, value: unknown) => (key === "sdsConfig" ? undefined : value)));
}

function withRoot(secret: Json | undefined, root: string): unknown {
  if (secret === undefined) throw new Error("the translation does not say who may call");
  return JSON.parse(JSON.stringify(secret, (key, value: unknown) => (key === "trustBundle" ? { inlineString: root } : value)));
}
