import type { KubernetesClient } from "../../kubernetes/client.ts";

/** The client, and how many of its watches are open. */
export function countWatches(client: KubernetesClient): { readonly client: KubernetesClient; readonly open: () => number } {
  let open = 0;
  return {
    open: () => open,
    client: {
      ...client,
      async watch(query) {
        let isOpen = false;
        try {
          return await client.watch({
            ...query,
            onOpen() {
              isOpen = true;
              open += 1;
              query.onOpen();
            },
          });
        } finally {
          if (isOpen) open -= 1;
        }
      },
    },
  };
}
