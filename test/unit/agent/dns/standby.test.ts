import assert from "node:assert/strict";
import { Resolver } from "node:dns/promises";
import { mkdtemp, readdir, readFile, rm, stat, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { create, toBinary } from "@bufbuild/protobuf";
import { parseAgentConfig } from "../../../../agent/config.ts";
import { buildNameTable } from "../../../../agent/dns/name-table.ts";
import { keepNamesApart } from "../../../../agent/dns/names-on-disk.ts";
import { startDnsServer } from "../../../../agent/dns/server.ts";
import { startDnsStandby } from "../../../../agent/dns/standby.ts";
import { openLastKnownGood } from "../../../../agent/last-known-good.ts";
import type { LastKnownGood } from "../../../../agent/last-known-good.ts";
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
    const standby = tasks.own(await startDnsStandby({ config: config.value, namesFolder: folder(), environment: {}, logger: silentLogger }));
    const resolver = new Resolver();
    resolver.setServers([`127.0.0.1:${standby.port}`]);
    return resolver;
  };
  const folder = (): string => join(stateDir, "names");
  const open = async (): Promise<LastKnownGood> => keepNamesApart(await openLastKnownGood(stateDir, silentLogger), folder(), silentLogger);
  const save = async (...names: readonly { name: string; addresses: string[]; aliases: string[] }[]): Promise<void> => {
    const host = toBinary(HostConfigSchema, create(HostConfigSchema, { meshDomain: "corp.example", trustDomain: "secret.example", workloads: [{ name: "payroll" }] }));
    await (await open()).save(
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
    for (const file of await readdir(folder())) await writeFile(join(folder(), file), "damaged");
    assert.deepEqual(await (await start()).resolve4("www.example.org"), ["192.0.2.7"]);
    await rm(folder(), { recursive: true });
    await writeFile(folder(), "a file where a folder should be");
    assert.deepEqual(await (await start()).resolve4("www.example.org"), ["192.0.2.7"]);
  });

  it("finds names that everybody may read who sees the folder, whatever the umask is, and nothing else of the host", async () => {
    const before = process.umask(0o077);
    try {
      await save({ name: WEB, addresses: ["240.240.0.1"], aliases: [] });
    } finally {
      process.umask(before);
    }
    const files = await readdir(folder());
    assert.equal(files.length, 1);
    const file = join(folder(), files[0] ?? "");
    assert.deepEqual([(await stat(folder())).mode & 0o777, (await stat(file)).mode & 0o777], [0o755, 0o644]);
    const content = (await readFile(file)).toString("latin1");
    assert.match(content, /web\.shop/);
    assert.doesNotMatch(content, /payroll|secret\.example/);
  });

  it("finds them also where they were lost, or an earlier version of the agent wrote none, once the agent has started", async () => {
    await save({ name: WEB, addresses: ["240.240.0.1"], aliases: [] });
    await rm(folder(), { recursive: true });
    await (await open()).load();
    assert.deepEqual(await (await start()).resolve4(WEB), ["240.240.0.1"]);
  });

  it("is not what keeps the agent from storing its configuration", async () => {
    await writeFile(folder(), "a file where a folder should be");
    await save({ name: WEB, addresses: ["240.240.0.1"], aliases: [] });
    assert.equal((await (await openLastKnownGood(stateDir, silentLogger)).load())?.resources.length, 2);
  });
});
