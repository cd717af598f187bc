/** The programs of the machine that the demo, the tests, or a host of a mesh run, installed where they are missing. */
"use strict";

const { spawnSync } = require("node:child_process");
const { existsSync, mkdtempSync, rmSync, writeFileSync } = require("node:fs");
const { tmpdir } = require("node:os");
const { join } = require("node:path");
const { installPackages } = require("./apt.cjs");
const { isOnPath, withRootFolders } = require("./machine.cjs");
const { SetupError, say } = require("./progress.cjs");

/**
 * `command` or `file` is what must be there; `package` is Debian's name for where
 * it comes from. Without an optional one the suite that needs it is skipped.
 */
const NEEDED = [
  { command: "nft", package: "nftables", why: "captures traffic", for: ["demo", "test", "host"] },
  { command: "iptables-restore", package: "iptables", why: "captures traffic where there is no nft", for: ["demo", "test", "host"] },
  { command: "ip", package: "iproute2", why: "makes the hosts' networks", for: ["demo", "test", "host"] },
  { command: "mount", package: "mount", why: "keeps the hosts of the lab to themselves", for: ["demo", "test"] },
  { command: "conntrack", package: "conntrack", why: "shows which connections were captured", for: ["test"] },
  { command: "tcpdump", package: "tcpdump", why: "shows the bytes on the wire", for: ["demo", "test"] },
  { command: "curl", package: "curl", why: "is the unmodified client", for: ["demo", "test", "host"] },
  { command: "git", package: "git", why: "lists the files that the architecture test reads", for: ["test"] },
  { command: "openssl", package: "openssl", why: "reads our certificates with other eyes", for: ["test"] },
  { command: "pgrep", package: "procps", why: "finds processes that must be gone", for: ["test"] },
  { command: "setpriv", package: "util-linux", why: "runs Envoy as a user without rights", for: ["demo", "test", "host"] },
  { command: "flock", package: "util-linux", why: "keeps two set-ups apart", for: ["demo", "test", "host"] },
  { command: "mmdebstrap", package: "mmdebstrap", why: "makes the image of hosts that are booted", for: ["test"], isOptional: true },
  { command: "faketime", package: "faketime", why: "sets the clock of a process alone", for: ["test"], isOptional: true },
  { command: "systemd-nspawn", package: "systemd-container", why: "boots hosts", for: ["test"], isOptional: true },
  { file: "/usr/share/keyrings/debian-archive-keyring.gpg", package: "debian-archive-keyring", why: "verifies the image's packages", for: ["test"], isOptional: true },
  {
    file: "/etc/ssl/certs/ca-certificates.crt",
    package: "ca-certificates",
    why: "verifies downloads",
    for: ["demo", "test", "host"],
  },
];

function missingFor(purpose) {
  return NEEDED.filter((need) => need.for.includes(purpose)).filter((need) =>
    need.command === undefined ? !existsSync(need.file) : !isOnPath(need.command),
  );
}

/** Whether nft reads rules here; those of before 1.0 do so from a file alone, which is what the agent gives them. */
function checkNft() {
  const folder = mkdtempSync(join(tmpdir(), "ironmesh-check-"));
  try {
    const rules = join(folder, "rules");
    writeFileSync(rules, "table inet ironmesh_check {}\n");
    const tried = spawnSync("nft", ["--check", "-f", rules], { encoding: "utf8", env: withRootFolders() });
    if (tried.status !== 0) throw new SetupError(`nft does not work here: ${(tried.stderr || String(tried.error)).trim()}`);
  } finally {
    rmSync(folder, { recursive: true, force: true });
  }
}

/** Everything that `purpose` runs is there afterwards, and of use. */
async function ensurePackages(purpose) {
  await ensureCommands(purpose);
  checkNft();
}

/**
 * Installs what is missing with apt. None of these packages starts or enables a
 * service when it is first installed (Debian's nftables leaves its own disabled).
 */
async function ensureCommands(purpose) {
  const missing = missingFor(purpose);
  const optional = missing.filter((need) => need.isOptional);
  await ensure(purpose, missing.filter((need) => !need.isOptional));
  try {
    await ensure(purpose, optional);
  } catch (error) {
    if (!(error instanceof SetupError)) throw error;
    say(`going on without ${optional.map((need) => need.package).join(", ")}: ${error.message}`);
  }
}

async function ensure(purpose, missing) {
  if (missing.length === 0) return;
  if (!isOnPath("apt-get")) {
    const list = missing.map((need) => `${need.command || need.file} (${need.why}; Debian's package ${need.package})`);
    throw new SetupError(["this machine has no apt-get, so install by its own means:", ...list].join("\n  - "));
  }
  const packages = [...new Set(missing.map((need) => need.package))];
  await installPackages(packages);
  const left = missingFor(purpose).filter((need) => missing.includes(need));
  if (left.length > 0) {
    throw new SetupError(`installed ${packages.join(", ")}, but still missing: ${left.map((need) => need.command || need.file).join(", ")}`);
  }
}

module.exports = { ensurePackages };
