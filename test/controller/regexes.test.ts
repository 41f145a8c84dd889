import { expect, test } from "vitest";
import { readRegex, rememberedRegexes } from "../../src/controller/regexes.ts";

test.each([
  ["/shop/.*", 10],
  ["/shop(/|$)(.*)", 16],
  ["/[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}", 45],
  ["/[{]1000[}]\\{2000\\}+", 16],
])("%s has %i instructions", (regex, instructions) => {
  expect(readRegex(regex)).toEqual({ ok: true, instructions });
});

test.each([
  `/${"((a{0,31}){0,31})".repeat(55)}*`,
  `/${"[^a]{1000}".repeat(90)}`,
  `/${"(.{1000}|".repeat(90)}a${")".repeat(90)}*`,
  "/[a-z]{1000}/+",
])("what would be long when it is written out is refused: %#", (regex) => {
  expect(readRegex(regex)).toEqual({ ok: false, reason: "is too large a regular expression" });
});

test("a question is answered once, until there were too many", () => {
  let asked = 0;
  const read = rememberedRegexes(() => {
    asked++;
    return { ok: true, instructions: 1 };
  });
  for (let i = 0; i < 10_000; i++) read(`/${i}`);
  expect([read("/0"), asked]).toEqual([{ ok: true, instructions: 1 }, 10_000]);
  read("/10000");
  read("/0");
  expect(asked).toBe(10_002);
});
