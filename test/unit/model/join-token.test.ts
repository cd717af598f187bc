import assert from "node:assert/strict";
import { inspect } from "node:util";
import { describe, it } from "mocha";

import { SecretBytes } from "../../../base/secret-bytes.ts";
import { formatJoinToken, parseJoinToken } from "../../../model/join-token.ts";

describe("join token", () => {
  const secret = new SecretBytes(Buffer.alloc(32, 0xa7));
  const token = { id: "0123456789abcdef", secret, rootFingerprint: "ab".repeat(32) };
  const text = formatJoinToken(token).revealText();

  it("reads what it wrote, also with a line break behind it", () => {
    const parsed = parseJoinToken(`${text}\n`);
    assert.ok(parsed.ok);
    assert.equal(parsed.value.id, token.id);
    assert.deepEqual(Buffer.from(parsed.value.secret.reveal()), Buffer.alloc(32, 0xa7));
    assert.equal(parsed.value.rootFingerprint, token.rootFingerprint);
  });

  it("does not show its secret when printed", () => {
    const parsed = parseJoinToken(text);
    for (const shown of [inspect(parsed), JSON.stringify(parsed), String(formatJoinToken(token))]) {
      assert.ok(!shown.includes(text.split(".")[2] ?? "?"));
    }
  });

  it("rejects anything else without quoting it", () => {
    const [prefix, id, key, root] = text.split(".");
    for (const other of ["", "x", `im2.${id}.${key}.${root}`, `${prefix}.${id}.${key}`, `${text}.x`, `${prefix}.${id}.${key}A.${root}`, `${prefix}.${id}.${key}.${root?.toUpperCase()}`]) {
      const parsed = parseJoinToken(other);
      assert.equal(parsed.ok, false);
      assert.ok(other === "" || other === "x" || (!parsed.ok && !parsed.error.includes(other)));
    }
  });

  it("rejects a second spelling of the same secret", () => {
    const [prefix, id, key = "", root] = text.split(".");
    const other = `${prefix}.${id}.${key.slice(0, -1)}${String.fromCharCode(key.charCodeAt(42) + 1)}.${root}`;
    assert.notEqual(other, text);
    assert.equal(parseJoinToken(other).ok, false);
  });
});
