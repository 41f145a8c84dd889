import type { PathType } from "../../api/ingress.ts";
import type * as ir from "../../ir/ir.ts";
import { pathFault, withoutTrailingSlash } from "../ingressroute/paths.ts";
import type { CompileOptions } from "../options.ts";

export type CompiledPath =
  | { readonly ok: true; readonly match: ir.PathMatch }
  /** `reason` is the rest of a sentence about the path. */
  | { readonly ok: false; readonly reason: string };

const EVERYTHING: ir.PathMatch = { kind: "prefix", path: "/" };

/** What a path of an Ingress matches. `pathType` is undefined when it could not be read. */
export function compilePath(
  path: string | undefined,
  pathType: PathType | undefined,
  { regexFault }: Pick<CompileOptions, "regexFault">,
): CompiledPath {
  if (path === undefined) {
    if (pathType === "ImplementationSpecific") return { ok: true, match: EVERYTHING };
    return { ok: false, reason: "is required" };
  }
  // The one place where a user's text becomes a regular expression, because its author asks for one.
  const isRegex = pathType === "ImplementationSpecific" && /[\^+*[\]%]/.test(path);
  const reason = isRegex ? regexFault(path) : pathFault(path);
  if (reason !== undefined) return { ok: false, reason };
  if (isRegex) return { ok: true, match: { kind: "regex", path } };
  if (pathType === "Exact") return { ok: true, match: { kind: "exact", path } };
  if (pathType === "ImplementationSpecific" && path !== "/") return { ok: true, match: { kind: "stringPrefix", path } };
  return { ok: true, match: { kind: "prefix", path: withoutTrailingSlash(path) } };
}
