import type { IngressRoute } from "../../api/ingress-route.ts";
import type { ObjectKey } from "../../api/object-key.ts";
import { classOf, type Problem } from "../problems.ts";
import type { Context } from "./routes.ts";
import { selfProblems } from "./self-check.ts";

/**
 * Reports what is the matter with an object by itself, and goes on to watch: once everything about it has been reported
 * through `report`, `isInvalid` tells whether something made it invalid.
 */
export function reportSelf(
  key: ObjectKey,
  ingressRoute: IngressRoute,
  context: Context,
): { readonly report: (problem: Problem) => void; readonly isInvalid: () => boolean } {
  let isInvalid = false;
  const report = (problem: Problem): void => {
    if (classOf(problem) === "A") isInvalid = true;
    context.report(problem);
  };
  context.reach(key);
  for (const problem of selfProblems(key, ingressRoute)) report(problem);
  return { report, isInvalid: () => isInvalid };
}
