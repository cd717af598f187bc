// Opens TCP connections and says where they landed: what each wrote first.
//
//   node lab-client.mjs '{"uid", "mode", "host", "port", "localAddress"?, "localPort"?, "timeoutMs"?, "lines"?}'
//
// mode "once": one connection, prints {"lines": [...]} or {"error": "ECONNREFUSED"}
// mode "hold": one connection, prints its first line; echoes what standard input says; "closed CODE" when it ends
// mode "datagram": one UDP datagram, prints {"lines": [answer]} or {"error": ...}
// mode "resolve": asks the name server at "host" for the addresses of "name", prints as "once" does
// mode "load": connections one after the other until standard input ends, prints {"landed": {line: n}, "failed": {code: n}}
import { createSocket } from "node:dgram";
import { Resolver } from "node:dns/promises";
import { connect } from "node:net";

const options = JSON.parse(process.argv[2] ?? "{}");
const { uid, mode, host, port, localAddress, localPort, timeoutMs = 3000, lines = 1 } = options;
if (uid !== undefined) {
  process.setgroups([]);
  process.setgid(uid);
  process.setuid(uid);
}

/** The first lines that the other side writes; those that came when it says no more in time. */
function greet() {
  return new Promise((resolve, reject) => {
    const socket = connect({ host, port, localAddress, localPort });
    let text = "";
    const timer = setTimeout(() => finish(() => (text === "" ? reject(new Error("ETIMEDOUT")) : resolve(text.trim().split("\n")))), timeoutMs);
    const finish = (settle) => {
      clearTimeout(timer);
      socket.destroy();
      settle();
    };
    socket.on("data", (data) => {
      text += data;
      if (text.split("\n").length > lines) finish(() => resolve(text.trim().split("\n")));
    });
    socket.on("error", (error) => finish(() => reject(new Error(error.code))));
    socket.on("close", () => finish(() => (text === "" ? reject(new Error("ECLOSED")) : resolve(text.trim().split("\n")))));
  });
}

const modes = {
  async once() {
    const answer = await greet().then(
      (lines) => ({ lines }),
      (error) => ({ error: error.message }),
    );
    console.log(JSON.stringify(answer));
  },
  async hold() {
    const socket = connect({ host, port, localAddress });
    socket.on("data", (data) => process.stdout.write(data));
    socket.on("error", (error) => console.log(`closed ${error.code}`));
    process.stdin.on("data", (data) => socket.write(data));
    process.stdin.on("end", () => socket.destroy());
  },
  async load() {
    process.stdin.resume();
    const landed = {};
    const failed = {};
    while (!process.stdin.readableEnded) {
      const [tally, key] = await greet().then(
        ([line]) => [landed, line],
        (error) => [failed, error.message],
      );
      tally[key] = (tally[key] ?? 0) + 1;
    }
    console.log(JSON.stringify({ landed, failed }));
  },
  async resolve() {
    const resolver = new Resolver({ timeout: timeoutMs, tries: 1 });
    resolver.setServers([host.includes(":") ? `[${host}]` : host]);
    const addresses = options.family === "v6" ? resolver.resolve6(options.name) : resolver.resolve4(options.name);
    console.log(JSON.stringify(await addresses.then((lines) => ({ lines }), (error) => ({ error: error.code }))));
  },
  /** One datagram; prints the answer. */
  async datagram() {
    const socket = createSocket(host.includes(":") ? "udp6" : "udp4");
    const timer = setTimeout(() => finish({ error: "ETIMEDOUT" }), timeoutMs);
    const finish = (answer) => {
      clearTimeout(timer);
      console.log(JSON.stringify(answer));
      socket.close();
    };
    socket.on("error", (error) => finish({ error: error.code }));
    // Connected: an answer from any other address is not an answer.
    socket.bind(localPort ?? 0, () => socket.connect(port, host, () => socket.send("who")));
    socket.on("message", (message) => finish({ lines: [`${message}`] }));
  },
};

await modes[mode]();
