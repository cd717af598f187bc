import { rm } from "node:fs/promises";
import { dirname, join } from "node:path";
import { writeFileAtomically } from "../../base/atomic-file.ts";
import type { CaptureTarget } from "./apply.ts";
import type { CapturePlan } from "./plan.ts";
import { renderNft } from "./render-nft.ts";

/** Beside the record of what is applied. */
export const BOOT_GUARD_FILE = "boot-guard.nft";

/**
 * Rules end with the kernel, and applications may serve before the next agent
 * does: what must stay closed meanwhile lies on disk as the input of `nft -f`,
 * for `systemd/ironmesh-guard.service`. No control group is named in it. There
 * is none with iptables.
 *
 * @param plan what is in force; undefined where nothing is any more
 */
export async function keepBootGuard(target: Pick<CaptureTarget, "backend" | "recordPath">, plan: CapturePlan | undefined): Promise<void> {
  const path = join(dirname(target.recordPath), BOOT_GUARD_FILE);
  if (plan === undefined || target.backend !== "nft") await rm(path, { force: true });
  else await writeFileAtomically(path, renderNft(plan, { capture: "absent", guard: "active" }));
}
