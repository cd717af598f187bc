// Calls a service as an application would, and prints what came back as JSON.
//
//   node mesh-client.mjs '{"uid", "mode", "host", "port", "authority"?, "path"?, "headers"?, "requests"?, "parallel"?, "says"?, "tls"?}'
//
// mode http1, http2: [{status, headers, body}] for `requests` requests, `parallel` at a time over kept connections
// mode tcp: {received} or {error}: the server's first line, then the echo of what it `says`, which is "ping" where absent
// mode tcp-many: [{received} or {error}] of `requests` such connections, `parallel` at a time
// mode names: [names of the server's certificate, or an error's code] of `requests` TLS connections, `parallel` at a time; needs tls
// mode hold: as tcp, but stays and echoes each line of standard input
// mode silent: connects and says nothing; {received} of what came within a second, or {error}
// tls: {cert, key, servername} (PEM) speaks TLS as a client that is no proxy; http1 and tcp
import { Agent, request as httpRequest } from "node:http";
import { connect as connectHttp2 } from "node:http2";
import { connect as connectTcp } from "node:net";
import { connect as connectTls } from "node:tls";

const options = JSON.parse(process.argv[2] ?? "{}");
const { uid, mode, host, port, authority = "test", path = "/", headers = {}, requests = 1, parallel = 1, says = "ping", tls, method = "GET" } = options;
process.setgroups([]);
process.setgid(uid);
process.setuid(uid);

const TIMEOUT_MS = 20_000;
const dial = () => (tls === undefined ? connectTcp({ host, port }) : connectTls({ host, port, rejectUnauthorized: false, ...tls }));

function parse(status, responseHeaders, text) {
  let body = text;
  try {
    body = JSON.parse(text);
  } catch {}
  return { status, headers: responseHeaders, body };
}

const agent = new Agent({ keepAlive: true, maxSockets: parallel });
agent.createConnection = dial;

function getHttp1() {
  return new Promise((resolve) => {
    const call = httpRequest({ agent, method, path, timeout: TIMEOUT_MS, headers: { host: authority, ...headers } }, (response) => {
      let text = "";
      response.on("data", (data) => (text += data));
      response.on("end", () => resolve(parse(response.statusCode, response.headers, text)));
      response.on("error", (error) => resolve({ error: error.code }));
    });
    call.on("timeout", () => call.destroy(Object.assign(new Error("timeout"), { code: "ETIMEDOUT" })));
    call.on("error", (error) => resolve({ error: error.code ?? error.message }));
    call.end();
  });
}

let session;
function getHttp2() {
  session ??= connectHttp2(`http://${authority}`, { createConnection: dial });
  session.on("error", () => {});
  return new Promise((resolve) => {
    const stream = session.request({ ":path": path, ":authority": authority, ...headers });
    let status;
    let responseHeaders;
    let text = "";
    stream.setTimeout(TIMEOUT_MS, () => resolve({ error: "ETIMEDOUT" }));
    stream.on("response", (received) => {
      status = received[":status"];
      responseHeaders = { ...received };
    });
    stream.on("data", (data) => (text += data));
    stream.on("end", () => resolve(parse(status, responseHeaders, text)));
    stream.on("error", (error) => resolve({ error: error.code ?? error.message }));
  });
}

async function manyTimes(once) {
  const results = [];
  let left = requests;
  const worker = async () => {
    while (left > 0) {
      left -= 1;
      results.push(await once());
    }
  };
  await Promise.all(Array.from({ length: parallel }, worker));
  return results;
}

function talk() {
  return new Promise((resolve) => {
    const socket = dial();
    let received = "";
    const finish = (result) => {
      socket.destroy();
      resolve(result);
    };
    socket.setTimeout(TIMEOUT_MS, () => finish({ error: "ETIMEDOUT", received }));
    socket.on("data", (data) => {
      const isGreeting = received === "";
      received += data;
      if (isGreeting) socket.write(`${says}\n`);
      else if (received.endsWith(`${says}\n`)) finish({ received });
    });
    socket.on("error", (error) => finish({ error: error.code ?? error.message, received }));
    socket.on("close", () => finish({ error: "ECLOSED", received }));
  });
}

function nameOfServer() {
  return new Promise((resolve) => {
    const socket = dial();
    socket.setTimeout(TIMEOUT_MS, () => socket.destroy(Object.assign(new Error("timeout"), { code: "ETIMEDOUT" })));
    socket.on("secureConnect", () => {
      resolve(socket.getPeerX509Certificate()?.subjectAltName ?? "none");
      socket.destroy();
    });
    socket.on("error", (error) => resolve(error.code ?? error.message));
  });
}

function listen() {
  return new Promise((resolve) => {
    const socket = connectTcp({ host, port });
    let received = "";
    const finish = (result) => {
      socket.destroy();
      resolve(result);
    };
    setTimeout(() => finish({ received }), 1_000);
    socket.on("data", (data) => (received += data));
    socket.on("error", (error) => finish({ error: error.code, received }));
    socket.on("close", () => finish({ error: "ECLOSED", received }));
  });
}

function hold() {
  return new Promise((resolve) => {
    const socket = dial();
    socket.on("data", (data) => process.stdout.write(data));
    socket.on("error", () => {});
    socket.on("close", () => resolve("closed"));
    process.stdin.on("data", (data) => socket.write(data));
    process.stdin.on("end", () => socket.destroy());
  });
}

const modes = { http1: () => manyTimes(getHttp1), http2: () => manyTimes(getHttp2), tcp: talk, "tcp-many": () => manyTimes(talk), names: () => manyTimes(nameOfServer), silent: listen, hold };
const result = await modes[mode]();
process.stdout.write(`${JSON.stringify(result)}\n`, () => process.exit(0));
