import type { ObjectKey } from "../api/object-key.ts";
import { byCodeUnit } from "../api/order.ts";
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
  // What makes the whole object ignored is more to the point than what costs one of its routes.
  const worst =
    problems.find((problem) => classOf(problem) === "A") ?? problems.find((problem) => classOf(problem) === "B");
  const { currentStatus, description } = !found.reached
    ? ORPHANED
    : worst === undefined
      ? VALID
      : ({ currentStatus: "invalid", description: describe(worst) } as const);
  return { object: object.key, generation: object.generation, fqdn: object.fqdn, currentStatus, description, problems };
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

/** Problems of one object in the order of their fields. What is the matter with a Service is told at the first of them. */
export function inDocumentOrder(problems: Iterable<Problem>): readonly Problem[] {
  const told = new Set<string>();
  const placed = Array.from(problems, (problem) => ({ problem, tokens: pathTokens(problem.at) }));
  const sorted = placed.sort(compareFields).map(({ problem }) => problem);
  return sorted.filter((problem) => {
    if (problem.subject.kind !== "service") return true;
    const id = JSON.stringify({ ...problem, at: "" });
    const isNew = !told.has(id);
    told.add(id);
    return isNew;
  });
}

/** A problem, and the parts of the path to its field. */
type Placed = { readonly problem: Problem; readonly tokens: readonly Token[] };

/** A place in a list is a number. */
type Token = string | number;

function compareFields({ problem: a, tokens: left }: Placed, { problem: b, tokens: right }: Placed): number {
  for (let i = 0; i < Math.max(left.length, right.length); i++) {
    const order = compareTokens(left[i], right[i]);
    if (order !== 0) return order;
  }
  const byClass = byCodeUnit(classOf(a), classOf(b));
  return byClass || byCodeUnit(JSON.stringify(a), JSON.stringify(b));
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
