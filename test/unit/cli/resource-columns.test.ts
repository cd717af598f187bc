import assert from "node:assert/strict";
import { RESOURCE_COLUMNS } from "../../../cli/commands/resource-columns.ts";

describe("columns of Envoy's resources", () => {
  const destinationOf = (...weights: number[]): string | undefined => {
    const clusters = weights.map((weight, at) => ({ name: `c${at}`, weight }));
    return RESOURCE_COLUMNS.routes.rows({ routes: [{ route: { weightedClusters: { clusters } } }] })[0]?.[3];
  };

  it("tell weights as the shares that they are, whatever they add up to", () => {
    assert.equal(destinationOf(90, 10), "90% c0, 10% c1");
    assert.equal(destinationOf(9_050, 950), "90.5% c0, 9.5% c1");
    assert.equal(destinationOf(1, 1, 1), "33.33% c0, 33.33% c1, 33.33% c2");
  });

  it("tell addresses of both families so that the port is seen", () => {
    const endpoint = (address: string): unknown => ({ endpoint: { address: { socketAddress: { address, portValue: 80 } } } });
    const rows = RESOURCE_COLUMNS.endpoints.rows({ clusterName: "c", endpoints: [{ lbEndpoints: [endpoint("10.0.0.1"), endpoint("fd00::1")] }] });
    assert.deepEqual(rows.map(([, place]) => place), ["10.0.0.1:80", "[fd00::1]:80"]);
  });
});
