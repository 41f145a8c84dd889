import { namespaceOf, type ObjectKey } from "../api/object-key.ts";
import { byCodeUnit } from "../api/order.ts";
import { problemId } from "./findings.ts";
import { classOf, describe, type Problem } from "./problems.ts";

/** What an IngressRoute is told in its status. */
export type Verdict = {
  readonly object: ObjectKey;
  readonly generation: number | undefined;
  readonly fqdn: string | undefined;
  readonly currentStatus: "valid" | "invalid" | "orphaned";
  readonly description: string;
  /** All of them, in the order of the document. */
  readonly problems: readonly Problem[];
};

/** `reached` is false for an IngressRoute that no root leads to. */
export function verdictOf(
  object: { readonly key: ObjectKey; readonly generation: number | undefined; readonly fqdn: string | undefined },
  found: { readonly reached: boolean; readonly problems: Iterable<Problem> },
): Verdict {
  const problems = inDocumentOrder(found.problems);
  const worst = worstOf(problems);
  const { currentStatus, description } = !found.reached
    ? ORPHANED
    : worst === undefined
      ? VALID
      : ({ currentStatus: "invalid", description: describe(worst) } as const);
  return { object: object.key, generation: object.generation, fqdn: object.fqdn, currentStatus, description, problems };
}

/** The problem that a description tells. What makes the whole object ignored is more to the point than what costs a route. */
export function worstOf(problems: readonly Problem[]): Problem | undefined {
  return problems.find((problem) => classOf(problem) === "A") ?? problems.find((problem) => classOf(problem) === "B");
}

const VALID = { currentStatus: "valid", description: "valid IngressRoute" } as const;

const ORPHANED = {
  currentStatus: "orphaned",
  description: "no root IngressRoute delegates to this one, so nothing of it is served",
} as const;

/** The order in which the fields of the schema are read; others follow by name. */
const FIELD_ORDER = [
  "metadata",
  "spec",
  "virtualhost",
  "fqdn",
  "tls",
  "healthCheck",
  "tcpproxy",
  "routes",
  "match",
  "services",
];

/** How many problems with those who delegate are told of one code at one field. */
const MAX_ALIKE = 10;

/**
 * Problems of one object in the order of their fields; at the end those that are the doing of other namespaces, where anybody
 * may delegate anything to it. What is the matter with a Service is told at the first of its fields.
 */
export function inDocumentOrder(problems: Iterable<Problem>): readonly Problem[] {
  const told = new Set<string>();
  const placed = Array.from(problems, (problem): Placed => {
    return { problem, isOthersDoing: isOthersDoing(problem), tokens: pathTokens(problem.at), id: undefined };
  });
  const sorted = placed.sort(compareProblems).map(({ problem }) => problem);
  const unique = sorted.filter((problem) => {
    if (problem.subject.kind !== "service") return true;
    const id = problemId({ ...problem, at: "" });
    const isNew = !told.has(id);
    told.add(id);
    return isNew;
  });
  return withoutManyAlike(unique);
}

/** An object can be delegated by ten thousand others, each with the same mistake. */
function withoutManyAlike(problems: readonly Problem[]): readonly Problem[] {
  const counts = new Map<string, number>();
  const kept = problems.filter((problem) => {
    if (!("parent" in problem)) return true;
    const count = (counts.get(fieldAndCode(problem)) ?? 0) + 1;
    counts.set(fieldAndCode(problem), count);
    return count <= MAX_ALIKE;
  });
  if (kept.length === problems.length) return problems;
  // Backwards, so that the last of its kind tells how many there are more.
  return kept
    .reverse()
    .map((problem) => {
      const more = (counts.get(fieldAndCode(problem)) ?? 0) - MAX_ALIKE;
      counts.delete(fieldAndCode(problem));
      return more > 0 ? { ...problem, more } : problem;
    })
    .reverse();
}

function fieldAndCode({ at, code }: Problem): string {
  return `${code} ${at}`;
}

function isOthersDoing(problem: Problem): boolean {
  switch (problem.code) {
    case "OutsidePrefix":
    case "ShadowedByParent":
    case "ShadowedBySibling":
      return namespaceOf(problem.parent) !== namespaceOf(problem.object);
    default:
      return false;
  }
}

/** A problem, and the parts of the path to its field. */
type Placed = {
  readonly problem: Problem;
  readonly isOthersDoing: boolean;
  readonly tokens: readonly Token[];
  /** Put together when there is nothing else to tell two apart by. */
  id: string | undefined;
};

/** A place in a list is a number. */
type Token = string | number;

function compareProblems(a: Placed, b: Placed): number {
  if (a.isOthersDoing !== b.isOthersDoing) return a.isOthersDoing ? 1 : -1;
  const { tokens: left } = a;
  const { tokens: right } = b;
  for (let i = 0; i < Math.max(left.length, right.length); i++) {
    const order = compareTokens(left[i], right[i]);
    if (order !== 0) return order;
  }
  const byClass = byCodeUnit(classOf(a.problem), classOf(b.problem));
  if (byClass !== 0) return byClass;
  a.id ??= problemId(a.problem);
  b.id ??= problemId(b.problem);
  return byCodeUnit(a.id, b.id);
}

function pathTokens(path: string): readonly Token[] {
  return (path.match(/[^.[\]]+/g) ?? []).map((token) => (/^\d+$/.test(token) ? Number(token) : token));
}

function compareTokens(a: Token | undefined, b: Token | undefined): number {
  if (a === b) return 0;
  if (a === undefined || b === undefined) return a === undefined ? -1 : 1;
  if (typeof a === "number" && typeof b === "number") return a - b;
  const [left, right] = [FIELD_ORDER.indexOf(String(a)), FIELD_ORDER.indexOf(String(b))];
  if (left >= 0 && right >= 0) return left - right;
  if (left >= 0 || right >= 0) return left >= 0 ? -1 : 1;
  return byCodeUnit(String(a), String(b));
}
