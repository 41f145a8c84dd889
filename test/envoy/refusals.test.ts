import { create, fromBinary, toBinary } from "@bufbuild/protobuf";
import { afterAll, beforeAll, expect, test } from "vitest";
import { ListenerSchema } from "#proto/envoy/config/listener/v3/listener_pb.js";
import { ScopedRouteConfigurationSchema } from "#proto/envoy/config/route/v3/scoped_route_pb.js";
import { HTTPS_LISTENER } from "../../src/envoy/listeners.ts";
import type { Resource } from "../../src/xds/cache.ts";
import { objects, rootYaml, serviceYaml } from "../objects.ts";
import { createAuthority, type Identity } from "../parts/authority.ts";
import { requestHttps } from "../parts/clients.ts";
import { eventually } from "./harness.ts";
import { describeWithEnvoy } from "./suite.ts";
import { startWorld, type World } from "./world.ts";

/** Compile lets nothing through that Envoy refuses, so the refused resource is put in behind its back. */
describeWithEnvoy("what a real Envoy refuses", (binary) => {
  let world: World;
  beforeAll(async () => {
    world = await startWorld({ binary });
  });
  afterAll(() => world.stop());

  const root = (name: string, service: string) =>
    rootYaml(name, `${name}.example.com`, `[{ match: /, services: [{ name: ${service}, port: 80 }] }]`);

  /** The host's scope as it is, with a regular expression in it that cannot be read. */
  const poisoned = (host: string): Resource => {
    const scope = world.running().cache.get("scopedRoute", `h|${host}`);
    if (scope === undefined) throw new Error(`no scope of ${host}`);
    const regex = { pathSpecifier: { case: "safeRegex" as const, value: { regex: "a((" } } };
    const message = create(ScopedRouteConfigurationSchema, {
      name: scope.name,
      key: { fragments: [{ type: { case: "stringKey", value: scope.name } }] },
      routeConfiguration: {
        name: scope.name,
        virtualHosts: [
          {
            name: scope.name,
            domains: ["*"],
            routes: [{ match: regex, action: { case: "directResponse", value: { status: 200 } } }],
          },
        ],
      },
    });
    return { ...scope, version: "poisoned", body: toBinary(ScopedRouteConfigurationSchema, message) };
  };

  test("costs that one host its change, is told with its object, and heals with the next change", async () => {
    await world.apply(
      objects(
        ["bad", "good", "new"].map((name) => serviceYaml(name)).join("") + root("bad", "bad") + root("good", "good"),
      ),
    );
    const bad = poisoned("bad.example.com");

    // One batch, hence one response with the culprit and two that are well: Envoy applies none of it at first.
    const { cache, controller, xds, httpPort } = world.running();
    const { resources } = controller.translator.apply(objects(root("good", "new") + root("another", "new")));
    cache.apply({ ...resources, set: [...resources.set, bad] });
    await eventually(
      async () =>
        JSON.parse((await world.get("good.example.com", "/")).body).service === "default/new" &&
        (await world.get("another.example.com", "/")).status === 200 &&
        xds.envoys().some(({ types }) => types.some(({ refused }) => refused.length > 0)),
      10_000,
    );
    expect(JSON.parse((await world.get("bad.example.com", "/")).body).service).toBe("default/bad");

    const refused = xds.envoys().flatMap(({ types }) => types.flatMap((type) => type.refused));
    expect(refused).toEqual([
      {
        name: "h|bad.example.com",
        version: "poisoned",
        origins: ["IngressRoute/default/bad"],
        message: expect.stringContaining("a(("),
      },
    ]);
    expect(world.log()).toContain("IngressRoute/default/bad");
    const statuses: { name: string; status: { conditions: { type: string; status: string; message: string }[] } }[] =
      JSON.parse(await (await fetch(`http://127.0.0.1:${httpPort}/api/ingressroutes`)).text());
    const programmed = new Map(
      statuses.map(({ name, status }) => [name, status.conditions.find(({ type }) => type === "Programmed")]),
    );
    expect(programmed.get("bad")).toMatchObject({
      status: "False",
      reason: "Refused",
      message: expect.stringContaining("a(("),
    });
    expect(programmed.get("good")).toMatchObject({ status: "True" });

    await world.apply(objects(root("bad", "new")));
    expect(JSON.parse((await world.get("bad.example.com", "/")).body).service).toBe("default/new");
    expect(xds.envoys().flatMap(({ types }) => types.flatMap((type) => type.refused))).toEqual([]);
  });

  test("of the secure port's listener, no host is served to older clients than it asks for, and the others go on", async () => {
    const authority = createAuthority("test");
    const secure = (name: string, tls = "") => `---
apiVersion: contour.heptio.com/v1beta1
kind: IngressRoute
metadata: { name: ${name} }
spec:
  virtualhost: { fqdn: ${name}.example.com, tls: { secretName: ${name} ${tls} } }
  routes: [{ match: /, services: [{ name: good, port: 80 }] }]
---
apiVersion: v1
kind: Secret
metadata: { name: ${name} }
type: kubernetes.io/tls
stringData: ${secretData(authority.issue({ names: [`${name}.example.com`] }))}
`;
    const get = (name: string, maxVersion: "TLSv1.2" | "TLSv1.3") => {
      const host = `${name}.example.com`;
      return requestHttps({ port: world.httpsPort, sni: host, host, maxVersion });
    };
    await world.apply(objects(serviceYaml("good") + secure("ordinary")));
    const { cache, controller, xds } = world.running();
    const { resources } = controller.translator.apply(objects(secure("modern", ", minimumProtocolVersion: '1.3'")));
    const set = resources.set.map((resource) => (resource.name === HTTPS_LISTENER ? withoutName(resource) : resource));
    cache.apply({ ...resources, set });
    await eventually(() => xds.acceptances("listener", HTTPS_LISTENER)[0]?.acceptance.kind === "refused", 10_000);
    await eventually(async () => expect((await get("modern", "TLSv1.3")).status).toBe(200), 10_000);
    expect((await get("modern", "TLSv1.2")).status).toBe(421);
    for (const version of ["TLSv1.2", "TLSv1.3"] as const) expect((await get("ordinary", version)).status).toBe(200);
  });
});

function secretData({ certPem, keyPem }: Identity): string {
  return JSON.stringify({ "tls.crt": certPem, "tls.key": keyPem });
}

/** Envoy refuses filter chains of one name, and those without. */
function withoutName(listener: Resource): Resource {
  const message = fromBinary(ListenerSchema, listener.body);
  for (const chain of message.filterChains) chain.name = "";
  return { ...listener, version: "poisoned", body: toBinary(ListenerSchema, message) };
}
