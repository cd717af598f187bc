import { execFile } from "node:child_process";
import { mkdir } from "node:fs/promises";
import { promisify } from "node:util";
import type { ConsulAgent } from "./consul-agent.ts";
import { type StaticEnvoy, startStaticEnvoy } from "./static-envoy.ts";

export interface ConsulSidecarOptions {
  readonly consul: ConsulAgent;
  /** Consul's binary, which writes the bootstrap. */
  readonly consulPath: string;
  readonly managementToken: string;
  readonly service: string;
  /** Where the service answers, on loopback. */
  readonly applicationPort: number;
  /** Where its callers arrive, on loopback. */
  readonly port: number;
  /** A folder of its own. */
  readonly folder: string;
}

/**
 * Registers a service with a sidecar and runs that: a real Envoy that the real
 * Consul bootstraps and tells everything.
 */
export async function startConsulSidecar({ consul, consulPath, managementToken, service, applicationPort, port, folder }: ConsulSidecarOptions): Promise<StaticEnvoy> {
  await mkdir(folder, { recursive: true });
  await consul.register({ ID: service, Name: service, Port: applicationPort, Connect: { SidecarService: { Port: port, Proxy: { Config: { bind_address: "127.0.0.1" } } } } });
  const { stdout } = await promisify(execFile)(consulPath, [
    "connect", "envoy", "-bootstrap", "-sidecar-for", service,
    "-http-addr", consul.address, "-grpc-addr", consul.xdsAddress, "-token", managementToken,
    // It would look for the binary on PATH; Consul 1.22 itself has not heard of Envoy 1.40.
    "-ignore-envoy-compatibility=true",
  ]);
  return startStaticEnvoy({ folder, bootstrap: JSON.parse(stdout) as Record<string, unknown>, listeners: [`public_listener:127.0.0.1:${port}`] });
}

/** What a workload of the service shows to others: a certificate of Consul's own authority. */
export async function consulIdentity(consul: ConsulAgent, service: string): Promise<{ readonly cert: string; readonly key: string }> {
  const { status, body } = await consul.call("GET", `/v1/agent/connect/ca/leaf/${service}`);
  if (status !== 200) throw new Error(`no certificate for ${service}: ${status} ${JSON.stringify(body)}`);
  const { CertPEM, PrivateKeyPEM } = body as { CertPEM: string; PrivateKeyPEM: string };
  return { cert: CertPEM, key: PrivateKeyPEM };
}
