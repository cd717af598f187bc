import { spawn } from "node:child_process";

/** Control groups are the one thing that no namespace takes with it: those of tests carry this in their name. */
export const CONTROL_GROUP_PREFIX = "ironmesh-test-";

/**
 * Waits for the end of its input, which comes when whoever started it ended,
 * in whatever way; then removes groups that have become empty. A host of
 * another run has processes, and keeps its groups, the empty ones among them too.
 */
const SWEEP = `
cat > /dev/null
mount -t cgroup2 cgroup2 /sys/fs/cgroup || exit 0
for attempt in 1 2 3 4 5 6 7 8 9 10; do
  left=0
  for group in /sys/fs/cgroup/"$1"*/; do
    [ -d "$group" ] || continue
    if grep -q "^populated 0" "$group/cgroup.events"; then find "$group" -depth -type d -exec rmdir {} + 2> /dev/null || left=1; else left=1; fi
  done
  [ "$left" = 0 ] && exit 0
  sleep 0.5
done
`;

/** Removes what booted hosts leave in the machine's control groups, once this process is gone. */
export function sweepControlGroupsAtEnd(): void {
  const sweeper = spawn("unshare", ["-m", "--propagation", "private", "sh", "-c", SWEEP, "sweep", CONTROL_GROUP_PREFIX], { detached: true, stdio: ["pipe", "ignore", "ignore"] });
  sweeper.on("error", () => {});
  sweeper.unref();
  // A pipe of a child is a socket, which would keep us alive.
  (sweeper.stdin as unknown as { unref(): void }).unref();
}
