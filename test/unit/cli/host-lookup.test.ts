import assert from "node:assert/strict";
import { CodedError } from "../../../base/coded-error.ts";
import { TaskGroup } from "../../../base/task-group.ts";
import { createApi } from "../../../cli/control-plane/api.ts";
import type { ApiParts } from "../../../cli/control-plane/parts.ts";
import type { ControlPlaneApi } from "../../../discovery/http/api.ts";
import { startPush } from "../../../discovery/push/push.ts";
import { type CaFixture, enrolHost, openCaFixture } from "../../support/ca-fixture.ts";
import { hostReport } from "../../support/host-report.ts";
import { type Mesh, startMesh } from "../../support/push-mesh.ts";

describe("which host an administrator means", () => {
  let tasks: TaskGroup;
  let authority: CaFixture;
  let mesh: Mesh;
  let api: ControlPlaneApi;
  beforeEach(async () => {
    tasks = new TaskGroup();
    authority = await openCaFixture();
    tasks.defer(() => authority.close());
    mesh = await startMesh();
    tasks.defer(() => mesh.close());
    const push = tasks.own(startPush(mesh.inputs));
    const { store, ca } = authority;
    // Those that the lookup and what follows it use; the others speak for listings.
    const parts: Pick<ApiParts, "store" | "authority" | "hosts" | "push" | "registries"> = { store, authority: ca, hosts: mesh.hosts, push, registries: [] };
    api = createApi(parts as ApiParts);
  });
  afterEach(() => tasks.close());

  /** Enrols a host that calls itself so; its id begins with another word. */
  async function host(name: string): Promise<string> {
    const { hostId } = await enrolHost(authority.ca, ["shop/web"], "granted");
    callItself(hostId, name);
    return hostId;
  }
  const callItself = (hostId: string, name: string): void => void mesh.hosts.report(hostId, hostReport([], name));
  const revoked = async (): Promise<string[]> => (await authority.ca.hosts()).filter((one) => one.revoked !== undefined).map(({ hostId }) => hostId);
  const isAmbiguous = (...ids: string[]) => (failure: unknown): boolean => {
    assert.ok(failure instanceof CodedError);
    assert.equal(failure.code, "MESH_HOST_AMBIGUOUS");
    for (const id of ids) assert.ok(failure.message.includes(id), failure.message);
    return true;
  };

  it("is the one that has the name, and is told by its id", async () => {
    const [web, db] = [await host("web-1"), await host("db-1")];
    assert.equal(await api.revokeHost("db-1"), db);
    assert.deepEqual(await revoked(), [db]);
    assert.notDeepEqual(await api.proxyResources("web-1", "secrets"), undefined);
    assert.notDeepEqual(await api.proxyResources(web, "secrets"), undefined);
    assert.deepEqual([await api.revokeHost("nobody"), await api.proxyResources("nobody", "secrets")], [undefined, undefined]);
  });

  it("is nobody where two have the name: neither is revoked, and both are listed", async () => {
    const [victim, attacker] = [await host("db-1"), await host("web-7")];
    callItself(attacker, "db-1");
    await assert.rejects(api.revokeHost("db-1"), isAmbiguous(victim, attacker));
    await assert.rejects(api.proxyResources("db-1", "secrets"), isAmbiguous(victim, attacker));
    assert.deepEqual(await revoked(), []);
    assert.equal(await api.revokeHost(attacker), attacker);
    assert.equal(await api.revokeHost("db-1"), victim);
  });

  it("is the one with the id, also where another calls itself by it and the one is silent", async () => {
    const attacker = await host("web-7");
    const { hostId: silent } = await enrolHost(authority.ca, ["shop/db"]);
    callItself(attacker, silent);
    assert.equal(await api.proxyResources(silent, "secrets"), undefined);
    assert.equal(await api.revokeHost(silent), silent);
    assert.deepEqual(await revoked(), [silent]);
  });

  it("counts what a silent host called itself when it joined", async () => {
    const attacker = await host("web-7");
    const { hostId: silent } = await enrolHost(authority.ca, ["shop/db"]);
    callItself(attacker, "as it calls itself");
    await assert.rejects(api.revokeHost("as it calls itself"), isAmbiguous(silent, attacker));
  });
});
