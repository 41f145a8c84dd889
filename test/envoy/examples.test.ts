import { readdirSync, readFileSync } from "node:fs";
import { fileURLToPath } from "node:url";
import { afterAll, beforeAll, expect, test } from "vitest";
import { parse } from "yaml";
import { readRequests } from "../cases.ts";
import { objects } from "../objects.ts";
import { expectAnswer } from "./answers.ts";
import { describeWithEnvoy } from "./suite.ts";
import { startWorld, type World } from "./world.ts";

const EXAMPLES = fileURLToPath(new URL("../../examples", import.meta.url));
const FILES = readdirSync(EXAMPLES).sort();
const REQUESTS: Readonly<Record<string, unknown>> = parse(
  readFileSync(new URL("examples.yaml", import.meta.url), "utf8"),
);
const textOf = (file: string) => readFileSync(`${EXAMPLES}/${file}`, "utf8");

test("every example has requests that show what it is for", () => {
  expect(Object.keys(REQUESTS).sort()).toEqual(FILES);
});

test.each(FILES)("%s begins with a sentence that says what it shows", (file) => {
  expect(textOf(file)).toMatch(/^# [A-Zp].{20,}\./);
});

describeWithEnvoy("the examples, all together on a real Envoy", (binary) => {
  let world: World;
  beforeAll(async () => {
    world = await startWorld({ binary });
    await world.apply(FILES.flatMap((file) => objects(textOf(file))));
  });
  afterAll(async () => {
    expect(await world.envoy().rejected()).toBe(0);
    await world.stop();
  });

  test.each(FILES)("%s", async (file) => {
    for (const expected of readRequests(file, REQUESTS[file])) await expectAnswer(world, expected);
  });
});

describeWithEnvoy("root-namespaces.yaml with the flag that it is about", (binary) => {
  test("serves the root in the allowed namespace and its delegate, and no other root", async () => {
    const world = await startWorld({ binary, settings: { rootNamespaces: ["edge"] } });
    await world.apply(objects(textOf("root-namespaces.yaml")));
    await expectAnswer(world, { request: "front.example.com/tenant", weights: { "tenant/tenant/80": 1 } });
    await expectAnswer(world, { request: "tenant.example.com/", status: 404 });
    await world.stop();
  });
});
