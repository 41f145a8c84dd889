import { afterAll, beforeAll, describe, expect, test } from "vitest";
import type { ObjectChange } from "../../src/api/kinds.ts";
import type { Echo } from "../../src/cli/echo.ts";
import { type Case, type CaseOptions, type ExpectedRequest, loadCases, splitRequest } from "../cases.ts";
import { eventually } from "./harness.ts";
import { describeWithEnvoy } from "./suite.ts";
import { startWorld, type World } from "./world.ts";

/** How often a request is sent whose answers are shared out by weight. */
const SAMPLES = 400;
/** By chance alone, one share in 1.7 million is further off than this many standard deviations. */
const DEVIATIONS = 5;
const SETTLE_MS = 2000;

/** The golden cases again: what they say of requests is what a real Envoy does, one case after the other without a restart. */
describeWithEnvoy("on a real Envoy", (binary) => {
  for (const [options, cases] of byOptions(loadCases())) {
    describe(`with ${options}`, () => {
      let world: World;
      beforeAll(async () => {
        const parsed: CaseOptions = JSON.parse(options);
        world = await startWorld({ binary, ...parsed });
      });
      afterAll(async () => {
        expect(await world.envoy().rejected()).toBe(0);
        await world.stop();
      });

      test.each(cases.map((each) => ({ each, name: each.name })))("case $name", async ({ each }) => {
        await world.replace(withReachableEndpoints(each.changes));
        for (const expected of each.requests) await expectAnswer(world, expected);
      });
    });
  }
});

/** Cases that can share a controller, by the options that it is started with. */
function byOptions(cases: readonly Case[]): ReadonlyMap<string, readonly Case[]> {
  const groups = new Map<string, Case[]>();
  for (const each of cases) {
    if (each.requests.length === 0) continue;
    const options = JSON.stringify(each.options);
    groups.set(options, [...(groups.get(options) ?? []), each]);
  }
  return groups;
}

/** Nobody listens at the addresses that the cases name. An echo stands in for a Service with endpoints; one without keeps none. */
function withReachableEndpoints(changes: readonly ObjectChange[]): readonly ObjectChange[] {
  const portNames = new Map<string, ReadonlySet<string>>();
  for (const change of changes) {
    if (change.kind !== "applied" || change.object.kind !== "Service") continue;
    const { metadata, ports } = change.object;
    portNames.set(`${metadata.namespace}/${metadata.name}`, new Set(ports.map(({ name }) => name)));
  }
  return changes.filter((change) => {
    if (change.kind !== "applied" || change.object.kind !== "EndpointSlice") return true;
    const { endpoints, ports, metadata, service } = change.object;
    const isUsed = ports.some(({ name }) => portNames.get(`${metadata.namespace}/${service}`)?.has(name));
    return !isUsed || endpoints.every(({ state }) => state === "out");
  });
}

async function expectAnswer(world: World, expected: ExpectedRequest): Promise<void> {
  const { request } = expected;
  if ("status" in expected) {
    // Envoy acknowledges on its main thread; its workers follow a moment later.
    await eventually(
      async () => expect(await answerTo(world, request)).toMatchObject({ status: expected.status }),
      SETTLE_MS,
    );
    return;
  }
  const shares = Object.entries(expected.weights).filter(([, weight]) => weight > 0);
  const sum = shares.reduce((total, [, weight]) => total + weight, 0);
  const wanted = new Map(
    shares.map(([who, weight]) => [who === "unavailable" ? "nobody, status 503" : who, weight / sum]),
  );
  await eventually(async () => expect([...wanted.keys()]).toContain((await answerTo(world, request)).who), SETTLE_MS);
  const samples = shares.length === 1 ? 1 : SAMPLES;
  const counts = new Map<string, number>();
  for (let i = 0; i < samples; i++) {
    const { who, path } = await answerTo(world, request);
    if (path !== undefined && expected.path !== undefined) expect(path).toBe(expected.path);
    counts.set(who, (counts.get(who) ?? 0) + 1);
  }
  for (const [who, count] of counts) {
    const share = wanted.get(who) ?? 0;
    const allowed = DEVIATIONS * Math.sqrt(samples * share * (1 - share));
    expect(Math.abs(count - samples * share), `${request}: ${who}, ${count} of ${samples}`).toBeLessThanOrEqual(
      allowed,
    );
  }
}

type Answer = { readonly status: number; readonly who: string; readonly path?: string };

/** `who` is `namespace/service/port` of the backend, and `path` what it was asked for. */
async function answerTo(world: World, request: string): Promise<Answer> {
  const { host, path } = splitRequest(request);
  const { status, body } = await world.get(host, path);
  if (status !== 200) return { status, who: `nobody, status ${status}` };
  const echo: Echo = JSON.parse(body);
  return { status, who: `${echo.service}/${echo.port}`, path: echo.path };
}
