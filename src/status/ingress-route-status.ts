import { isRecord } from "../api/is-record.ts";
import { sameValue } from "../api/same-value.ts";
import type { Condition } from "../compile/conditions.ts";
import { timeText } from "./read.ts";
import { shared } from "./shared-text.ts";
import type { IngressRouteWish } from "./wish.ts";

/** The types of condition that are ours. All others belong to somebody else, and stay as they are. */
const OUR_TYPES: readonly string[] = ["Valid", "Warnings", "Programmed"] satisfies readonly Condition["type"][];

/** A condition as it stands in an object. */
export type SeenCondition = {
  readonly type: string;
  readonly status: string | undefined;
  readonly reason: string | undefined;
  readonly message: string | undefined;
  readonly observedGeneration: number | undefined;
  /** Undefined for what is no time. */
  readonly lastTransitionTime: string | undefined;
};

/** The status of an IngressRoute as it was found, whoever wrote it. */
export type SeenIngressRouteStatus = {
  readonly currentStatus: string | undefined;
  readonly description: string | undefined;
  /** Ours. */
  readonly conditions: readonly SeenCondition[];
  /** Conditions of others, as they are. */
  readonly foreign: readonly unknown[];
  /** Whether it could be read as a whole; otherwise it is written anew. */
  readonly isSound: boolean;
};

export function readIngressRouteStatus(raw: unknown): SeenIngressRouteStatus {
  const status = isRecord(raw) ? raw : {};
  const list = Array.isArray(status.conditions) ? status.conditions : [];
  const conditions: SeenCondition[] = [];
  const foreign: unknown[] = [];
  let isSound = (raw === undefined || isRecord(raw)) && (status.conditions === undefined || list === status.conditions);
  for (const item of list) {
    if (!isRecord(item) || typeof item.type !== "string") isSound = false;
    else if (!OUR_TYPES.includes(item.type)) foreign.push(item);
    else if (conditions.some(({ type }) => type === item.type)) isSound = false;
    else conditions.push(readCondition(item.type, item));
  }
  return {
    currentStatus: textOf(status.currentStatus),
    description: textOf(status.description),
    conditions,
    foreign,
    isSound,
  };
}

function readCondition(type: string, item: Readonly<Record<string, unknown>>): SeenCondition {
  const { observedGeneration: generation, lastTransitionTime: time } = item;
  return {
    type,
    status: textOf(item.status),
    reason: textOf(item.reason),
    message: textOf(item.message),
    observedGeneration: typeof generation === "number" ? generation : undefined,
    lastTransitionTime: typeof time === "string" && TIME.test(time) ? shared(time) : undefined,
  };
}

const TIME = /^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(\.\d+)?(Z|[+-]\d\d:\d\d)$/;

function textOf(value: unknown): string | undefined {
  return typeof value === "string" ? shared(value) : undefined;
}

export type HoldOptions = {
  /** How long a status waits for the Envoys before it is written without their answers. */
  readonly holdMs: number;
  /** How long an object that says already whether this generation of it is programmed waits before a laggard changes that. */
  readonly laggardMs: number;
};

/** What is to be done about a status now. */
export type Decision =
  | { readonly kind: "same" }
  /** There may be something to write in so many milliseconds. */
  | { readonly kind: "wait"; readonly ms: number }
  | { readonly kind: "write"; readonly status: unknown };

/** Whether the status is to be written, given that it is unsettled for `unsettledMs`. */
export function decideIngressRoute(
  wish: IngressRouteWish,
  seen: SeenIngressRouteStatus,
  unsettledMs: number,
  nowMs: number,
  { holdMs, laggardMs }: HoldOptions,
): Decision {
  const isSaidWith = (programmed: Wished) => isSaid(wish, [...wish.conditions, programmed], seen);
  const write = (programmed: Wished): Decision => {
    if (isSaidWith(programmed)) return { kind: "same" };
    return { kind: "write", status: statusOf(wish, [...wish.conditions, programmed], seen, timeText(nowMs)) };
  };
  if (wish.standing === "settled") return write(wish.programmed);
  if (isSaidWith(wish.programmed)) return { kind: "same" };
  if (unsettledMs < holdMs) return { kind: "wait", ms: holdMs - unsettledMs };
  const said = seen.conditions.find(({ type }) => type === "Programmed");
  const isOfThisGeneration =
    said?.lastTransitionTime !== undefined &&
    said.status !== undefined &&
    said.observedGeneration === wish.programmed.observedGeneration;
  // An Envoy that restarts, or is slow for a while, must not rewrite the status of everything that it serves.
  const isKept =
    isOfThisGeneration && (wish.standing === "unheard" || (wish.standing === "pending" && unsettledMs < laggardMs));
  if (!isKept) return write(wish.programmed);
  const decision = write(said);
  if (decision.kind === "same" && wish.standing === "pending") return { kind: "wait", ms: laggardMs - unsettledMs };
  return decision;
}

type Wished = Condition | SeenCondition;

/** Order does not matter, and nor do keys that we do not know. */
function isSaid(wish: IngressRouteWish, wished: readonly Wished[], seen: SeenIngressRouteStatus): boolean {
  return (
    seen.isSound &&
    seen.currentStatus === wish.currentStatus &&
    seen.description === wish.description &&
    seen.conditions.length === wished.length &&
    wished.every((condition) => {
      const found = seen.conditions.find(({ type }) => type === condition.type);
      return found !== undefined && found.lastTransitionTime !== undefined && sameValue(words(found), words(condition));
    })
  );
}

function words({ type, status, reason, message, observedGeneration }: Wished) {
  return { type, status, reason, message, observedGeneration };
}

/** As many as the schema takes. */
export const MAX_CONDITIONS = 32;

/** A merge patch replaces a list as a whole, so that the conditions of others stand in it too, as far as there is room. */
function statusOf(
  { currentStatus, description }: IngressRouteWish,
  wished: readonly Wished[],
  seen: SeenIngressRouteStatus,
  now: string,
): unknown {
  const ours = wished.map((condition) => {
    const found = seen.conditions.find(({ type }) => type === condition.type);
    const isKept = found !== undefined && found.status === condition.status;
    const lastTransitionTime = (isKept ? found.lastTransitionTime : undefined) ?? now;
    return { ...words(condition), lastTransitionTime };
  });
  return { currentStatus, description, conditions: [...ours, ...seen.foreign].slice(0, MAX_CONDITIONS) };
}
