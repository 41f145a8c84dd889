import type { HealthCheck } from "../../api/ingress-route.ts";
import type * as ir from "../../ir/ir.ts";
import type { Policy, PolicyProblem } from "./policy.ts";

const DEFAULT_HOST = "contour-envoy-healthcheck";
const DEFAULTS = {
  intervalSeconds: 5,
  timeoutSeconds: 2,
  unhealthyThresholdCount: 3,
  healthyThresholdCount: 2,
} as const;

/** 68 years in seconds, and what 32 bits with a sign can count: Envoy takes it, and no one means more. */
const MAX_NUMBER = 2 ** 31 - 1;

/**
 * Envoy uses a cluster only when its endpoints have been checked once, takes no traffic at its start before that, and says
 * nothing about other clusters meanwhile. One owner's patience must not be everybody's.
 */
const MAX_TIMEOUT_SECONDS = 30;

/** Each cluster that is checked has its own copy. The schema has the same bounds. */
const MAX_PATH_LENGTH = 1024;
const MAX_HOST_LENGTH = 253;

/** Undefined as the value stands for a health check that cannot be made. */
export function compileHealthCheck(healthCheck: HealthCheck): Policy<ir.HealthCheck | undefined> {
  const problems: PolicyProblem[] = [];
  const report = (field: keyof HealthCheck, reason: string) => {
    problems.push({ field, fact: { code: "HealthCheckInvalid", field, reason } });
  };
  const path = healthCheck.path ?? "";
  const host = healthCheck.host || DEFAULT_HOST;
  if (path === "") report("path", "is required");
  else if (!path.startsWith("/")) report("path", "must start with /");
  else if (!/^[!"$-~]+$/.test(path)) report("path", "must be what stands in a request: ASCII without blanks and #");
  if (path.length > MAX_PATH_LENGTH) report("path", `must be at most ${MAX_PATH_LENGTH} characters long`);
  if (!/^[!-~]+$/.test(host)) report("host", "must be ASCII without blanks");
  else if (host.length > MAX_HOST_LENGTH) report("host", `must be at most ${MAX_HOST_LENGTH} characters long`);
  // Zero is what the field holds for whoever leaves it out in Go.
  const numberOf = (field: keyof typeof DEFAULTS): number => {
    const number = healthCheck[field] || DEFAULTS[field];
    if (number < 0) report(field, "must not be negative");
    if (number > MAX_NUMBER) report(field, `must be at most ${MAX_NUMBER}`);
    return number;
  };
  const timeoutSeconds = numberOf("timeoutSeconds");
  if (timeoutSeconds > MAX_TIMEOUT_SECONDS) {
    problems.push({
      field: "timeoutSeconds",
      fact: { code: "HealthCheckTimeoutTooLong", maxSeconds: MAX_TIMEOUT_SECONDS },
    });
  }
  const value: ir.HealthCheck = {
    path,
    host,
    intervalSeconds: numberOf("intervalSeconds"),
    timeoutSeconds: Math.min(timeoutSeconds, MAX_TIMEOUT_SECONDS),
    unhealthyThreshold: numberOf("unhealthyThresholdCount"),
    healthyThreshold: numberOf("healthyThresholdCount"),
  };
  const isInvalid = problems.some(({ fact }) => fact.code === "HealthCheckInvalid");
  return { value: isInvalid ? undefined : value, problems };
}
