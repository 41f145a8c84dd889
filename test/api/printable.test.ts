import { expect, test } from "vitest";
import { printable } from "../../src/api/printable.ts";

test.each([
  ["plain text, with ü and 日本", "plain text, with ü and 日本"],
  ["a\u001b[31mred", "a\\u001b[31mred"],
  ["two\nlines\r", "two\\u000alines\\u000d"],
  ["C1 \u009b31m", "C1 \\u009b31m"],
  ["turned \u202e around", "turned \\u202e around"],
  ["line\u2028separator", "line\\u2028separator"],
  ["half a \ud800 pair", "half a \\ud800 pair"],
])("%j is shown as %j", (text, shown) => {
  expect(printable(text)).toBe(shown);
});
