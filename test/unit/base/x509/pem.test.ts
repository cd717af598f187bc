import assert from "node:assert/strict";
import { randomBytes } from "node:crypto";
import { describe, it } from "mocha";

import { decodePem, encodePem } from "../../../../base/x509/pem.ts";

describe("PEM", () => {
  it("reads back what it wrote, several blocks in order", () => {
    const blocks = [1, 47, 48, 49, 500].map((length) => randomBytes(length));
    const text = blocks.map((der) => encodePem("CERTIFICATE", der)).join("");
    assert.ok(text.split("\n").every((line) => line.length <= 64));
    assert.deepEqual(decodePem("CERTIFICATE", text), { ok: true, value: blocks });
  });

  it("skips other labels and text, and knows Windows' line breaks", () => {
    const text = `subject=x\n${encodePem("PRIVATE KEY", Buffer.from("key"))}${encodePem("CERTIFICATE", Buffer.from("certificate"))}`;
    assert.deepEqual(decodePem("CERTIFICATE", text.replaceAll("\n", "\r\n")), { ok: true, value: [Buffer.from("certificate")] });
  });

  it("says what is wrong", () => {
    assert.deepEqual(decodePem("CERTIFICATE", "hello"), { ok: false, error: "no CERTIFICATE block" });
    const damaged = encodePem("CERTIFICATE", Buffer.from("certificate")).replace("Y2", "Y");
    assert.deepEqual(decodePem("CERTIFICATE", damaged), { ok: false, error: "the CERTIFICATE block number 1 is not base64" });
  });
});
