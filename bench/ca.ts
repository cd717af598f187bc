// How many certificates one core of this machine can issue: `node bench/ca.ts [SECONDS]`.
import { execFileSync } from "node:child_process";
import { mkdtemp, rm } from "node:fs/promises";
import { cpus, tmpdir } from "node:os";
import { join } from "node:path";

import { systemClock } from "../base/clock.ts";
import { silentLogger } from "../base/logger.ts";
import { buildCsr, verifyCsr } from "../base/x509/csr.ts";
import { generatePrivateKey, publicKeySpki, spkiSha256 } from "../base/x509/key.ts";
import { openAuthority } from "../ca/authority.ts";
import { caConfigSchema } from "../ca/config.ts";
import type { HostGrant } from "../ca/grant.ts";
import { createCertificateAuthority } from "../ca/service.ts";
import { mintWorkloadCertificate } from "../ca/workload-certificate.ts";
import { createMemoryStore } from "../store/memory.ts";
import { openSqliteStore } from "../store/sqlite.ts";

/** Requests with different keys, so that nothing can be kept from one to the next. */
const requestCount = 2_000;
const rounds = 5;

interface OpensslSpeed {
  readonly signPerSecond: number;
  readonly verifyPerSecond: number;
}

function resolveGroup(): { readonly namespace: string; readonly serviceAccount: string } {
  return { namespace: "shop", serviceAccount: "web" };
}

function opensslSpeed(seconds: number): OpensslSpeed {
  const said = execFileSync("openssl", ["speed", "-seconds", String(seconds), "ecdsap256"], { encoding: "utf8", stdio: ["ignore", "pipe", "ignore"] });
  const [, sign, verify] = /ecdsa \(nistp256\)\s+\S+\s+\S+\s+(\S+)\s+(\S+)/.exec(said) ?? [];
  if (sign === undefined || verify === undefined) throw new Error("openssl speed did not say what was expected");
  return { signPerSecond: Number(sign), verifyPerSecond: Number(verify) };
}

/** Calls for `seconds`; the rate is by CPU time of this process, which other load on the machine does not lower. */
function ratePerCpuSecond(seconds: number, work: (index: number) => void): number {
  const endMs = performance.now() + seconds * 1_000;
  const start = process.cpuUsage();
  let count = 0;
  for (; performance.now() < endMs; count += 1) work(count);
  const { user, system } = process.cpuUsage(start);
  return count / ((user + system) / 1e6);
}

function median(values: readonly number[]): number {
  return values.toSorted((a, b) => a - b)[Math.floor(values.length / 2)] ?? 0;
}

/** The whole way of a request: grant looked up, CSR verified, signed, in the journal on the disk. */
async function wholeWay(folder: string, requests: readonly Buffer[]): Promise<number> {
  const store = await openSqliteStore({ path: join(folder, "state.db") });
  const config = caConfigSchema.parse({ keyFile: join(folder, "state.key") });
  const ca = await createCertificateAuthority({ store, clock: systemClock, config, logger: silentLogger, resolveGroup });
  const key = generatePrivateKey();
  const { token } = await ca.createToken({ groups: ["shop/web"] });
  const { hostId } = await ca.join({ token: token.revealText(), csr: buildCsr(key), hostName: "bench" }, { address: "127.0.0.1" });
  const caller = { hostId, spkiSha256: spkiSha256(publicKeySpki(key)) };
  const startMs = performance.now();
  const inFlight = 64;
  for (let index = 0; index < requests.length; index += inFlight) {
    await Promise.all(requests.slice(index, index + inFlight).map((csr) => ca.signWorkload(caller, "shop/web", csr)));
  }
  const rate = requests.length / ((performance.now() - startMs) / 1_000);
  await ca.close();
  await store.close();
  return rate;
}

async function main(seconds: number): Promise<void> {
  const folder = await mkdtemp(join(tmpdir(), "ironmesh-bench-"));
  try {
    const [cpu] = cpus();
    console.log(`machine: ${cpu?.model ?? "unknown"}, ${cpus().length} cores, Node ${process.version}, ${execFileSync("openssl", ["version"], { encoding: "utf8" }).trim()}`);
    const config = caConfigSchema.parse({ keyFile: join(folder, "bench.key") });
    const authority = await openAuthority(createMemoryStore(), systemClock, config);
    const grant: HostGrant = { hostId: "bench", groups: ["shop/web"], addressRanges: [], spkiSha256: "", tokenId: "", reportedName: "", enrolledAtMs: 0 };
    console.log(`making ${requestCount} requests ...`);
    const requests = Array.from({ length: requestCount }, () => buildCsr(generatePrivateKey()));

    function readCsr(index: number): ReturnType<Parameters<typeof mintWorkloadCertificate>[2]["readCsr"]> {
      const csr = verifyCsr(requests[index % requestCount] ?? Buffer.alloc(0));
      if (!csr.ok) throw new Error(csr.error);
      return csr.value;
    }

    function issue(index: number): void {
      mintWorkloadCertificate(authority, config, { grant, group: "shop/web", resolveGroup, readCsr: () => readCsr(index), nowMs: Date.now() });
    }

    ratePerCpuSecond(seconds, issue);
    // Interleaved, so that a change of the machine's speed meets both.
    const ours: number[] = [];
    const verifications: number[] = [];
    const limits: number[] = [];
    for (let round = 0; round < rounds; round += 1) {
      const { signPerSecond, verifyPerSecond } = opensslSpeed(seconds);
      limits.push(1 / (1 / signPerSecond + 1 / verifyPerSecond));
      verifications.push(ratePerCpuSecond(seconds, readCsr));
      ours.push(ratePerCpuSecond(seconds, issue));
      console.log(
        `round ${round + 1}: openssl sign ${Math.round(signPerSecond)}/s, verify ${Math.round(verifyPerSecond)}/s, both ${Math.round(limits[round] ?? 0)}/s; ` +
          `ours: CSR verified ${Math.round(verifications[round] ?? 0)}/s, verified and signed ${Math.round(ours[round] ?? 0)}/s`,
      );
    }
    const [rate, limit] = [median(ours), median(limits)];
    console.log(`CSR verified + certificate signed, per second of one core (median): ${Math.round(rate)}`);
    console.log(`openssl speed ecdsap256, one verification + one signature:         ${Math.round(limit)}`);
    console.log(`ratio:                                                             ${(rate / limit).toFixed(2)}`);
    console.log(`whole way, 64 at a time, in the journal on disk (by the clock):    ${Math.round(await wholeWay(folder, requests))}/s`);
  } finally {
    await rm(folder, { recursive: true });
  }
}

await main(Number(process.argv[2] ?? 1));
