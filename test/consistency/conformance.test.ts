import { existsSync, readFileSync } from "node:fs";
import { fileURLToPath } from "node:url";
import { expect, test } from "vitest";
import { loadCases } from "../cases.ts";

const PROJECT = fileURLToPath(new URL("../..", import.meta.url));
const TEXT = readFileSync(new URL("../../docs/conformance.md", import.meta.url), "utf8");

/** The lines of the tables, without their heads. */
const rules = TEXT.split("\n").flatMap((line) => {
  const [, rule, shownBy] = /^\| (.+) \| ((?:`[^`]+` ?)+) \|$/.exec(line) ?? [];
  return rule === undefined || shownBy === undefined ? [] : [{ rule, names: shownBy.match(/[^` ]+/g) ?? [] }];
});
const cases = new Set(loadCases().map(({ name }) => name));

test("every line of the tables is a rule with what shows it", () => {
  const heads = ["| rule | shown by |", "| --- | --- |"];
  const lines = TEXT.split("\n").filter((line) => line.startsWith("|") && !heads.includes(line));
  expect(rules).toHaveLength(lines.length);
  expect(rules.length).toBeGreaterThan(80);
});

test("what is named exists", () => {
  const missing = rules.flatMap(({ names }) => names.filter((name) => !cases.has(name) && !existsSync(PROJECT + name)));
  expect(missing).toEqual([]);
});

test("every case shows a rule", () => {
  const named = new Set(rules.flatMap(({ names }) => names));
  expect([...cases].filter((name) => !named.has(name))).toEqual([]);
});
