import { integer, object, required, text } from "./schema.ts";
import { endpointAddress, labels, locality, portsByName, serviceAccount, textProblem } from "./text.ts";

/** Fields that WorkloadEntry, endpoints of a ServiceEntry and templates of a WorkloadGroup share. */
export const workloadFields = {
  ports: portsByName,
  labels,
  network: text("name", textProblem),
  locality,
  weight: integer(0, 4_294_967_295),
  serviceAccount,
};

/** Source: istio.io/latest/docs/reference/config/networking/workload-entry */
export const workloadEntrySchema = object({ address: required(endpointAddress), ...workloadFields });
