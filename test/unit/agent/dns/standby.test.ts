import assert from "node:assert/strict";
import { Resolver } from "node:dns/promises";
import { mkdtemp, readdir, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { create, toBinary } from "@bufbuild/protobuf";
import { parseAgentConfig } from "../../../../agent/config.ts";
import { buildNameTable } from "../../../../agent/dns/name-table.ts";
import { startDnsServer } from "../../../../agent/dns/server.ts";
import { startDnsStandby } from "../../../../agent/dns/standby.ts";
import { openLastKnownGood } from "../../../../agent/last-known-good.ts";
import { systemClock } from "../../../../base/clock.ts";
import { silentLogger } from "../../../../base/logger.ts";
import { TaskGroup } from "../../../../base/task-group.ts";
import { HostConfigSchema, NameRecordSchema } from "../../../../proto/gen/ironmesh/agent/v1/agent_pb.js";
import { createResource } from "../../../../xds/resource.ts";
import { TYPE_URLS } from "../../../../xds/type-urls.ts";

const WEB = "web.shop.svc.corp.example";

describe("DNS while there is no agent", () => {
  let tasks: TaskGroup;
  let stateDir = "";
  let upstream = 0;

  beforeEach(async () => {
    tasks = new TaskGroup();
    stateDir = await mkdtemp(join(tmpdir(), "ironmesh-standby-"));
    tasks.defer(() => rm(stateDir, { recursive: true }));
    // The host's own resolver: another server of ours, to which these names are its own.
    const resolvers = { current: () => Promise.resolve({ upstreams: [], searchDomains: [] }) };
    const table = buildNameTable([{ name: "www.example.org", addresses: ["192.0.2.7"] }], ["example.org", "corp.example"]);
    upstream = tasks.own(await startDnsServer({ addresses: ["127.0.0.1"], port: 0, table, resolvers, clock: systemClock, logger: silentLogger })).port;
  });
  afterEach(() => tasks.close());

  const start = async (): Promise<Resolver> => {
    const config = parseAgentConfig(JSON.stringify({ controlPlane: { address: "localhost" }, stateDir, dns: { port: 0, upstreams: [`127.0.0.1:${upstream}`] } }), "agent.yaml");
    assert.ok(config.ok);
    const standby = tasks.own(await startDnsStandby({ config: config.value, environment: {}, logger: silentLogger }));
    const resolver = new Resolver();
    resolver.setServers([`127.0.0.1:${standby.port}`]);
    return resolver;
  };
  const save = async (...names: readonly { name: string; addresses: string[]; aliases: string[] }[]): Promise<void> => {
    const host = toBinary(HostConfigSchema, create(HostConfigSchema, { meshDomain: "corp.example" }));
    await (await openLastKnownGood(stateDir, silentLogger)).save(
      [createResource(TYPE_URLS.hostConfig, "h1", host), ...names.map((record) => createResource(TYPE_URLS.nameRecord, record.name, toBinary(NameRecordSchema, create(NameRecordSchema, record))))],
      0,
    );
  };

  it("answers the names that the agent had on disk, and passes the others on", async () => {
    await save({ name: WEB, addresses: ["240.240.0.1"], aliases: ["web.service.consul"] });
    const resolver = await start();
    assert.deepEqual(await resolver.resolve4(WEB), ["240.240.0.1"]);
    assert.deepEqual(await resolver.resolve4("web.service.consul"), ["240.240.0.1"]);
    assert.deepEqual(await resolver.resolve4("www.example.org"), ["192.0.2.7"]);
    await assert.rejects(resolver.resolve4("nobody.corp.example"), { code: "ENOTFOUND" });
  });

  it("passes on where nothing is on disk, where it is damaged, and where there is no such folder", async () => {
    assert.deepEqual(await (await start()).resolve4("www.example.org"), ["192.0.2.7"]);
    await save({ name: WEB, addresses: ["240.240.0.1"], aliases: [] });
    const folder = join(stateDir, "last-known-good");
    for (const file of await readdir(folder)) await writeFile(join(folder, file), "damaged");
    assert.deepEqual(await (await start()).resolve4("www.example.org"), ["192.0.2.7"]);
    await rm(folder, { recursive: true });
    await writeFile(folder, "a file where a folder should be");
    assert.deepEqual(await (await start()).resolve4("www.example.org"), ["192.0.2.7"]);
  });
});
