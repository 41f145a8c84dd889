import fc from "fast-check";
import { describe, expect, test } from "vitest";
import { backendIdentity, withCertificates } from "../cases.ts";
import { hostileWorld } from "../laws/hostile.ts";
import { applied, RUNS } from "../laws/worlds.ts";
import { objects, rootYaml, serviceYaml } from "../objects.ts";
import { startPolyglot } from "../parts/backends.ts";
import { expectAnswer } from "./answers.ts";
import { describeWithEnvoy } from "./suite.ts";
import { startWorld, type World } from "./world.ts";

/** A batch takes some 50 ms. */
const BATCHES = Math.ceil(RUNS / 2);
const MS_PER_BATCH = 2000;
/** Seeds that once failed stay here. */
const SEEDS: readonly number[] = [1, ...(process.env.SEED ? [Number(process.env.SEED)] : [])];

/** Has one host in clear text and one with TLS, and no part in what the others do. */
const NEIGHBOUR = "neighbour.example.org";

function neighbour(port: number): string {
  return `${rootYaml("neighbour", NEIGHBOUR, "[{ match: /, services: [{ name: neighbour, port: 80 }] }]")}---
apiVersion: contour.heptio.com/v1beta1
kind: IngressRoute
metadata: { name: neighbour-tls }
spec:
  virtualhost: { fqdn: tls.${NEIGHBOUR}, tls: { secretName: neighbour } }
  routes: [{ match: /, services: [{ name: neighbour, port: 80 }] }]
---
apiVersion: v1
kind: Secret
metadata: { name: neighbour }
type: kubernetes.io/tls
stringData: { tls.crt: <certificate tls.${NEIGHBOUR}>, tls.key: <key tls.${NEIGHBOUR}> }
${serviceYaml("neighbour", port)}`;
}

describeWithEnvoy("hostile input before a real Envoy", (binary) => {
  describe.each(SEEDS)("SEED=%i", (seed) => {
    test(
      `${BATCHES} worlds, one after the other: Envoy refuses nothing, and a neighbour notices nothing`,
      async () => {
        const name = "default/neighbour/80";
        const backend = await startPolyglot({ name, identity: backendIdentity() });
        const world = await startWorld({ binary, echo: false });
        const own = objects(withCertificates(neighbour(backend.port)));
        await world.apply(own);
        const before = neighbourResources(world);
        expect(before.length).toBeGreaterThan(5);
        const parameters = { seed, numRuns: BATCHES, endOnFailure: true };
        await fc.assert(
          fc.asyncProperty(hostileWorld, async (raws) => {
            await world.replace([...own, ...raws.map(applied)]);
            expect(world.log()).not.toMatch(/Envoy refused|bug in Isoline/);
            expect(await world.envoy().rejected()).toBe(0);
            expect(neighbourResources(world)).toEqual(before);
            await expectAnswer(world, { request: `${NEIGHBOUR}/x`, weights: { [name]: 1 }, path: "/x" });
            await expectAnswer(world, { request: `https://tls.${NEIGHBOUR}/`, weights: { [name]: 1 } });
          }),
          parameters,
        );
        await world.stop();
        await backend.stop();
      },
      10_000 + BATCHES * MS_PER_BATCH,
    );
  });
});

/** What Envoy is given for the neighbour, as bytes; listeners are shared. */
function neighbourResources(world: World): readonly string[] {
  return world
    .running()
    .controller.translator.current()
    .resources.filter(({ type, name, origins }) => type !== "listener" && `${origins} ${name}`.includes("neighbour"))
    .map(({ type, name, body }) => `${type} ${name} ${Buffer.from(body).toString("base64")}`);
}
