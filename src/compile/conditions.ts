import { classOf, describe, type Problem } from "./problems.ts";
import type { Verdict } from "./verdicts.ts";

/** A condition as Kubernetes objects carry them, without the time of its last change. */
export type Condition = {
  readonly type: "Valid" | "Warnings" | "Programmed";
  readonly status: "True" | "False" | "Unknown";
  readonly reason: string;
  readonly message: string;
  readonly observedGeneration?: number;
};

/** `Valid`, and `Warnings` when there are any: between them they name every problem of the object. */
export function conditionsOf(verdict: Verdict): readonly Condition[] {
  const errors = verdict.problems.filter((problem) => classOf(problem) !== "C");
  const warnings = verdict.problems.filter((problem) => classOf(problem) === "C");
  const valid = condition(verdict, "Valid", verdict.currentStatus === "valid" ? "True" : "False", errors);
  return warnings.length === 0 ? [valid] : [valid, condition(verdict, "Warnings", "True", warnings)];
}

function condition(
  verdict: Verdict,
  type: "Valid" | "Warnings",
  status: "True" | "False",
  problems: readonly Problem[],
): Condition {
  const reason = problems[0]?.code ?? (verdict.currentStatus === "orphaned" ? "Orphaned" : "Valid");
  return { type, status, reason, message: messageOf(problems) ?? verdict.description, ...observed(verdict) };
}

/** An object may have thousands of problems; its status has to stay small enough to be written. */
const MAX_TOLD = 10;

function messageOf(problems: readonly Problem[]): string | undefined {
  if (problems.length === 0) return undefined;
  const told = problems.slice(0, MAX_TOLD).map(describe);
  const more = problems.length - told.length;
  return [...told, ...(more > 0 ? [`and ${more} more`] : [])].join("; ");
}

export function observed({ generation }: Verdict): { readonly observedGeneration?: number } {
  return generation === undefined ? {} : { observedGeneration: generation };
}
