import { createSocket, type Socket } from "node:dgram";
import { once } from "node:events";
import { afterAll, beforeAll, expect, test } from "vitest";
import { objects, rootYaml, serviceYaml } from "../objects.ts";
import { lookingUpAt } from "../parts/name-server.ts";
import { type Backends, eventually, startBackends } from "./harness.ts";
import { describeWithEnvoy } from "./suite.ts";
import { startWorld, type World } from "./world.ts";

/** Far below the time after which Envoy gives a name up. */
const SOON_MS = 3000;

describeWithEnvoy("a name server that never answers", (binary) => {
  let silent: Socket;
  let backends: Backends;
  let world: World;
  const external = (name: string, externalName: string, port: number) => `---
apiVersion: v1
kind: Service
metadata: { name: ${name} }
spec: { type: ExternalName, externalName: ${externalName}, ports: [{ port: ${port} }] }
`;
  const route = (service: string, port = 80) => `[{ match: /, services: [{ name: ${service}, port: ${port} }] }]`;

  beforeAll(async () => {
    silent = createSocket("udp4").bind(0, "127.0.0.1");
    await once(silent, "listening");
    backends = await startBackends([{ service: "web", port: 80 }]);
    const settings = { allowLoopbackExternalName: true };
    world = await startWorld({ binary, echo: false, settings, bootstrap: lookingUpAt(silent.address().port) });
  });
  afterAll(async () => {
    expect(await world.envoy().rejected()).toBe(0);
    await world.stop();
    await backends.stop();
    silent.close();
  });

  test("costs only the routes that lead to its names", async () => {
    const port = backends.listeningPort("web", 80);
    const slow = rootYaml("slow", "slow.example.com", route("slow")) + external("slow", "slow.invalid", 80);
    await world.apply(objects(slow));
    await world.apply(objects(rootYaml("web", "web.example.com", route("web")) + serviceYaml("web", port)));
    await eventually(async () => (await world.get("web.example.com", "/")).status === 200, SOON_MS);
    const fast = rootYaml("fast", "fast.example.com", route("fast", port)) + external("fast", "localhost", port);
    await world.apply(objects(fast));
    await eventually(async () => (await world.get("fast.example.com", "/")).status === 200, SOON_MS);
    expect((await world.get("slow.example.com", "/")).status).toBe(503);
  });

  test("does not keep a new Envoy from serving", async () => {
    await world.restartEnvoy();
    await eventually(async () => (await world.get("web.example.com", "/")).status === 200, SOON_MS);
  });
});
