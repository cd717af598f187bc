import { parseArgs } from "node:util";

/** What a person asked the demo for. */
export interface DemoOptions {
  /** End after the last step; the exit code says whether all held. */
  readonly isOnce: boolean;
  /** A Consul cluster stands beside the mesh, with a service that only it knows. */
  readonly withConsul: boolean;
  /** A Kubernetes API stands beside the mesh, and a service is registered in it too. */
  readonly withKubernetes: boolean;
  readonly isHelp: boolean;
}

export const USAGE = `usage: npm run demo [-- OPTION…]

A control plane and three hosts in network namespaces of this machine, step by
step; afterwards everything runs on until Ctrl-C. Takes root.

  --once          end after the last step; exits 0 only if every step held
  --with-consul   a Consul cluster of its own beside the mesh, and the steps about
                  it: a service that only Consul knows, found by its name, by its
                  health, under Istio's resources, and with Consul stopped.
                  Takes the consul on PATH, else builds one with Go, once: about
                  eight minutes of CPU
  --with-kubernetes
                  a Kubernetes API of its own beside the mesh, and the steps about
                  one service that several registries have: separate, joined by a
                  rule, and with each registry failing in turn; with --with-consul
                  it is in Consul too. Takes kube-apiserver, etcd and kubectl on
                  PATH, else builds them with Go, once: about ten minutes of CPU
  --help          this text

examples:
  npm run demo
  npm run demo -- --with-consul
  npm run demo -- --once --with-consul --with-kubernetes
`;

/** @throws for an option that there is not */
export function parseOptions(args: readonly string[]): DemoOptions {
  const { values } = parseArgs({
    args: [...args],
    options: {
      once: { type: "boolean", default: false },
      "with-consul": { type: "boolean", default: false },
      "with-kubernetes": { type: "boolean", default: false },
      help: { type: "boolean", short: "h", default: false },
    },
  });
  return { isOnce: values.once, withConsul: values["with-consul"], withKubernetes: values["with-kubernetes"], isHelp: values.help };
}
