import { expect, test } from "vitest";
import { LogLimit } from "../../src/controller/log-limit.ts";

test("one line at once, and then one in a while that counts those between", () => {
  let nowMs = 0;
  const limit = new LogLimit({ everyMs: 60_000, nowMs: () => nowMs });
  const told: unknown[] = [];
  for (nowMs = 0; nowMs <= 120_000; nowMs += 20_000) told.push(limit.take()?.heldBack);
  expect(told).toEqual([0, undefined, undefined, 2, undefined, undefined, 2]);
  nowMs = 1_000_000;
  expect(limit.take()).toEqual({ heldBack: 0 });
});
