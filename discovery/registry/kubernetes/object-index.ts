import { isDeepStrictEqual } from "node:util";
import type { ObjectChange } from "../../kubernetes/follow.ts";
import type { EndpointSlice, KubernetesService, Node, Pod } from "./objects.ts";

/** What is held of a cluster, and which services each change is about. */
export class ObjectIndex {
  readonly services = new Map<string, KubernetesService>();
  readonly #slices = new Map<string, EndpointSlice>();
  readonly #pods = new Map<string, Pod>();
  readonly #nodes = new Map<string, Node>();
  readonly #podsByUid = new Map<string, Pod>();
  /** Slices by service key. */
  readonly #slicesOf = new Map<string, Set<EndpointSlice>>();
  /** Keys of services that have an endpoint of the pod or on the node, as often as they do. */
  readonly #servicesOfPod = new Uses();
  readonly #servicesOnNode = new Uses();

  /** Keys of services that are a name of another one, by its key. */
  readonly #namesOf = new Uses();
  readonly #namedBy: (service: KubernetesService) => string | undefined;

  /** @param namedBy the key of the service that another one is a name of */
  constructor(namedBy: (service: KubernetesService) => string | undefined) {
    this.#namedBy = namedBy;
  }

  /** Services that are a name of this one. */
  namesOf(service: string): Iterable<string> {
    return this.#namesOf.of(service);
  }

  podByUid = (uid: string): Pod | undefined => this.#podsByUid.get(uid);
  nodeByName = (name: string): Node | undefined => this.#nodes.get(name);

  slice = (key: string): EndpointSlice | undefined => this.#slices.get(key);

  slicesOf(service: string): readonly EndpointSlice[] {
    return [...(this.#slicesOf.get(service) ?? [])];
  }

  takeServices(changes: readonly ObjectChange<KubernetesService>[]): Iterable<string> {
    for (const { key, seen } of changes) {
      const [before, after] = [this.services.get(key), seen?.value];
      if (before !== undefined) this.#namesOf.remove(this.#namedBy(before) ?? "", key);
      if (after !== undefined) this.#namesOf.add(this.#namedBy(after) ?? "", key);
      if (after === undefined) this.services.delete(key);
      else this.services.set(key, after);
    }
    return changes.map(({ key }) => key);
  }

  takeSlices(changes: readonly ObjectChange<EndpointSlice>[]): Iterable<string> {
    const touched = new Set<string>();
    for (const { key, seen } of changes) {
      const [before, after] = [this.#slices.get(key), seen?.value];
      if (after === undefined) this.#slices.delete(key);
      else this.#slices.set(key, after);
      for (const slice of [before, after]) if (slice?.service !== undefined) touched.add(slice.service);
      if (before !== undefined) this.#unlink(before);
      if (after !== undefined) this.#link(after);
    }
    return touched;
  }

  takePods(changes: readonly ObjectChange<Pod>[]): Iterable<string> {
    const touched = new Set<string>();
    for (const { key, seen } of changes) {
      const [before, after] = [this.#pods.get(key), seen?.value];
      // A pod of a name is replaced by another one of it: a StatefulSet's.
      if (before !== undefined) this.#podsByUid.delete(before.uid);
      if (after !== undefined) this.#podsByUid.set(after.uid, after);
      if (after === undefined) this.#pods.delete(key);
      else this.#pods.set(key, after);
      // Where both are there they are mostly the same: a list tells of all of them.
      if (before !== undefined && after !== undefined && isDeepStrictEqual(before, after)) continue;
      for (const pod of [before, after]) if (pod !== undefined) for (const service of this.#servicesOfPod.of(pod.uid)) touched.add(service);
    }
    return touched;
  }

  takeNodes(changes: readonly ObjectChange<Node>[]): Iterable<string> {
    return changes.flatMap(({ key, seen }) => {
      const [before, after] = [this.#nodes.get(key), seen?.value];
      if (after === undefined) this.#nodes.delete(key);
      else this.#nodes.set(key, after);
      // A node's own heartbeat changes it every few minutes, its place never.
      return before?.region === after?.region && before?.zone === after?.zone ? [] : [...this.#servicesOnNode.of(key)];
    });
  }

  #link(slice: EndpointSlice): void {
    const { service } = slice;
    if (service === undefined) return;
    const held = this.#slicesOf.get(service) ?? new Set<EndpointSlice>();
    this.#slicesOf.set(service, held.add(slice));
    for (const { targetRef, nodeName } of slice.endpoints) {
      this.#servicesOfPod.add(targetRef?.uid ?? "", service);
      this.#servicesOnNode.add(nodeName, service);
    }
  }

  #unlink(slice: EndpointSlice): void {
    const { service } = slice;
    if (service === undefined) return;
    const held = this.#slicesOf.get(service);
    held?.delete(slice);
    if (held?.size === 0) this.#slicesOf.delete(service);
    for (const { targetRef, nodeName } of slice.endpoints) {
      this.#servicesOfPod.remove(targetRef?.uid ?? "", service);
      this.#servicesOnNode.remove(nodeName, service);
    }
  }
}

/** Who uses what, counted, so that what is used twice is still used when one use ends. */
class Uses {
  readonly #counts = new Map<string, Map<string, number>>();

  of(used: string): Iterable<string> {
    return this.#counts.get(used)?.keys() ?? [];
  }

  add(used: string, user: string): void {
    if (used === "") return;
    const counts = this.#counts.get(used) ?? new Map<string, number>();
    this.#counts.set(used, counts.set(user, (counts.get(user) ?? 0) + 1));
  }

  remove(used: string, user: string): void {
    const counts = this.#counts.get(used);
    const left = (counts?.get(user) ?? 0) - 1;
    if (left > 0) counts?.set(user, left);
    else counts?.delete(user);
    if (counts?.size === 0) this.#counts.delete(used);
  }
}
