import { createMemoryStore } from "../../../store/memory.ts";
import { describeStoreConformance } from "../../support/store-conformance.ts";

describeStoreConformance("memory", { open: async (options) => createMemoryStore(options) });
