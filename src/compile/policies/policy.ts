import type { Fact } from "../problems.ts";

/** What a policy comes to, and what is the matter with it as it was written. With a problem of class A, the value is of no use. */
export type Policy<Value> = { readonly value: Value; readonly problems: readonly PolicyProblem[] };

/** `field` is a path below the policy, empty for the policy as a whole. */
export type PolicyProblem = { readonly field: string; readonly fact: Fact };
