import { afterAll, beforeAll, describe, expect, test } from "vitest";
import type { ObjectChange } from "../../src/api/kinds.ts";
import { type Case, type CaseOptions, loadCases } from "../cases.ts";
import { expectAnswer } from "./answers.ts";
import { describeWithEnvoy } from "./suite.ts";
import { startWorld, type World } from "./world.ts";

/** The golden cases again: what they say of requests is what a real Envoy does, one case after the other without a restart. */
describeWithEnvoy("on a real Envoy", (binary) => {
  for (const [options, cases] of byOptions(loadCases())) {
    describe(`with ${options}`, () => {
      let world: World;
      beforeAll(async () => {
        const parsed: CaseOptions = JSON.parse(options);
        world = await startWorld({ binary, settings: parsed });
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
