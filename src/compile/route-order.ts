import { byCodeUnit } from "../api/order.ts";
import type * as ir from "../ir/ir.ts";

/**
 * Envoy takes the first route that matches, so the one that says most about a path comes first: exact paths, then the
 * longest text that a path has to begin with. A regular expression counts by the text before its first special character,
 * so that `/.*` takes nothing from `/blog`.
 */
export function mostSpecificFirst(a: ir.Route, b: ir.Route): number {
  return (
    bySpecificity(a, b) ||
    RANK[a.match.kind] - RANK[b.match.kind] ||
    b.match.path.length - a.match.path.length ||
    byCodeUnit(a.match.path, b.match.path) ||
    byCodeUnit(a.origin.object, b.origin.object)
  );
}

/** The same by nothing but how much the routes say about a path. */
export function bySpecificity({ match: a }: ir.Route, { match: b }: ir.Route): number {
  return Number(b.kind === "exact") - Number(a.kind === "exact") || firstText(b).length - firstText(a).length;
}

/** Among those that need the same text: who takes the fewer paths comes first. */
const RANK: Readonly<Record<ir.PathMatch["kind"], number>> = { exact: 0, regex: 1, prefix: 2, stringPrefix: 3 };

/** What every path that matches begins with, as far as it can be told at a glance. */
export function firstText({ kind, path }: ir.PathMatch): string {
  if (kind !== "regex") return path;
  // Of two alternatives neither has to be there.
  if (isAlternatives(path)) return "/";
  const [, literal = ""] = /^\^?([-/\w~!@&=:;,'"<>% ]*)/.exec(path) ?? [];
  // What a quantifier follows may be missing. Every path begins with a slash.
  const isQuantified = /^\^?[-/\w~!@&=:;,'"<>% ]+[*?{]/.test(path);
  return (isQuantified ? literal.slice(0, -1) : literal) || "/";
}

/** Whether a regular expression is a choice as a whole, as in `/a|/b` and unlike in `/a(/|$)`. */
function isAlternatives(regex: string): boolean {
  if (!regex.includes("|")) return false;
  // In quoted text brackets mean nothing.
  if (regex.includes("\\Q")) return true;
  let depth = 0;
  // What is left out: escaped characters, and classes, in which a bracket that comes first is one of the characters.
  for (const [token] of regex.matchAll(/\\.|\[\^?\]?(?:\\.|\[:[^\]]*:\]|[^\]\\])*\]|[()|]/gs)) {
    if (token === "(") depth++;
    if (token === ")") depth--;
    if (token === "|" && depth === 0) return true;
  }
  return false;
}
