import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { type Case, type CaseOptions, loadCases } from "../cases.ts";
import { byOptions, IS_COMPLETE, SEED, shuffled, tellTime } from "../conformance.ts";
import { statusesOf } from "../statuses.ts";
import { expectAnswer } from "./answers.ts";
import { StandIns } from "./stand-ins.ts";
import { describeWithEnvoy } from "./suite.ts";
import { startWorld, type World } from "./world.ts";

/** Of this many cases one starts from scratch too, when not all do. */
const SAMPLE = 25;

/** The golden cases again, on a real Envoy with real backends: what they say of statuses and requests is what comes of them. */
describeWithEnvoy("on a real Envoy", (binary) => {
  const cases = loadCases();
  const standIns = new StandIns();
  afterAll(() => standIns.stop());

  describe("one after the other, without a restart", () => {
    tellTime("one after the other, without a restart", cases);
    inTurn(binary, standIns, cases);
  });

  if (IS_COMPLETE) {
    describe(`in another order, SEED=${SEED}`, () => {
      tellTime(`in another order, SEED=${SEED}`, cases);
      inTurn(binary, standIns, shuffled(cases));
    });
  }

  const fromScratch = IS_COMPLETE ? cases : cases.filter((_, i) => i % SAMPLE === 0);
  describe("from scratch, each with a controller and an Envoy of its own", () => {
    tellTime("from scratch, each with a controller and an Envoy of its own", fromScratch);
    test.each(fromScratch.map((each) => ({ each, name: each.name })))("case $name", async ({ each }) => {
      const objects = await standIns.reachable(each.changes);
      const world = await startWorld({ binary, settings: each.options, echo: false, objects });
      await expectOutcome(world, each);
      expect(await world.envoy().rejected()).toBe(0);
      await world.stop();
    });
  });
});

function inTurn(binary: string, standIns: StandIns, cases: readonly Case[]): void {
  for (const [options, group] of byOptions(cases)) {
    describe(`with ${options}`, () => {
      let world: World;
      beforeAll(async () => {
        const parsed: CaseOptions = JSON.parse(options);
        world = await startWorld({ binary, settings: parsed, echo: false });
      });
      afterAll(async () => {
        expect(await world.envoy().rejected()).toBe(0);
        await world.stop();
      });

      test.each(group.map((each) => ({ each, name: each.name })))("case $name", async ({ each }) => {
        await world.replace(await standIns.reachable(each.changes));
        await expectOutcome(world, each);
      });
    });
  }
}

async function expectOutcome(world: World, { statuses, requests }: Case): Promise<void> {
  expect(statusesOf(world.running().controller.translator.current())).toEqual(statuses);
  for (const expected of requests) await expectAnswer(world, expected);
}
