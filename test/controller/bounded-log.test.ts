import { beforeEach, expect, test } from "vitest";
import { BoundedLog } from "../../src/controller/bounded-log.ts";
import { logOfLines } from "./log-lines.ts";

const WARN = 40;
const MINUTE_MS = 60_000;

let nowMs: number;
let lines: Record<string, unknown>[];
let bounded: BoundedLog;

beforeEach(() => {
  nowMs = 0;
  const written = logOfLines();
  lines = written.lines;
  bounded = new BoundedLog({ log: written.log, nowMs: () => nowMs, group: "team", full: "more than is logged" });
});

function write(team: string, count = 1): void {
  for (let i = 0; i < count; i++) bounded.write("warn", team, { team, i }, "a line");
}

/** What was written since the last call. */
const told = () => lines.splice(0);

test("a group has 60 lines in a minute, and others have theirs", () => {
  write("a", 1_000);
  expect(told()).toEqual([
    ...Array.from({ length: 60 }, (_, i) => ({ level: WARN, team: "a", i, msg: "a line" })),
    { level: WARN, team: "a", msg: "more than is logged" },
  ]);
  write("b");
  expect(told()).toEqual([{ level: WARN, team: "b", i: 0, msg: "a line" }]);
});

test("the next line of the group counts those that were held back", () => {
  write("a", 100);
  told();
  nowMs = MINUTE_MS;
  write("a", 2);
  expect(told()).toEqual([
    { level: WARN, team: "a", i: 0, heldBack: 40, msg: "a line" },
    { level: WARN, team: "a", i: 1, msg: "a line" },
  ]);
});

test("those of a group that has no more lines are counted when another has one", () => {
  write("a", 100);
  told();
  nowMs = MINUTE_MS;
  write("b");
  expect(told()).toEqual([
    { level: WARN, team: "a", heldBack: 40, msg: "more than is logged" },
    { level: WARN, team: "b", i: 0, msg: "a line" },
  ]);
  write("a");
  expect(told()).toEqual([{ level: WARN, team: "a", i: 0, msg: "a line" }]);
});

test("no group is known for longer than a minute", () => {
  for (let second = 0; second < 1_000; second++) {
    nowMs = second * 1_000;
    write(`team-${second}`);
    // One that goes on for all that time is no obstacle.
    write("busy");
    expect(bounded.groups).toBeLessThanOrEqual(61);
  }
});
