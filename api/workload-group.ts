import { isHttpToken } from "./text.ts";
import { exclusive } from "./rules.ts";
import { choice, ignored, integer, list, object, required, text } from "./schema.ts";
import { annotations, anyText, host, labels, portNumber, textProblem, words } from "./text.ts";
import { workloadFields } from "./workload-entry.ts";

const seconds = integer(0, 86_400);
const httpHeader = object({
  name: required(text("header name", (name) => (isHttpToken(name) ? undefined : { code: "IM0124", message: "is not a header name" }))),
  value: anyText,
});

const probe = object(
  {
    initialDelaySeconds: seconds,
    timeoutSeconds: seconds,
    periodSeconds: seconds,
    successThreshold: integer(0, 1_000),
    failureThreshold: integer(0, 1_000),
    httpGet: object({
      path: text("path", (path) => (path.startsWith("/") ? undefined : { code: "IM0128", message: "does not begin with /" })),
      port: required(portNumber),
      host: words,
      scheme: choice(["HTTP", "HTTPS"]),
      httpHeaders: list(httpHeader),
    }),
    tcpSocket: object({ host, port: required(portNumber) }),
    exec: object({ command: required(list(text("text", textProblem))) }),
    grpc: object({ port: required(portNumber), service: anyText }),
  },
  exclusive(["httpGet", "tcpSocket", "exec", "grpc"], { isRequired: true }),
);

/** Source: istio.io/latest/docs/reference/config/networking/workload-group */
export const workloadGroupSchema = object({
  metadata: object({ labels, annotations }),
  template: required(object({ ...workloadFields, address: ignored("addresses come from the hosts") })),
  probe,
});
