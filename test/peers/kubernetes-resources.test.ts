import assert from "node:assert/strict";
import { readFileSync } from "node:fs";
import { join } from "node:path";
import { parseAllDocuments } from "yaml";
import { systemClock } from "../../base/clock.ts";
import { kinds } from "../../api/kinds.ts";
import { type KubernetesConfig, type KubernetesConfigOptions, startKubernetesConfig } from "../../discovery/config/kubernetes/source.ts";
import { isIstios } from "../../discovery/config/kubernetes/served.ts";
import type { ConfigView, RegistryView } from "../../discovery/http/api.ts";
import { prepareControlPlane } from "../support/control-plane.ts";
import { startCuttableRelay } from "../support/cuttable-relay.ts";
import { istioDefinitions } from "../support/istio-definitions.ts";
import { KubernetesApi } from "../support/kubernetes-api.ts";
import { ISTIO_RESOURCES, istio } from "../support/kubernetes-objects.ts";
import type { KubernetesObject } from "../support/kubernetes-objects.ts";
import { kubernetesPrograms } from "../support/kubernetes.ts";
import { seededRandom } from "../support/seeded-random.ts";
import { waitUntil } from "../support/wait-until.ts";

const programs = kubernetesPrograms();
const definitions = istioDefinitions();
/** As the shipped rights name it. */
const ACCOUNT = "system:serviceaccount:ironmesh:ironmesh-registry";
const FAST = { resumeMs: 20, gatherMs: 20, absentMs: 50, resetHoldMs: 500, backoff: { baseMs: 20, maxMs: 500 } };
const SHOP: KubernetesObject = { apiVersion: "v1", kind: "Namespace", metadata: { name: "shop" } };
const isPossible = programs !== undefined && definitions !== undefined;

