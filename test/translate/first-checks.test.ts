import { expect, test } from "vitest";
import { translate } from "../../src/translate/translate.ts";
import { objects, rootYaml, serviceYaml } from "../objects.ts";
import { testOptions } from "../settings.ts";

const CHECK = "healthCheck: { path: /healthy, timeoutSeconds: 7 }";

/** Of the cluster of the only service. */
function firstCheckMs(service: string, port: number, more: string): number | undefined {
  const root = rootYaml("web", "web.example.com", `[{ match: /, services: [{ name: web, port: ${port} ${more} }] }]`);
  const { resources } = translate(objects(root + service), testOptions({}));
  const clusters = resources.filter(({ type }) => type === "cluster");
  expect(clusters).toHaveLength(1);
  return clusters[0]?.firstCheckMs;
}

test("scopes wait for health checks as long as these take", () => {
  expect(firstCheckMs(serviceYaml("web"), 80, `, ${CHECK}`)).toBe(7000);
  expect(firstCheckMs(serviceYaml("web"), 80, "")).toBeUndefined();
});

test("nobody waits with a route that asks for TLS: it would go on in clear text", () => {
  const annotations = 'annotations: { contour.heptio.com/upstream-protocol.tls: "80" }';
  const service = serviceYaml("web").replace("name: web }", `name: web, ${annotations} }`);
  expect(service).toContain(annotations);
  expect(firstCheckMs(service, 80, `, ${CHECK}`)).toBeUndefined();
});

test("nor with one to a name, which does not wait for the name either", () => {
  const service = serviceYaml("web").replace("spec: {", "spec: { type: ExternalName, externalName: example.com,");
  expect(firstCheckMs(service, 80, `, ${CHECK}`)).toBeUndefined();
});
