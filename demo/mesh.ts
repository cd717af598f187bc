/** What the operator of the demo's mesh wrote into its configuration directory. */
export const MESH_YAML = `# Two services, and what runs them on hosts.
apiVersion: v1
kind: Service
metadata: {name: reviews, namespace: default}
spec:
  selector: {app: reviews}
  ports:
  - {name: http, port: 8080, targetPort: 9080}
---
apiVersion: v1
kind: Service
metadata: {name: ratings, namespace: default, labels: {consul: "yes"}}
spec:
  selector: {app: ratings}
  ports:
  - {name: http, port: 8080, targetPort: 9081}
---
apiVersion: networking.istio.io/v1
kind: WorkloadGroup
metadata: {name: web, namespace: default}
spec:
  metadata: {labels: {app: web}}
  template: {serviceAccount: web}
---
apiVersion: networking.istio.io/v1
kind: WorkloadGroup
metadata: {name: reviews-v1, namespace: default}
spec:
  metadata: {labels: {app: reviews, version: v1}}
  template: {serviceAccount: reviews, ports: {http: 9080}}
---
apiVersion: networking.istio.io/v1
kind: WorkloadGroup
metadata: {name: reviews-v2, namespace: default}
spec:
  metadata: {labels: {app: reviews, version: v2}}
  template: {serviceAccount: reviews, ports: {http: 9080}}
---
apiVersion: networking.istio.io/v1
kind: WorkloadGroup
metadata: {name: ratings, namespace: default}
spec:
  metadata: {labels: {app: ratings}}
  template: {serviceAccount: ratings, ports: {http: 9081}}
---
apiVersion: security.istio.io/v1
kind: PeerAuthentication
metadata: {name: default, namespace: default}
spec: {mtls: {mode: STRICT}}
`;

/** A workload: an application under a user of its own, on one of the hosts. */
export interface DemoWorkload {
  readonly name: string;
  readonly group: string;
  readonly uid: number;
  readonly application?: { readonly file: string; readonly options: Readonly<Record<string, unknown>> };
}

const WEB_UID = 2_001;
const REVIEWS_UID = 2_002;
const RATINGS_UID = 2_003;
/** Envoy's own user, whose traffic is not captured. */
export const PROXY_UID = 2_000;

const web: DemoWorkload = { name: "web", group: "default/web", uid: WEB_UID };
const ratings: DemoWorkload = {
  name: "ratings",
  group: "default/ratings",
  uid: RATINGS_UID,
  application: { file: "ratings.mjs", options: { place: "vm3", uid: RATINGS_UID, port: 9_081 } },
};

function reviews(version: "v1" | "v2"): DemoWorkload {
  return {
    name: `reviews-${version}`,
    group: `default/reviews-${version}`,
    uid: REVIEWS_UID,
    application: { file: "reviews.mjs", options: { version, uid: REVIEWS_UID, port: 9_080 } },
  };
}

export const VM_NAMES = ["vm1", "vm2", "vm3"] as const;
export type VmName = (typeof VM_NAMES)[number];

/** What runs where; vm3 runs two workloads, each with an identity of its own. */
export const WORKLOADS: Readonly<Record<VmName, readonly DemoWorkload[]>> = {
  vm1: [web],
  vm2: [reviews("v1")],
  vm3: [reviews("v2"), ratings],
};

/** Who calls: a person's shell under the user of a workload. */
export interface Caller {
  readonly vm: VmName;
  readonly uid: number;
}

export const WEB: Caller = { vm: "vm1", uid: WEB_UID };
export const RATINGS: Caller = { vm: "vm3", uid: RATINGS_UID };
