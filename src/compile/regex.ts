/**
 * What compile asks about regular expressions. The answer comes from a library, so compile is given this function. It is pure.
 * `instructions` is the size of the compiled expression, which bounds what Envoy does for each character of a path; `reason`
 * is why Envoy would not take it, as the rest of a sentence about it.
 */
export type ReadRegex = (
  regex: string,
) => { readonly ok: true; readonly instructions: number } | { readonly ok: false; readonly reason: string };
