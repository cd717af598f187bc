import type { World } from "./world.ts";

/** One thing that the demo shows. It fails by throwing, and leaves the mesh as it found it unless its title says otherwise. */
export interface Step {
  readonly title: string;
  readonly run: (world: World) => Promise<void>;
}
