import assert from "node:assert/strict";
import { serviceMeant } from "../../../cli/control-plane/service-description.ts";
import type { Catalog } from "../../../discovery/catalog/catalog.ts";

describe("the service that somebody means", () => {
  const keys = ["consul/web", "default/web", "consul/details"];
  const names = new Map([["web.service.consul", "consul/web"]]);
  const catalog = {
    names: { find: (host: string) => names.get(host) },
    services: { entries: () => new Map(keys.map((key) => [key, { name: key.split("/")[1] }])) },
  } as unknown as Catalog;
  const meant = (word: string): string | undefined => serviceMeant(catalog, word);

  it("is found by key, by any of its names, and by a name that it alone has, in whatever case", () => {
    for (const word of ["consul/web", "Consul/Web", "web.service.consul", "WEB.Service.consul"]) assert.equal(meant(word), "consul/web", word);
    for (const word of ["details", "Details"]) assert.equal(meant(word), "consul/details", word);
    assert.equal(meant("nobody"), undefined);
  });

  it("is nobody's guess where several have the name", () => {
    assert.throws(() => meant("Web"), { code: "MESH_SERVICE_AMBIGUOUS", hint: "say which: consul/web, default/web" });
  });
});
