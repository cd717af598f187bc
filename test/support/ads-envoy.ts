import { type ChildProcess, spawn } from "node:child_process";
import { openSync, writeFileSync } from "node:fs";
import { request } from "node:http";
import { join } from "node:path";
import { envoyPath } from "./envoy.ts";

export interface AdsEnvoyOptions {
  /** A folder of its own: configuration, log, and `admin`, the socket of its admin interface. */
  readonly folder: string;
  readonly nodeId: string;
  readonly apiType: "GRPC" | "DELTA_GRPC";
  /** Where the server is: an address in Envoy's own form. */
  readonly server: { readonly pipe: { readonly path: string } } | { readonly socketAddress: { readonly address: string; readonly portValue: number } };
}

const ADS = { ads: {}, resourceApiVersion: "V3" };

/** A real Envoy that knows one plaintext ADS server and nothing else. @returns what ends it */
export function startAdsEnvoy({ folder, nodeId, apiType, server }: AdsEnvoyOptions): () => Promise<void> {
  const bootstrap = {
    node: { id: nodeId, cluster: "test" },
    admin: { address: { pipe: { path: join(folder, "admin"), mode: 0o600 } } },
    dynamicResources: {
      adsConfig: {
        apiType,
        transportApiVersion: "V3",
        grpcServices: [{ envoyGrpc: { clusterName: "ads", retryPolicy: { retryBackOff: { baseInterval: "0.2s", maxInterval: "1s" } } } }],
      },
      cdsConfig: ADS,
      ldsConfig: ADS,
    },
    staticResources: {
      clusters: [
        {
          name: "ads",
          type: "STATIC",
          typedExtensionProtocolOptions: {
            "envoy.extensions.upstreams.http.v3.HttpProtocolOptions": {
              "@type": "type.googleapis.com/envoy.extensions.upstreams.http.v3.HttpProtocolOptions",
              explicitHttpConfig: { http2ProtocolOptions: {} },
            },
          },
          loadAssignment: { clusterName: "ads", endpoints: [{ lbEndpoints: [{ endpoint: { address: server } }] }] },
        },
      ],
    },
  };
  writeFileSync(join(folder, "envoy.json"), JSON.stringify(bootstrap));
  const log = openSync(join(folder, "log"), "w");
  const envoy: ChildProcess = spawn(
    envoyPath(),
    ["-c", join(folder, "envoy.json"), "--disable-hot-restart", "--concurrency", "1", "--log-level", "info"],
    { stdio: ["ignore", log, log] },
  );
  const ended = new Promise<void>((resolve) => envoy.once("exit", () => resolve()));
  return async () => {
    envoy.kill("SIGKILL");
    await ended;
  };
}

/** Asks over a unix socket, on a connection of its own. */
export function askSocket(socketPath: string, path: string, host = "a.test"): Promise<{ status: number; body: string }> {
  return new Promise((resolve, reject) => {
    const asking = request({ socketPath, path, headers: { host }, timeout: 5000, agent: false }, (response) => {
      let body = "";
      response.setEncoding("utf8").on("data", (text: string) => (body += text));
      response.on("end", () => resolve({ status: response.statusCode ?? 0, body }));
    });
    asking.on("timeout", () => asking.destroy(new Error("no answer")));
    asking.on("error", reject);
    asking.end();
  });
}