(isPossible ? describe : describe.skip)(isPossible ? "Istio's resources in kubernetes" : "Istio's resources in kubernetes (no kube-apiserver and etcd, or no definitions, and no Go to get them)", () => {
  let api: KubernetesApi;
  let kubeconfig: string;
  const ours = definitions?.filter(({ metadata }) => kinds.some((definition) => isIstios(definition) && metadata.name === `${definition.plural}.${definition.group}`)) ?? [];
  const shipped = ["rbac.yaml", "rbac-resources.yaml"].flatMap((file) =>
    parseAllDocuments(readFileSync(join(import.meta.dirname, "..", "..", "docs", "kubernetes", file), "utf8")).map((document) => document.toJS() as KubernetesObject),
  );
  const role = shipped.find(({ kind, metadata }) => kind === "ClusterRole" && metadata.name === "ironmesh-resources");

  before(async () => {
    assert.ok(programs !== undefined);
    assert.equal(ours.length, 7);
    api = await KubernetesApi.start(programs, { reader: ACCOUNT });
    kubeconfig = await api.kubeconfig("reader");
    await api.apply(...shipped, SHOP);
  });

  after(() => api.stop());

  function open(options: Partial<KubernetesConfigOptions> = {}): KubernetesConfig {
    return startKubernetesConfig({ name: "east", meshDomain: "mesh.internal", trustDomain: "mesh.internal", clusterDomain: "cluster.local", istioRootNamespace: "istio-system", kubeconfig, clock: systemClock, ...options, pacing: { ...FAST, ...options.pacing } });
  }

  const rule = (name: string, host = name): KubernetesObject => istio("DestinationRule", name, { host });
  const namesOf = ({ units }: KubernetesConfig): string[] => [...units.entries().values()].filter(({ problem }) => problem === undefined).map(({ name }) => name).sort();
  const problemsOf = ({ units }: KubernetesConfig): string[] => [...units.entries().values()].flatMap(({ name, problem }) => (problem === undefined ? [] : [`${name} ${problem.code} ${problem.message}`]));
  const has = (source: KubernetesConfig, ...names: readonly string[]): Promise<boolean> =>
    waitUntil(() => problemsOf(source).length === 0 && namesOf(source).join() === [...names].sort().join(), { what: `${names.join()}, not ${namesOf(source).join()} ${problemsOf(source).join()}` });
  /** A kind is served a moment after its definition is there. */
  const applied = (object: KubernetesObject): Promise<boolean> => waitUntil(() => api.apply(object).then(() => true), { what: `${object.kind} to be served` });

  it("are found when they are installed, in whatever version they are written, and gone with their definition", async () => {
    const source = open();
    try {
      await has(source);
      assert.match(source.notes().join(), /does not have Istio's ServiceEntry, WorkloadEntry, .*AuthorizationPolicy/);
      await api.apply(...ours);
      await applied(rule("new"));
      await applied(istio("PeerAuthentication", "default", { mtls: { mode: "STRICT" } }));
      const old = { ...istio("DestinationRule", "old", { host: "old" }), apiVersion: "networking.istio.io/v1alpha3" };
      const { status, body } = await api.call("POST", "/apis/networking.istio.io/v1alpha3/namespaces/shop/destinationrules", old);
      assert.equal(status, 201, body);
      await has(source, "east/DestinationRule/shop/new", "east/DestinationRule/shop/old", "east/PeerAuthentication/shop/default");
      await waitUntil(() => source.notes().length === 0, { what: "no note" });
      // Which version it prefers the API server only knows a moment after the definitions are there.
      assert.match(source.units.get("east/DestinationRule/shop/old")?.documents[0]?.resource?.apiVersion ?? "", /^networking\.istio\.io\/v1(beta1|alpha3)?$/);
      await api.remove(...ours.filter(({ metadata }) => metadata.name.startsWith("destinationrules.")));
      await waitUntil(() => source.notes().length === 1, { what: "the note" });
      await has(source, "east/PeerAuthentication/shop/default");
    } finally {
      await source.close();
      await api.apply(...ours);
      await applied(rule("new"));
      await api.remove(rule("new"), istio("PeerAuthentication", "default", {}));
    }
  });

  it("need the shipped rights, and each of them", async () => {
    assert.ok(role !== undefined);
    const source = open();
    try {
      await has(source);
      for (const [kind, { plural }] of Object.entries(ISTIO_RESOURCES)) {
        for (const verb of ["list", "watch"]) {
          await api.apply({ ...role, rules: rulesWithout(role, plural, verb) });
          const lacking = open();
          await waitUntil(() => problemsOf(lacking).length === 1 && problemsOf(lacking)[0]?.includes(`cannot ${verb} resource`), { what: `a denial without ${verb} of ${plural}, not ${problemsOf(lacking).join()}` });
          assert.match(problemsOf(lacking)[0] ?? "", new RegExp(`^east/${kind}/ IM0203 cannot be read: kubernetes answered 403`));
          await lacking.close();
        }
      }
    } finally {
      await source.close();
      await api.apply(role);
    }
  });

  it("end as a fresh list has them, after any sequence of changes and cuts", async () => {
    const random = seededRandom();
    const relay = await startCuttableRelay(api.port);
    const source = open({ kubeconfig: await api.kubeconfig("reader", relay.port) });
    const rules = ["a", "b", "c"].map((name) => (host: string) => rule(name, host));
    try {
      for (let step = 0; step < 40; step += 1) {
        const what = random.between(1, 20);
        const make = random.pick(rules) ?? rule;
        if (what <= 10) await api.apply(make(random.pick(["x", "y", "bank.com"]) ?? ""));
        else if (what <= 15) await api.remove(make("x"));
        else if (what <= 17) relay.cut();
        else if (what <= 19) relay.mend();
        else await api.compact();
      }
      relay.mend();
      const fresh = open();
      const contentOf = ({ units }: KubernetesConfig) => [...units.entries()].sort(([left], [right]) => (left < right ? -1 : 1));
      await waitUntil(
        () => {
          assert.deepEqual(contentOf(source), contentOf(fresh));
          return problemsOf(fresh).length === 0;
        },
        { what: `the same content (IRONMESH_SEED=${random.seed})`, timeoutMs: 60_000 },
      );
      await fresh.close();
    } finally {
      await source.close();
      await relay.close();
      await api.remove(...rules.map((make) => make("x")));
    }
  });

  it("are configuration beside files, judged like them, and outlive the cluster", async () => {
    const mesh = prepareControlPlane([{ kind: "kubernetes", name: "east", kubeconfig, resources: true }]);
    const config = async (): Promise<ConfigView[]> => JSON.parse(await mesh.ironmesh("get", "config", "-o", "json")) as ConfigView[];
    const stateOf = async (kind: string, name: string): Promise<string | undefined> => {
      const found = (await config()).find((one) => one.kind === kind && one.name === name);
      return found === undefined ? undefined : `${found.namespace} ${found.state} ${found.position}`;
    };
    const objects = [
      istio("WorkloadGroup", "web", { template: { serviceAccount: "web" } }),
      istio("AuthorizationPolicy", "web", { rules: [{ from: [{ source: { namespaces: ["shop"] } }] }] }),
      istio("DestinationRule", "bank", { host: "bank.prod.svc.mesh.internal" }),
      istio("DestinationRule", "both", { host: "web" }),
    ];
    mesh.write("both.yaml", "apiVersion: networking.istio.io/v1\nkind: DestinationRule\nmetadata: {name: both, namespace: east-shop}\nspec: {host: other}\n");
    try {
      for (const object of objects) await applied(object);
      await mesh.start();
      await waitUntil(async () => (await stateOf("AuthorizationPolicy", "web")) !== undefined && (await stateOf("DestinationRule", "bank")) !== undefined, { what: "the resources" });
      assert.equal(await stateOf("WorkloadGroup", "web"), "east-shop accepted kubernetes:east shop/web");
      assert.match((await stateOf("DestinationRule", "bank")) ?? "", /^east-shop rejected kubernetes:east shop\/bank$/);
      assert.match((await stateOf("DestinationRule", "both")) ?? "", /^east-shop conflict .*both\.yaml:1$/);
      assert.match(await mesh.ironmesh("get", "config"), /kubernetes:east shop\/bank: error IM0206 spec\.host: bank\.prod\.svc\.mesh\.internal is no service of the cluster/);
      assert.match(String(await mesh.api.get("/api/v1/config/AuthorizationPolicy/east-shop/web")), /namespaces:\n +- east-shop/);
      // A host may be granted what a group in the cluster says.
      assert.match(await mesh.ironmesh("token", "create", "--group", "east-shop/web"), /./);
      await api.stopApiServer();
      await waitUntil(async () => (await config()).some(({ position, state }) => position === "kubernetes:east" && state === "rejected"), { what: "the loss" });
      assert.match(await mesh.ironmesh("get", "config"), /kubernetes:east: error IM0203 cannot be read: kubernetes does not answer: .*; it was read last at /);
      await mesh.stop();
      await mesh.start();
      assert.equal(await stateOf("WorkloadGroup", "web"), "east-shop rejected kubernetes:east shop/web");
      assert.match(String(await mesh.api.get("/api/v1/config/AuthorizationPolicy/east-shop/web")), /- east-shop/);
      await api.startApiServer();
      await api.remove(istio("WorkloadGroup", "web", {}));
      await waitUntil(async () => (await stateOf("WorkloadGroup", "web")) === undefined && (await config()).every(({ position }) => position !== "kubernetes:east"), { what: "its return", timeoutMs: 90_000 });
      // Each kind returns by itself.
      await waitUntil(async () => (await stateOf("AuthorizationPolicy", "web")) === "east-shop accepted kubernetes:east shop/web", { what: "the policies' return", timeoutMs: 90_000 });
      assert.deepEqual((await mesh.api.get("/api/v1/registries") as RegistryView[]).find(({ name }) => name === "east")?.notes, []);
    } finally {
      await mesh.close();
      await api.remove(...objects);
    }
  });
});

interface Rule {
  readonly apiGroups: readonly string[];
  readonly resources: readonly string[];
  readonly verbs: readonly string[];
}

function rulesWithout(role: KubernetesObject, resource: string, verb: string): Rule[] {
  return (role["rules"] as readonly Rule[]).flatMap(({ apiGroups, resources, verbs }) =>
    resources.map((one) => ({ apiGroups, resources: [one], verbs: one === resource ? verbs.filter((other) => other !== verb) : verbs })),
  );
}
