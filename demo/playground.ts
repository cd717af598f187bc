import { CLI_PATH } from "./daemon.ts";
import { RATINGS, WEB } from "./mesh.ts";
import type { Caller } from "./mesh.ts";
import { WORLD_FOLDER } from "./world.ts";

/**
 * Says how to use the running mesh from another shell.
 *
 * @param pid the first process of the demo's namespaces, as this machine counts
 */
export function printPlayground(pid: number): void {
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

  # logs, and a shell on a host
  ${enter} tail -n 20 ${WORLD_FOLDER}/log/vm1.log
  ${enter} nsenter --net=/run/netns/vm3 bash
`);
}
