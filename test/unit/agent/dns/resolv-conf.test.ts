import assert from "node:assert/strict";
import { mkdtemp, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { watchHostResolvers } from "../../../../agent/dns/resolv-conf.ts";

describe("the host's resolvers", () => {
  let folder: string;

  beforeEach(async () => {
    folder = await mkdtemp(join(tmpdir(), "ironmesh-resolv-"));
  });

  afterEach(() => rm(folder, { recursive: true }));

  it("are known to all who ask at once, as queries that waited for the agent do", async () => {
    const path = join(folder, "resolv.conf");
    await writeFile(path, "search corp.example\nnameserver 192.0.2.1\n");
    const resolvers = watchHostResolvers({ path, resolvedPath: join(folder, "none"), isOwn: () => false });
    const known = { upstreams: [{ host: "192.0.2.1", port: 53 }], searchDomains: ["corp.example"] };
    assert.deepEqual(await Promise.all([resolvers.current(0), resolvers.current(0), resolvers.current(1)]), [known, known, known]);
    await writeFile(path, "nameserver 192.0.2.2\nnameserver 192.0.2.3\n");
    assert.deepEqual((await resolvers.current(2)).upstreams, known.upstreams, "looked at a moment ago");
    assert.deepEqual((await resolvers.current(1_001)).upstreams.map(({ host }) => host), ["192.0.2.2", "192.0.2.3"]);
  });
});
