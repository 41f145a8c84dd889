import { classOf, describe, type Problem } from "./problems.ts";
import { type Verdict, worstOf } from "./verdicts.ts";

/** A condition as Kubernetes objects carry them, without the time of its last change. */
export type Condition = {
  readonly type: "Valid" | "Warnings" | "Programmed";
  readonly status: "True" | "False" | "Unknown";
  readonly reason: string;
  readonly message: string;
  readonly observedGeneration?: number;
};

/**
 * `Valid`, and `Warnings` when there are any: between them they name every problem of the object. `expiry` is a warning
 * about its certificate, see `expiryWarning`.
 */
export function conditionsOf(verdict: Verdict, expiry: string | undefined): readonly Condition[] {
  const errors = verdict.problems.filter((problem) => classOf(problem) !== "C");
  const warnings = verdict.problems.filter((problem) => classOf(problem) === "C");
  const valid: Condition = {
    type: "Valid",
    status: verdict.currentStatus === "valid" ? "True" : "False",
    reason: worstOf(errors)?.code ?? (verdict.currentStatus === "orphaned" ? "Orphaned" : "Valid"),
    message: tellProblems(errors) ?? verdict.description,
    ...observed(verdict),
  };
  const told = tellProblems(warnings);
  if (told === undefined && expiry === undefined) return [valid];
  const reason = warnings[0]?.code ?? "CertificateExpiry";
  const message = [told, expiry].filter((text) => text !== undefined).join("; ");
  return [valid, { type: "Warnings", status: "True", reason, message, ...observed(verdict) }];
}

/** An object may have thousands of problems; its status has to stay small enough to be written. */
const MAX_TOLD = 10;
const MAX_LENGTH = 4000;

/** The sentences of the first problems; undefined when there are none. */
export function tellProblems(problems: readonly Problem[]): string | undefined {
  const told: string[] = [];
  let length = 0;
  for (const problem of problems.slice(0, MAX_TOLD)) {
    const sentence = describe(problem);
    length += sentence.length;
    if (told.length > 0 && length > MAX_LENGTH) break;
    told.push(sentence);
  }
  if (told.length === 0) return undefined;
  const more = problems.length - told.length;
  return [...told, ...(more > 0 ? [`and ${more} more`] : [])].join("; ");
}

export function observed({ generation }: Verdict): { readonly observedGeneration?: number } {
  return generation === undefined ? {} : { observedGeneration: generation };
}
