import fc from "fast-check";
import { describe, expect, test } from "vitest";
import { parseDuration } from "../../src/compile/policies/durations.ts";

const SEED = process.env.SEED === undefined ? {} : { seed: Number(process.env.SEED) };
const after = (ms: number) => ({ kind: "after", ms });
const INFINITE = { kind: "infinite" };

describe("a duration", () => {
  test.each([
    ["30s", 30_000],
    ["150ms", 150],
    ["1h2m3.5s", 3_723_500],
    ["1.5h", 5_400_000],
    [".5s", 500],
    ["5.s", 5_000],
    ["+5s", 5_000],
    ["0.1s", 100],
    ["0.3s", 300],
    ["1m1m", 120_000],
    ["3s2h", 7_203_000],
    ["007s", 7_000],
    ["1ms", 1],
    ["1.9ms", 1],
    ["1ns", 1],
    ["999us", 1],
    ["2000us", 2],
    ["2000\u00b5s", 2],
    ["2000\u03bcs", 2],
    ["0.0000000000000000000000001h1ms", 1],
    ["0h0m1s", 1_000],
    ["2562047h47m16.854775807s", 9_223_372_035_000],
  ])("%s", (text, ms) => {
    expect(parseDuration(text)).toEqual(after(ms));
  });

  test.each(["infinity", "0", "0s", "0h0m0.000s", "+0", "-0", "-0s", ".0s", "0.1ns"])("%s is for ever", (text) => {
    expect(parseDuration(text)).toEqual(INFINITE);
  });

  test.each([
    ...["", " ", "s", ".s", ".", "-", "+", "--1s", "+-1s", "1", "30", "1.5", "1s2", "5 s", " 5s", "5s ", "5s\n"],
    ...[
      "1d",
      "1S",
      "1sec",
      "1hour",
      "1e3s",
      "0x1s",
      "1,5s",
      "1.2.3s",
      "٣s",
      "ninety",
      "Infinity",
      "inf",
      "null",
      "NaN",
    ],
    ...["1ss", "1s-1s", "1s+1s", "infinity1s", "1ms2"],
  ])("%j cannot be read", (text) => {
    expect(parseDuration(text)).toEqual({ kind: "fault", reason: expect.stringContaining("is not a duration") });
  });

  test.each(["-1s", "-1ns", "-1h2m", "-.5s"])("%s is negative", (text) => {
    expect(parseDuration(text)).toEqual({ kind: "fault", reason: "must not be negative" });
  });

  test.each(["2562047h47m16.854775808s", "9223372037s", "99999999999999999999h", `${"9".repeat(1_000_000)}s`])(
    "%# is longer than can be counted",
    (text) => {
      expect(parseDuration(text)).toMatchObject({ kind: "fault", reason: expect.stringContaining("292 years") });
    },
  );

  test("takes no long time to read", () => {
    const begin = performance.now();
    for (const text of ["1s", "1", "s", ".", "1.", "0.1s"]) parseDuration(text.repeat(200_000));
    expect(performance.now() - begin).toBeLessThan(2_000);
  });
});

describe("laws of durations", () => {
  const LONGEST_MS = 9_223_372_035_000;

  test("law: what Go writes is read as it was meant", () => {
    fc.assert(
      fc.property(fc.integer({ min: 1, max: LONGEST_MS }), (ms) => {
        expect(parseDuration(asGoWrites(ms))).toEqual(after(ms));
      }),
      SEED,
    );
  });

  test("law: the parts of a duration add up, in any order, however they are split", () => {
    const part = fc.record({
      whole: fc.integer({ min: 0, max: 9_999 }),
      thousandths: fc.integer({ min: 0, max: 999 }),
      unit: fc.constantFrom(["ms", 1], ["s", 1_000], ["m", 60_000], ["h", 3_600_000]),
    });
    fc.assert(
      fc.property(fc.array(part, { minLength: 1, maxLength: 6 }), (parts) => {
        const text = parts.map(({ whole, thousandths, unit: [name] }) => {
          return `${whole}.${String(thousandths).padStart(3, "0")}${name}`;
        });
        // In microseconds, where all of these are whole numbers that a double holds exactly.
        const us = parts.reduce((sum, { whole, thousandths, unit: [, ms] }) => {
          return sum + (whole * 1000 + thousandths) * Number(ms);
        }, 0);
        const expected = us === 0 ? INFINITE : after(Math.max(1, Math.floor(us / 1000)));
        expect(parseDuration(text.join(""))).toEqual(expected);
        expect(parseDuration(text.reverse().join(""))).toEqual(expected);
      }),
      SEED,
    );
  });

  test("law: any text has an answer that can be used", () => {
    const alike = fc.string({ unit: fc.constantFrom(..."0159.-+ hmsnu\u00b5inf") });
    fc.assert(
      fc.property(fc.oneof(fc.string({ unit: "binary" }), alike), (text) => {
        const duration = parseDuration(text);
        switch (duration.kind) {
          case "infinite":
            expect(text === "infinity" || !/[1-9]/.test(text) || /n/.test(text)).toBe(true);
            return;
          case "after":
            expect(Number.isSafeInteger(duration.ms) && duration.ms >= 1 && duration.ms <= LONGEST_MS).toBe(true);
            return;
          case "fault":
            expect(duration.reason).not.toBe("");
        }
      }),
      SEED,
    );
  });
});

/** Go's `Duration.String`. */
function asGoWrites(ms: number): string {
  if (ms < 1000) return `${ms}ms`;
  const hours = Math.floor(ms / 3_600_000);
  const minutes = Math.floor(ms / 60_000) % 60;
  const seconds = `${Math.floor(ms / 1000) % 60}.${String(ms % 1000).padStart(3, "0")}`.replace(/\.?0+$/, "");
  const shown = `${seconds}s`;
  if (hours > 0) return `${hours}h${minutes}m${shown}`;
  return minutes > 0 ? `${minutes}m${shown}` : shown;
}
