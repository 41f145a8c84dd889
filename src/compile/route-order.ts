import { byCodeUnit } from "../api/order.ts";
import type * as ir from "../ir/ir.ts";

/**
 * Envoy takes the first route that matches, so the one that says most about a path comes first: exact paths, then the
 * longest text that a path has to begin with. A regular expression counts by the text before its first special character,
 * so that `/.*` takes nothing from `/blog`.
 */
export function mostSpecificFirst(a: ir.Route, b: ir.Route): number {
  return (
    Number(b.match.kind === "exact") - Number(a.match.kind === "exact") ||
    literalLength(b.match) - literalLength(a.match) ||
    RANK[a.match.kind] - RANK[b.match.kind] ||
    b.match.path.length - a.match.path.length ||
    byCodeUnit(a.match.path, b.match.path) ||
    byCodeUnit(a.origin.object, b.origin.object)
  );
}

/** Among those that need the same text: who takes the fewer paths comes first. */
const RANK: Readonly<Record<ir.PathMatch["kind"], number>> = { exact: 0, regex: 1, prefix: 2, stringPrefix: 3 };

function literalLength({ kind, path }: ir.PathMatch): number {
  if (kind !== "regex") return path.length;
  // Of two alternatives neither has to be there.
  const [literal = ""] = path.includes("|") ? [] : (/^\^?([-/\w~!@&=:;,'"<>% ]*)/.exec(path)?.slice(1) ?? []);
  // What a quantifier follows may be missing. Every path begins with a slash.
  const isQuantified = /^\^?[-/\w~!@&=:;,'"<>% ]+[*?{]/.test(path);
  return Math.max(1, literal.length - Number(isQuantified));
}
