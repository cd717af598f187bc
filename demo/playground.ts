import { CLI_PATH } from "./daemon.ts";
import { RATINGS, WEB } from "./mesh.ts";
import type { Caller } from "./mesh.ts";
import { CONSUL_SERVER, CONSUL_URL } from "./consul.ts";
import { WORLD_FOLDER } from "./world.ts";

/**
 * Says how to use the running mesh from another shell.
 *
 * @param pid the first process of the demo's namespaces, as this machine counts
 * @param consulPath undefined where there is no Consul
 */
export function printPlayground(pid: number, consulPath: string | undefined): void {
  const enter = `nsenter -t ${pid} -m -p`;
  const as = ({ vm, uid }: Caller): string => `${enter} nsenter --net=/run/netns/${vm} setpriv --reuid ${uid} --regid ${uid} --clear-groups`;
  console.log(`
Everything runs on until Ctrl-C. From another shell, as root:

  # call a service as the application on vm1, or as the second one on vm3
  ${as(WEB)} curl -s http://reviews.default:8080/
  ${as(RATINGS)} curl -s http://reviews.default:8080/

  # look around, or change something
  ${enter} env IRONMESH_API=${WORLD_FOLDER}/control-plane.sock ${process.execPath} ${CLI_PATH} get services
  ${enter} env IRONMESH_API=${WORLD_FOLDER}/control-plane.sock ${process.execPath} ${CLI_PATH} proxy-config routes vm1

${consulPath === undefined ? "" : consulPart(enter, as(WEB), consulPath)}  # logs, and a shell on a host
  ${enter} tail -n 20 ${WORLD_FOLDER}/log/vm1.log
  ${enter} nsenter --net=/run/netns/vm3 bash
`);
}

function consulPart(enter: string, asWeb: string, consulPath: string): string {
  return `  # the service that only Consul knows, and the cluster
  ${asWeb} curl -s ${CONSUL_URL}/
  ${enter} nsenter --net=/run/netns/${CONSUL_SERVER} env CONSUL_HTTP_TOKEN_FILE=${WORLD_FOLDER}/${CONSUL_SERVER}/operator-token ${consulPath} members

`;
}
