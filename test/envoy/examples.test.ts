import { afterAll, beforeAll, expect, test } from "vitest";
import { EXAMPLE_REQUESTS, loadExamples } from "../examples.ts";
import { objects } from "../objects.ts";
import { expectAnswer } from "./answers.ts";
import { describeWithEnvoy } from "./suite.ts";
import { startWorld, type World } from "./world.ts";

const EXAMPLES = loadExamples();

test("every example has requests that show what it is for", () => {
  expect(Object.keys(EXAMPLE_REQUESTS).sort()).toEqual(EXAMPLES.map(({ file }) => file));
});

test.each(EXAMPLES)("$file begins with a sentence that says what it shows", ({ text }) => {
  expect(text).toMatch(/^# [A-Zp].{20,}\./);
});

describeWithEnvoy("the examples, all together on a real Envoy", (binary) => {
  let world: World;
  beforeAll(async () => {
    world = await startWorld({ binary });
    await world.apply(EXAMPLES.flatMap(({ text }) => objects(text)));
  });
  afterAll(async () => {
    expect(await world.envoy().rejected()).toBe(0);
    await world.stop();
  });

  test.each(EXAMPLES)("$file", async ({ requests }) => {
    for (const expected of requests) await expectAnswer(world, expected);
  });
});

describeWithEnvoy("root-namespaces.yaml with the flag that it is about", (binary) => {
  test("serves the root in the allowed namespace and its delegate, and no other root", async () => {
    const world = await startWorld({ binary, settings: { rootNamespaces: ["edge"] } });
    const { text = "" } = EXAMPLES.find(({ file }) => file === "root-namespaces.yaml") ?? {};
    await world.apply(objects(text));
    await expectAnswer(world, { request: "front.example.com/tenant", weights: { "tenant/tenant/80": 1 } });
    await expectAnswer(world, { request: "tenant.example.com/", status: 404 });
    await world.stop();
  });
});
