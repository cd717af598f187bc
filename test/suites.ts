import { bootedImagePath, ensureBootedImage } from "./support/booted-image.ts";
import { ensureConsul } from "./support/consul.ts";
import { sweepControlGroupsAtEnd } from "./support/control-group-sweeper.ts";
import { ensureIstioDefinitions } from "./support/istio-definitions.ts";
import { ensureKubernetes } from "./support/kubernetes.ts";

/** One folder of tests, and what it needs around it. */
export interface Suite {
  /** The folder below test/, and the name on the command line. */
  readonly name: string;
  /** How long one test may take, generously: the machine may be slow. */
  readonly testTimeoutMs: number;
  /** Runs in private namespaces, as root: it starts Envoys, networks or peers that must not stay. */
  readonly isPrivate: boolean;
  /** mocha's reporter: names where tests are few and slow, dots where they are many and fast. */
  readonly reporter: "dot" | "spec";
  /** Fetches or builds what its tests run, before they are cut off from the network. */
  readonly prepare?: () => Promise<void>;
}

/** In the order in which they run: the fastest to fail comes first. */
export const SUITES: readonly Suite[] = [
  { name: "architecture", testTimeoutMs: 30_000, isPrivate: false, reporter: "dot" },
  { name: "unit", testTimeoutMs: 30_000, isPrivate: false, reporter: "dot" },
  { name: "golden", testTimeoutMs: 30_000, isPrivate: false, reporter: "dot" },
  { name: "simulation", testTimeoutMs: 120_000, isPrivate: true, reporter: "spec" },
  { name: "envoy", testTimeoutMs: 120_000, isPrivate: true, reporter: "spec" },
  { name: "hosts", testTimeoutMs: 120_000, isPrivate: true, reporter: "spec" },
  { name: "systemd", testTimeoutMs: 180_000, isPrivate: true, reporter: "spec", prepare: prepareBootedHosts },
  { name: "peers", testTimeoutMs: 180_000, isPrivate: true, reporter: "spec", prepare: preparePeers },
];

async function preparePeers(): Promise<void> {
  const found = await ensureConsul();
  if ("missing" in found) console.log(`  consul: its tests are skipped: ${found.missing}`);
  const missing = await ensureKubernetes();
  if (missing !== undefined) console.log(`  kubernetes: its tests are skipped: ${missing}`);
  const undefinedKinds = await ensureIstioDefinitions();
  if (undefinedKinds !== undefined) console.log(`  istio: tests of its resources are skipped: ${undefinedKinds}`);
}

async function prepareBootedHosts(): Promise<void> {
  await ensureBootedImage();
  if (bootedImagePath() !== undefined) sweepControlGroupsAtEnd();
}
