import { join } from "node:path";
import { z } from "zod";
import { controlPlaneSchema } from "../../../cli/control-plane/config.ts";
import { type JsonSchema, renderConfigReference } from "../../support/config-reference.ts";
import { assertRendered } from "../../support/reference-doc.ts";

const docs = join(import.meta.dirname, "../../../docs/reference");

describe("golden: reference of the control plane's file", () => {
  it("control-plane-config.md", () => {
    const intro = ["The file of `ironmesh control-plane --config FILE`, YAML. Unknown fields are errors. [getting-started.md](../getting-started.md) has an example."];
    const schema = z.toJSONSchema(controlPlaneSchema, { io: "input", unrepresentable: "any" }) as JsonSchema;
    assertRendered(join(docs, "control-plane-config.md"), renderConfigReference("The control plane's configuration", intro, schema));
  });
});
