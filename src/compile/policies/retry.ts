import type { Route } from "../../api/ingress-route.ts";
import type * as ir from "../../ir/ir.ts";
import { parseDuration } from "./durations.ts";
import type { Policy, PolicyProblem } from "./policy.ts";

/** Envoy's own timeout for a request, which holds where an object names none. */
const DEFAULT_REQUEST_TIMEOUT_MS = 15_000;

/** Envoy counts in 32 bits. No request lives to see more attempts. */
const MAX_COUNT = 2 ** 32 - 1;

/** Answers of the 5xx range, none at all, and tries that take too long. */
const ON_ANY_FAILURE = "5xx";

export function compileRetry(policy: Route["retryPolicy"], timeout: ir.Timeout): Policy<ir.Retry | undefined> {
  if (policy === undefined) return { value: undefined, problems: [] };
  const { count = 1 } = policy;
  const problems: PolicyProblem[] = [];
  if (count < 0) problems.push({ field: "count", fact: { code: "RetryCountNegative" } });
  if (count === 0) problems.push({ field: "count", fact: { code: "RetryCountZero" } });
  const perTry = compilePerTryTimeout(policy.perTryTimeout, timeout);
  const value = { on: ON_ANY_FAILURE, count: Math.min(Math.max(count, 1), MAX_COUNT), perTryTimeoutMs: perTry.value };
  return { value, problems: [...problems, ...perTry.problems] };
}

/** Undefined where a try has no limit but that of the request. */
function compilePerTryTimeout(text: string | undefined, timeout: ir.Timeout): Policy<number | undefined> {
  if (text === undefined || text === "") return { value: undefined, problems: [] };
  const fault = (fact: PolicyProblem["fact"]) => ({ value: undefined, problems: [{ field: "perTryTimeout", fact }] });
  const duration = parseDuration(text);
  switch (duration.kind) {
    case "fault":
      return fault({ code: "DurationInvalid", field: "retryPolicy.perTryTimeout", text, reason: duration.reason });
    case "infinite":
      return { value: undefined, problems: [] };
    case "after":
      if (duration.ms > requestTimeoutMs(timeout)) return fault({ code: "PerTryTimeoutTooLong", text });
      return { value: duration.ms, problems: [] };
  }
}

function requestTimeoutMs(timeout: ir.Timeout): number {
  switch (timeout.kind) {
    case "proxyDefault":
      return DEFAULT_REQUEST_TIMEOUT_MS;
    case "infinite":
      return Number.POSITIVE_INFINITY;
    case "after":
      return timeout.ms;
  }
}
