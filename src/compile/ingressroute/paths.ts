/**
 * The one rule of path prefixes, by whole segments: `/blog` holds `/blog` and `/blog/x`, never `/blogger`. Delegation is
 * checked with the same rule that Envoy routes by.
 */
export function isInside(path: string, prefix: string): boolean {
  return prefix === "/" || path === prefix || path.startsWith(`${prefix}/`);
}

/** The longest path inside of which both lie. */
export function commonPath(a: string, b: string): string {
  let end = 0;
  for (let i = 1; i <= a.length && i <= b.length && a[i - 1] === b[i - 1]; i++) {
    if ((i === a.length || a[i] === "/") && (i === b.length || b[i] === "/")) end = i;
  }
  return end === 0 ? "/" : a.slice(0, end);
}

/** `/blog/` means `/blog`. */
export function withoutTrailingSlash(path: string): string {
  let end = path.length;
  while (end > 1 && path[end - 1] === "/") end--;
  return path.slice(0, end);
}

/** What keeps a text from being a path to match or to rewrite to, as the rest of a sentence; undefined if nothing does. */
export function pathFault(path: string): string | undefined {
  if (!path.startsWith("/")) return "must start with /";
  if (/[?#]/.test(path)) return "must be a path alone, without ? or #";
  // Envoy refuses control characters; half a surrogate pair has no encoding.
  if (/[\p{Cc}\p{Surrogate}]/u.test(path)) return "holds a character that cannot stand in a path";
  return undefined;
}

/** What keeps a well-formed path from being sent to a backend as it is, as the rest of a sentence; undefined if nothing does. */
export function rewriteFault(path: string): string | undefined {
  const segments = path.split("/");
  if (segments.includes(".") || segments.includes("..")) return 'must be without the segments "." and ".."';
  const encoded = percentEncoded(path);
  return encoded === path ? undefined : `holds characters that requests carry percent-encoded, write ${encoded}`;
}

/** With every character encoded that cannot stand in the path of a request. */
function percentEncoded(path: string): string {
  return path.replace(/[^\p{ASCII}]+|[ "<>^`{|}\\]/gu, encodeURIComponent);
}

/** What Envoy lets a request line and headers take; see `edgeManager`. */
const MAX_REQUEST_BYTES = 60 * 1024;

/** Why a well-formed match is never met by a request, whose path Envoy normalises first; undefined if it can be. */
export function neverMatches(match: string): string | undefined {
  if (match.length > MAX_REQUEST_BYTES) return "requests of more than 60 KiB are refused";
  const segments = match.split("/");
  if (segments.includes(".") || segments.includes("..")) return 'segments "." and ".." are resolved before matching';
  if (match.includes("\\")) return "a backslash is turned into a slash before matching";
  const encoded = percentEncoded(match);
  if (encoded !== match) return `requests carry it percent-encoded, write ${encoded}`;
  if (/%(2[de]|3[0-9]|4[1-9a-f]|5[0-9af]|6[1-9a-f]|7[0-9ae])/i.test(match)) {
    return "percent-encoded letters, digits and -._~ are decoded before matching";
  }
  return undefined;
}
