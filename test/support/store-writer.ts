// A child process that writes to a SQLite store until it is killed, and says each acknowledged revision.
import { openSqliteStore } from "../../store/sqlite.ts";

const path = process.argv[2];
if (path === undefined) throw new Error("usage: store-writer.ts PATH");
const store = await openSqliteStore({ path });
let { revision } = await store.list("");
for (;;) {
  const next = revision + 1;
  const puts = ["a", "b", "c"].map((part) => ({ type: "put" as const, key: `${part}/${next}`, value: "x".repeat(2_000) }));
  const result = await store.txn([], puts);
  revision = result.revision;
  process.send?.(revision);
}
