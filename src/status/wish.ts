import { sameValue } from "../api/same-value.ts";
import type { Condition } from "../compile/conditions.ts";
import type { Verdict } from "../compile/verdicts.ts";

/** What the status of an object should be. */
export type Wish = IngressRouteWish | IngressWish;

export type IngressRouteWish = {
  readonly kind: "IngressRoute";
  readonly currentStatus: Verdict["currentStatus"];
  readonly description: string;
  /** All but `Programmed`. */
  readonly conditions: readonly Condition[];
  readonly programmed: Condition;
  readonly standing: Standing;
};

/** Where the clients of an Ingress find it. */
export type IngressWish = { readonly kind: "Ingress"; readonly addresses: readonly Address[] };

export type Address = { readonly ip: string } | { readonly hostname: string };

/**
 * What is still to be expected of `Programmed`. `settled`: every connected Envoy has accepted or refused everything.
 * `refused`: one has refused something, and others have not answered. `pending`: some have not answered. `unheard`: there
 * is no Envoy to answer.
 */
export type Standing = "settled" | "refused" | "pending" | "unheard";

/** Whatever an object says, what is said of it can be stored. The schema of IngressRoutes takes longer texts. */
export const MAX_TEXT_LENGTH = 8000;

/** The wish with texts that are not too long. */
export function fitting(wish: Wish): Wish {
  if (wish.kind === "Ingress") return wish;
  const cut = (condition: Condition): Condition => ({ ...condition, message: cutText(condition.message) });
  return {
    ...wish,
    description: cutText(wish.description),
    conditions: wish.conditions.map(cut),
    programmed: cut(wish.programmed),
  };
}

function cutText(text: string): string {
  if (text.length <= MAX_TEXT_LENGTH) return text;
  // No half of a character of two.
  return `${text.slice(0, MAX_TEXT_LENGTH - 1).replace(/[\ud800-\udbff]$/, "")}…`;
}

export function generationOf(wish: Wish | undefined): number | undefined {
  return wish?.kind === "IngressRoute" ? wish.programmed.observedGeneration : undefined;
}

/** Whether it waits for Envoys. */
export function isUnsettled(wish: Wish | undefined): boolean {
  return wish?.kind === "IngressRoute" && wish.standing !== "settled";
}

/** Whether there is something new to say beside what the Envoys do with it. */
export function saysMore(before: Wish | undefined, after: Wish): boolean {
  if (before?.kind !== "IngressRoute" || after.kind !== "IngressRoute") return true;
  const said = ({ currentStatus, description, conditions, programmed }: IngressRouteWish) => [
    ...[currentStatus, description, conditions],
    programmed.observedGeneration,
  ];
  return !sameValue(said(before), said(after));
}
