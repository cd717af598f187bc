import { request } from "node:http";
import { chmod, chown, mkdir, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { create } from "@bufbuild/protobuf";
import { buildBootstrap } from "../../agent/bootstrap.ts";
import { silentLogger } from "../../base/logger.ts";
import { serveGrpc } from "../../base/grpc/server.ts";
import type { ClusterEndpointsIr } from "../../discovery/ir/cluster.ts";
import { serverSecretName } from "../../discovery/ir/names.ts";
import type { OutboundServiceIr } from "../../discovery/ir/outbound.ts";
import type { ProxyIr } from "../../discovery/ir/proxy.ts";
import { translateEndpoints } from "../../discovery/translate/endpoints.ts";
import { translateProxy } from "../../discovery/translate/proxy.ts";
import { encodeResource, translated, type TranslatedResource } from "../../discovery/translate/resource.ts";
import { translateService } from "../../discovery/translate/service.ts";
import { SecretSchema } from "../../proto/gen/envoy/extensions/transport_sockets/tls/v3/secret_pb.js";
import { createDeltaServer, DELTA_ADS_PATH } from "../../xds/delta-server.ts";
import { createResourceSet } from "../../xds/resource-set.ts";
import { createResource } from "../../xds/resource.ts";
import type { Nack } from "../../xds/subscription.ts";
import { envoyPath } from "./envoy.ts";
import type { LabHost, LabProcess } from "./network-lab.ts";
import type { TestIdentity } from "./test-authority.ts";
import { waitUntil } from "./wait-until.ts";

/** All that one Envoy of a test is told. */
export interface MeshState {
  readonly proxy: ProxyIr;
  readonly services: readonly OutboundServiceIr[];
  readonly endpoints: readonly ClusterEndpointsIr[];
  /** By SPIFFE ID. */
  readonly identities: Readonly<Record<string, TestIdentity>>;
}

/** A real Envoy on a host of the lab, told by delta ADS over a unix socket what the translation says. */
export interface MeshProxy {
  /** Makes this the whole configuration and waits until Envoy has acknowledged it. */
  apply(state: MeshState): Promise<void>;
  /** The same for resources of one type: how Envoy stands while the others have not come. */
  applyType(typeUrl: string, state: MeshState): Promise<void>;
  /** What Envoy refused, in its own words. */
  readonly nacks: readonly Nack[];
  /** The lines of its access log so far. */
  accessLog(): Readonly<Record<string, unknown>>[];
  admin(path: string): Promise<string>;
  readonly envoy: LabProcess;
  close(): Promise<void>;
}

export interface MeshProxyOptions {
  readonly host: LabHost;
  /** A folder of its own. */
  readonly folder: string;
  readonly uid: number;
  readonly state: MeshState;
  /** Changes what the translation says: to show what a test would see if it were wrong. */
  readonly alter?: (resource: TranslatedResource) => TranslatedResource;
  /** Workers of Envoy, each with connections of its own; two where absent. */
  readonly concurrency?: number;
}

export async function startMeshProxy({ host, folder, uid, state, alter = (resource) => resource, concurrency = 2 }: MeshProxyOptions): Promise<MeshProxy> {
  await mkdir(folder, { recursive: true });
  await chown(folder, uid, uid);
  const xdsSocketPath = join(folder, "xds.sock");
  const adminSocketPath = join(folder, "admin.sock");
  const resources = createResourceSet();
  const nacks: Nack[] = [];
  const put = (next: MeshState, onlyType?: string): void => {
    const isMeant = ({ typeUrl }: { readonly typeUrl: string }): boolean => onlyType === undefined || typeUrl === onlyType;
    const wanted = resourcesOf(next).map(alter).map(encodeResource).filter(isMeant);
    const keys = new Set(wanted.map(({ typeUrl, name }) => `${typeUrl} ${name}`));
    resources.update((transaction) => {
      const held = Array.from(resources.types(), (typeUrl) => Array.from(resources.list(typeUrl))).flat().filter(isMeant);
      for (const { typeUrl, name } of held) if (!keys.has(`${typeUrl} ${name}`)) transaction.remove(typeUrl, name);
      for (const { typeUrl, name, bytes, version } of wanted) transaction.upsert(createResource(typeUrl, name, bytes, version));
    });
  };
  put(state);

  const ads = createDeltaServer({ onOpen: () => ({ sets: [resources], onNack: (nack) => nacks.push(nack) }) });
  const server = await serveGrpc({
    listen: { path: xdsSocketPath, mode: 0o666 },
    handlers: { [DELTA_ADS_PATH]: ads.handler },
    logger: silentLogger,
  });
  await chmod(xdsSocketPath, 0o666);

  const bootstrap = buildBootstrap({
    hostId: host.name,
    trustDomain: "mesh.internal",
    locality: { region: "", zone: "", subZone: "" },
    xdsSocketPath,
    adminSocketPath,
    maxConnections: 10_000,
  });
  const bootstrapPath = join(folder, "envoy.json");
  await writeFile(bootstrapPath, bootstrap.json);
  const envoy = host.spawn(
    envoyPath(),
    ["-c", bootstrapPath, "--use-dynamic-base-id", "--concurrency", String(concurrency), "--drain-time-s", "5", "--drain-strategy", "immediate", "--log-level", "warning"],
    { uid },
  );
  const admin = (path: string): Promise<string> => adminGet(adminSocketPath, path);
  const inSync = async (): Promise<boolean> => {
    if (nacks.length > 0) throw new Error(`Envoy refused: ${nacks.map((nack) => JSON.stringify(nack)).join("; ")}`);
    const [stream] = ads.streams();
    return stream !== undefined && stream.types.every(({ state }) => state !== "STALE");
  };
  const settled = async (): Promise<void> => {
    await waitUntil(inSync, { what: `Envoy on ${host.name} to acknowledge` });
  };
  const isReady = async (): Promise<boolean> => (await admin("/ready")).startsWith("LIVE");
  try {
    await waitUntil(isReady, { what: `Envoy on ${host.name} to be ready` });
  } catch (cause) {
    await envoy.close();
    await server.close(0);
    throw new Error(`Envoy on ${host.name} did not come up: ${JSON.stringify(nacks)} ${envoy.output().slice(-4_000)}`, { cause });
  }
  return {
    nacks,
    envoy,
    admin,
    async apply(next) {
      put(next);
      await settled();
    },
    async applyType(typeUrl, next) {
      put(next, typeUrl);
      await settled();
    },
    accessLog: () =>
      envoy
        .output()
        .split("\n")
        .filter((line) => line.startsWith("{"))
        .map((line) => JSON.parse(line) as Record<string, unknown>),
    async close() {
      await envoy.close();
      await server.close(0);
    },
  };
}

function resourcesOf({ proxy, services, endpoints, identities }: MeshState): TranslatedResource[] {
  return [
    ...translateProxy(proxy),
    ...services.flatMap(translateService),
    ...endpoints.map(translateEndpoints),
    ...Object.entries(identities).flatMap(([spiffeId, identity]) => [
      certificateSecret(spiffeId, identity),
      certificateSecret(serverSecretName(spiffeId), identity),
    ]),
  ];
}

function certificateSecret(name: string, { certificateChain, privateKey }: TestIdentity): TranslatedResource {
  const secret = create(SecretSchema, {
    name,
    type: {
      case: "tlsCertificate",
      value: {
        certificateChain: { specifier: { case: "inlineString", value: certificateChain } },
        privateKey: { specifier: { case: "inlineString", value: privateKey.revealText() } },
      },
    },
  });
  return translated(SecretSchema, name, secret);
}

function adminGet(socketPath: string, path: string): Promise<string> {
  return new Promise((resolve, reject) => {
    const call = request({ socketPath, path, method: "GET" }, (response) => {
      let text = "";
      response.setEncoding("utf8").on("data", (data: string) => (text += data));
      response.on("end", () => resolve(text));
    });
    call.on("error", reject);
    call.end();
  });
}
