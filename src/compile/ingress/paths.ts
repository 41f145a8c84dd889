import type { PathType } from "../../api/ingress.ts";
import type * as ir from "../../ir/ir.ts";
import { pathFault, withoutTrailingSlash } from "../ingressroute/paths.ts";
import type { CompileOptions } from "../options.ts";
import { firstText } from "../route-order.ts";

export type CompiledPath =
  /** `cost` is how much Envoy may have to do for each character of a path: nothing to speak of but for regular expressions. */
  | { readonly ok: true; readonly match: ir.PathMatch; readonly cost: number }
  /** `reason` is the rest of a sentence about the path. */
  | { readonly ok: false; readonly reason: string };

const EVERYTHING: ir.PathMatch = { kind: "prefix", path: "/" };

/** What a path of an Ingress matches. `pathType` is undefined when it could not be read. */
export function compilePath(
  path: string | undefined,
  pathType: PathType | undefined,
  { readRegex }: Pick<CompileOptions, "readRegex">,
): CompiledPath {
  if (path === undefined) {
    if (pathType === "ImplementationSpecific") return matching(EVERYTHING);
    return { ok: false, reason: "is required" };
  }
  // The one place where a user's text becomes a regular expression, because its author asks for one.
  if (pathType === "ImplementationSpecific" && /[\^+*[\]%]/.test(path)) {
    const read = readRegex(path);
    if (!read.ok) return read;
    const match = { kind: "regex", path } as const;
    // The text that it begins with is compared once.
    return matching(match, Math.max(1, read.instructions - firstText(match).length));
  }
  const reason = pathFault(path);
  if (reason !== undefined) return { ok: false, reason };
  if (pathType === "Exact") return matching({ kind: "exact", path });
  if (pathType === "ImplementationSpecific" && path !== "/") return matching({ kind: "stringPrefix", path });
  return matching({ kind: "prefix", path: withoutTrailingSlash(path) });
}

function matching(match: ir.PathMatch, cost = 0): CompiledPath {
  return { ok: true, match, cost };
}
