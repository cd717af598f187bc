import assert from "node:assert/strict";
import { randomBytes } from "node:crypto";
import { waitUntil } from "../../test/support/wait-until.ts";
import { WEB } from "../mesh.ts";
import type { Step } from "../step.ts";
import { startRecording } from "../recording.ts";

const CLIENT = "spiffe://mesh.internal/ns/default/sa/web";
const SERVER = "spiffe://mesh.internal/ns/default/sa/reviews";
/** Enough for either version to be picked, with probability close to one. */
const MAX_TRIES = 50;

export const mutualTls: Step = {
  title: "An unmodified curl on vm1 reaches an unmodified server on vm2: over mutual TLS, by a name of the mesh",
  async run({ narrator, terminal, vms, folder }) {
    const url = "http://reviews.default:8080/";
    await waitUntil(async () => (await terminal.quietCurl(WEB, ["--fail", url])).code === 0, { what: "reviews to answer web" });

    const wire = await startRecording(vms.vm2.lab, "eth0", `${folder}/wire.pcap`);
    const inside = await startRecording(vms.vm2.lab, "lo", `${folder}/inside.pcap`);
    const secret = randomBytes(12).toString("hex");
    const addressed = `${url}?card=${secret}`;
    let answer = "";
    for (let tries = 0; tries < MAX_TRIES && !answer.includes('"version": "v1"'); tries++) {
      answer = (await terminal.quietCurl(WEB, [addressed])).stdout;
    }
    narrator.command(WEB.vm, `curl -s '${addressed}'`);
    narrator.output(answer);
    assert.match(answer, /"version": "v1"/, "no answer came from vm2");
    assert.ok(answer.includes(`URI=${CLIENT}`), "the server's Envoy saw another client than web");
    assert.ok(answer.includes(`By=${SERVER}`), "the client spoke to another server than reviews");
    narrator.proof(`the server's Envoy verified the client:  ${CLIENT}`);
    narrator.proof(`and showed it its own certificate:       ${SERVER}`);

    await waitUntil(() => wire.contains(TLS_RECORD) && inside.contains(secret), { what: "the recordings to hold the request" });
    await wire.stop();
    await inside.stop();
    narrator.command("vm2", `tcpdump -r wire.pcap -nn -c 4 'greater 200'`);
    narrator.output(await wire.show(["-c", "4", "greater", "200"]));
    assert.ok(!wire.contains(secret), "the request is readable on the wire");
    assert.ok(!wire.contains("reviews v1") && !wire.contains("HTTP/1.1"), "HTTP is readable on the wire");
    narrator.proof(`on vm2's network: ${wire.count(TLS_RECORD)} TLS records, and neither "${secret}" nor any other HTTP`);
    narrator.proof(`on vm2's loopback, behind Envoy, the application got it in plain: ${inside.count(secret)} times`);

    const plain = await terminal.root("vm1", "curl", ["--silent", "--show-error", "--max-time", "5", `http://${vms.vm2.lab.addresses.v4}:9080/`]);
    narrator.command("vm1", `curl -s http://${vms.vm2.lab.addresses.v4}:9080/     # by a process outside the mesh`);
    narrator.output(plain.stderr + plain.stdout);
    assert.notEqual(plain.code, 0, "a caller without a certificate was let in");
    narrator.proof("who has no certificate is not let in: PeerAuthentication says STRICT");
  },
};

/** Header of a TLS 1.2 or 1.3 application data record (RFC 8446 §5.1). */
const TLS_RECORD = Buffer.from([0x17, 0x03, 0x03]);
