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

test("several lines in a while, of which the first counts those before", () => {
  let nowMs = 0;
  const limit = new LogLimit({ everyMs: 60_000, lines: 2, nowMs: () => nowMs });
  const take = (times: number) => Array.from({ length: times }, () => limit.take()?.heldBack);
  expect(take(2)).toEqual([0, 0]);
  expect(limit.heldBack).toBe(0);
  expect(take(3)).toEqual([undefined, undefined, undefined]);
  expect(limit.heldBack).toBe(3);
  nowMs = 60_000;
  expect(take(3)).toEqual([3, 0, undefined]);
});

test("a while is over when it has passed", () => {
  let nowMs = 0;
  const limit = new LogLimit({ everyMs: 60_000, nowMs: () => nowMs });
  expect(limit.isOver, "there has been none").toBe(true);
  limit.take();
  nowMs = 59_999;
  expect(limit.isOver).toBe(false);
  nowMs = 60_000;
  expect(limit.isOver).toBe(true);
});
