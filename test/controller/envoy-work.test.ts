import { expect, test } from "vitest";
import { Controller } from "../../src/controller/controller.ts";
import { envoyMs } from "../../src/controller/envoy-work.ts";
import { createLog } from "../../src/controller/log.ts";
import { Cache } from "../../src/xds/cache.ts";
import { objects, rootYaml, serviceYaml } from "../objects.ts";
import { testOptions } from "../settings.ts";

const ENDPOINTS = 1000;

/** What one change takes, after everything was there before it. */
function msOf(before: string, change: string): number {
  const cache = new Cache();
  let ms = Number.NaN;
  // Nothing is in the way of one who applies all at once, as before everything has been read.
  const controller = new Controller({
    log: createLog({ level: "error", format: "json" }, () => {}),
    translate: testOptions({}),
    cache,
    now: Date.now,
    onDelta: ({ newClusters }) => {
      ms = envoyMs(newClusters, cache);
    },
  });
  controller.listener.changed(objects(before));
  controller.listener.changed(objects(change));
  return ms;
}

const slice = (first: string) => `---
apiVersion: discovery.k8s.io/v1
kind: EndpointSlice
metadata: { name: web-1, labels: { kubernetes.io/service-name: web } }
addressType: IPv4
ports: [{ port: 8080 }]
endpoints: [${[first, ...Array.from({ length: ENDPOINTS - 1 }, (_, i) => `10.1.${i >> 8}.${i & 255}`)].map((ip) => `{ addresses: [${ip}] }`).join(", ")}]
`;
const all = serviceYaml("web") + slice("10.2.0.1");
const root = (path: string, match = "/") =>
  rootYaml(
    "web",
    "web.example.com",
    `[{ match: ${match}, services: [{ name: web, port: 80, healthCheck: { path: ${path} } }] }]`,
  );

test("a cluster that becomes another one costs an Envoy its endpoints", () => {
  const ms = msOf(all + root("/a"), root("/b"));
  expect(ms).toBeGreaterThan(50);
  expect(ms).toBeLessThan(200);
});

test("an edit that makes no cluster costs it nothing, nor does a change of endpoints", () => {
  expect(msOf(all + root("/a"), root("/a", "/shop"))).toBe(0);
  expect(msOf(all + root("/a"), slice("10.2.0.2"))).toBe(0);
});

test("who costs Envoys much waits before his next change, and nobody else does", () => {
  const told: string[] = [];
  const controller = new Controller({
    log: createLog({ level: "error", format: "json" }, () => {}),
    translate: testOptions({}),
    cache: new Cache(),
    now: Date.now,
    onDelta: ({ hosts }) => told.push([...hosts].join()),
  });
  const others = (yaml: string) =>
    yaml
      .replaceAll("metadata: { name: ", "metadata: { namespace: other, name: ")
      .replaceAll("web.example", "b.example");
  controller.listener.changed(objects(all + root("/a") + others(serviceYaml("web") + root("/a"))));
  controller.listener.synced();
  told.length = 0;
  const routes = (n: number) =>
    rootYaml(
      "web",
      "web.example.com",
      `[${[1, 2, 3].map((i) => `{ match: /${i}, services: [{ name: web, port: 80, healthCheck: { path: /${n}/${i} } }] }`).join(", ")}]`,
    );
  controller.listener.changed(objects(routes(1)));
  expect(told).toEqual(["web.example.com"]);
  controller.listener.changed(objects(routes(2)));
  expect(told).toEqual(["web.example.com"]);
  expect(controller.isIdle).toBe(false);
  controller.listener.changed(objects(others(root("/b"))));
  expect(told).toEqual(["web.example.com", "b.example.com"]);
});
