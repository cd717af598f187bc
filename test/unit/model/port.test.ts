import assert from "node:assert/strict";
import { selectProtocol } from "../../../model/port.ts";

describe("the protocol of a port", () => {
  for (const [declared, protocol] of [
    ["kubernetes.io/h2c", "HTTP2"],
    ["kubernetes.io/ws", "HTTP"],
    // WebSocket over TLS: the mesh has no key to look inside.
    ["kubernetes.io/wss", "TLS"],
    ["wss", "TLS"],
    ["HTTPS", "TLS"],
    ["grpc-web", "HTTP"],
  ] as const) {
    it(`is ${protocol} where it is declared as ${declared}, whatever it is called`, () => {
      assert.equal(selectProtocol(declared, "grpc-api", 3_306), protocol);
    });
  }

  it("is what its name begins with where nothing that is known is declared", () => {
    for (const declared of [undefined, "", "example.com/mine", "kubernetes.io/", "kubernetes.io/unknown"]) assert.equal(selectProtocol(declared, "grpc-api", 80), "GRPC", declared);
    assert.deepEqual(["grpc-web-ui", "https-ui", "ui", ""].map((name) => selectProtocol(undefined, name, 80)), ["HTTP", "TLS", "TCP", "TCP"]);
    assert.equal(selectProtocol(undefined, "http", 3_306), "TCP");
  });
});
