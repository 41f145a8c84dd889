import type { Route } from "../../api/ingress-route.ts";
import type * as ir from "../../ir/ir.ts";
import { parseDuration } from "./durations.ts";
import type { Policy } from "./policy.ts";

export function compileTimeout(policy: Route["timeoutPolicy"]): Policy<ir.Timeout> {
  const text = policy?.request;
  if (text === undefined || text === "") return { value: { kind: "proxyDefault" }, problems: [] };
  const duration = parseDuration(text);
  if (duration.kind !== "fault") return { value: duration, problems: [] };
  const fact = { code: "DurationInvalid", field: "timeoutPolicy.request", text, reason: duration.reason } as const;
  return { value: { kind: "proxyDefault" }, problems: [{ field: "request", fact }] };
}
