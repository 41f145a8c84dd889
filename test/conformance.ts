import fc from "fast-check";
import { afterAll, beforeAll } from "vitest";
import type { Case } from "./cases.ts";

/** Set by `npm run conformance`: all cases in all modes. */
export const IS_COMPLETE: boolean = process.env.CONFORMANCE === "1";
/** Of the order of the cases, where it is another than that of their names. */
export const SEED: number = Number(process.env.SEED ?? Math.floor(Math.random() * 2 ** 31));

/** Cases that can share a controller, by the options that it is started with, in JSON. */
export function byOptions(cases: readonly Case[]): ReadonlyMap<string, readonly Case[]> {
  const groups = new Map<string, Case[]>();
  for (const each of cases) {
    const options = JSON.stringify(each.options);
    groups.set(options, [...(groups.get(options) ?? []), each]);
  }
  return groups;
}

export function shuffled(cases: readonly Case[]): readonly Case[] {
  const order = fc.shuffledSubarray([...cases], { minLength: cases.length });
  return fc.sample(order, { seed: SEED, numRuns: 1 })[0] ?? cases;
}

/** Tells, for `npm run conformance`, how long the tests of this suite took. */
export function tellTime(mode: string, { length }: readonly Case[]): void {
  if (!IS_COMPLETE) return;
  let start = 0;
  beforeAll(() => {
    start = performance.now();
  });
  afterAll(() => console.log(`${length} cases ${mode}: ${((performance.now() - start) / 1000).toFixed(1)} s`));
}
