/** How long to wait for something, as users write it. */
export type Duration =
  | { readonly kind: "infinite" }
  /** Whole milliseconds, at least one. */
  | { readonly kind: "after"; readonly ms: number }
  /** `reason` is the rest of a sentence about the field. */
  | { readonly kind: "fault"; readonly reason: string };

/** Nanoseconds in a unit. Go takes both letters that look like a small mu. */
const UNITS: ReadonlyMap<string, bigint> = new Map([
  ["ns", 1n],
  ["us", 1_000n],
  ["\u00b5s", 1_000n],
  ["\u03bcs", 1_000n],
  ["ms", 1_000_000n],
  ["s", 1_000_000_000n],
  ["m", 60_000_000_000n],
  ["h", 3_600_000_000_000n],
]);

const NS_PER_MS = 1_000_000n;
/** Go counts nanoseconds in 64 bits, and so does Envoy: some 292 years. */
const LONGEST_NS = 2n ** 63n - 1n;
/** Envoy refuses the second in which its count ends. */
const LONGEST_MS = 9_223_372_035_000;
/** More digits of a number are beyond the longest, and more of a fraction below a nanosecond. */
const MAX_DIGITS = 19;

const UNREADABLE = 'is not a duration such as "30s", "1m30s", "500ms" or "infinity"';

/**
 * Reads `infinity` or a Go duration ("1h2m3.5s"). Zero means for ever; what is above zero but below a millisecond counts
 * as one. Contour 0.15 took unreadable text for "infinity" (contour#2728): here it is a fault.
 */
export function parseDuration(text: string): Duration {
  if (text === "infinity") return { kind: "infinite" };
  const ns = nanoseconds(text.replace(/^[-+]/, ""));
  if (ns === undefined) return { kind: "fault", reason: UNREADABLE };
  if (ns > LONGEST_NS) return { kind: "fault", reason: "is longer than the 292 years that can be counted" };
  if (ns === 0n) return { kind: "infinite" };
  if (text.startsWith("-")) return { kind: "fault", reason: "must not be negative" };
  return { kind: "after", ms: Math.min(Math.max(Number(ns / NS_PER_MS), 1), LONGEST_MS) };
}

/** The length of a duration without sign; undefined if it is unreadable. */
function nanoseconds(text: string): bigint | undefined {
  if (text === "0") return 0n;
  if (text === "") return undefined;
  const term = /([0-9]*)(?:\.([0-9]*))?([a-z\u00b5\u03bc]+)/y;
  let sum = 0n;
  while (term.lastIndex < text.length) {
    const [, whole = "", fraction = "", unitName = ""] = term.exec(text) ?? [];
    const unit = UNITS.get(unitName);
    if (unit === undefined || (whole === "" && fraction === "")) return undefined;
    const digits = whole.replace(/^0+/, "");
    if (digits.length > MAX_DIGITS) return LONGEST_NS + 1n;
    const parts = fraction.slice(0, MAX_DIGITS);
    sum += BigInt(digits || "0") * unit + (BigInt(parts || "0") * unit) / 10n ** BigInt(parts.length);
  }
  return sum;
}
