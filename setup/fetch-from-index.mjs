/**
 * node fetch-from-index.mjs PROJECT FILE SHA256 DESTINATION: downloads a file of
 * a PyPI project by the index's JSON form (PEP 691). Run with the project's Node.
 */
import { createHash } from "node:crypto";
import { readFileSync, writeFileSync } from "node:fs";
import { homedir } from "node:os";
import { join } from "node:path";

const PYPI = "https://pypi.org/simple";
const JSON_FORM = "application/vnd.pypi.simple.v1+json";
const TIMEOUT_MS = 600_000;
const PIP_CONFIGS = ["/etc/pip.conf", join(homedir(), ".config", "pip", "pip.conf"), join(homedir(), ".pip", "pip.conf")];

/** What pip would use, without pip: the environment, then its files, the person's over the machine's. */
function indexUrl() {
  let found = PYPI;
  for (const path of PIP_CONFIGS) {
    try {
      found = /^\s*index-url\s*=\s*(\S+)/m.exec(readFileSync(path, "utf8"))?.[1] ?? found;
    } catch (error) {
      if (error.code !== "ENOENT" && error.code !== "ENOTDIR") throw error;
    }
  }
  return (process.env.PIP_INDEX_URL ?? found).replace(/\/+$/, "");
}

async function get(url, headers) {
  const target = new URL(url);
  const auth = target.username === "" ? {} : { authorization: `Basic ${Buffer.from(`${decodeURIComponent(target.username)}:${decodeURIComponent(target.password)}`).toString("base64")}` };
  target.username = target.password = "";
  const answer = await fetch(target, { headers: { ...headers, ...auth }, signal: AbortSignal.timeout(TIMEOUT_MS) }).catch((error) => {
    throw new Error(`cannot reach ${target.host}: ${error.cause?.message ?? error.message}`);
  });
  if (!answer.ok) throw new Error(`${target} answered ${answer.status}`);
  return answer;
}

const [project, file, sha256, destination] = process.argv.slice(2);
try {
  const page = `${indexUrl()}/${project}/`;
  const answer = await get(page, { accept: JSON_FORM });
  if (!answer.headers.get("content-type")?.includes("json")) throw new Error("the index does not speak JSON (PEP 691): install python3-pip");
  const entry = (await answer.json()).files.find((each) => each.filename === file);
  if (entry === undefined) throw new Error(`the index has no ${file}`);
  const bytes = Buffer.from(await (await get(new URL(entry.url, page), {})).arrayBuffer());
  const found = createHash("sha256").update(bytes).digest("hex");
  if (found !== sha256) throw new Error(`${file} has sha256 ${found}, pinned is ${sha256}`);
  writeFileSync(destination, bytes);
} catch (error) {
  console.error(error.message);
  process.exitCode = 1;
}
