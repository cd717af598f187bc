import type { CertificateAuthority } from "../../ca/service.ts";
import type { Catalog } from "../../discovery/catalog/catalog.ts";
import type { Config } from "../../discovery/config/config.ts";
import type { Push } from "../../discovery/push/push.ts";
import type { AgentsRegistry } from "../../discovery/registry/agents/registry.ts";
import type { Publisher } from "../../discovery/registry/consul/publish/publisher.ts";
import type { Registry } from "../../discovery/registry/registry.ts";
import type { KeyValueStore } from "../../store/key-value.ts";
import type { AgentPort } from "./agent-port.ts";
import type { Grants } from "./grants.ts";

/** The running parts that the API speaks for. */
export interface ApiParts {
  readonly written: Config;
  readonly store: KeyValueStore;
  readonly authority: CertificateAuthority;
  readonly grants: Grants;
  readonly catalog: Catalog;
  readonly registries: readonly Registry[];
  /** By the registry that they publish in. */
  readonly publishers: ReadonlyMap<string, Publisher>;
  readonly hosts: AgentsRegistry;
  readonly push: Push;
  readonly port: AgentPort;
}
