import type * as ir from "../../ir/ir.ts";
import type { Policy } from "./policy.ts";

/** The words of the API. */
const STRATEGIES: ReadonlyMap<string, ir.LoadBalancing> = new Map([
  ["RoundRobin", "roundRobin"],
  ["WeightedLeastRequest", "leastRequest"],
  ["Random", "random"],
  ["Cookie", "sessionCookie"],
]);

export function compileStrategy(strategy: string | undefined): Policy<ir.LoadBalancing> {
  if (strategy === undefined || strategy === "") return { value: "roundRobin", problems: [] };
  const value = STRATEGIES.get(strategy);
  if (value !== undefined) return { value, problems: [] };
  const fact = { code: "StrategyUnknown", strategy, known: [...STRATEGIES.keys()] } as const;
  return { value: "roundRobin", problems: [{ field: "", fact }] };
}
