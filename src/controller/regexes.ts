import { RE2JS } from "re2js";

/** Nobody writes a longer one; it bounds the work of compiling it. */
const MAX_LENGTH = 1000;

/**
 * Envoy refuses what RE2 cannot compile within 8 MB, some 87,000 instructions. RE2 works on bytes and this library on
 * characters: for printable ASCII one instruction here is less than 80 there.
 */
const MAX_INSTRUCTIONS = 1000;

/** Why Envoy would refuse the regular expression for a path, as the rest of a sentence about it; undefined if it would not. */
export function regexFault(regex: string): string | undefined {
  if (regex.length > MAX_LENGTH) return `is longer than ${MAX_LENGTH} characters, too long for a regular expression`;
  if (/[^\x20-\x7e]/.test(regex)) return "is a regular expression with characters that no path holds unencoded";
  if (/\\[pPxC]/.test(regex)) return "is a regular expression with \\p, \\P, \\x or \\C, which say nothing of a path";
  try {
    if (RE2JS.compile(regex).programSize() > MAX_INSTRUCTIONS) return "is too large a regular expression";
  } catch (error) {
    if (!(error instanceof Error) || !error.name.startsWith("RE2JS")) throw error;
    return `is no regular expression: ${error.message.replace(/^error parsing regexp: /, "")}`;
  }
  return undefined;
}

/** Whether all of the text matches; for a regular expression without a fault. */
export function matchesRegex(regex: string, text: string): boolean {
  return RE2JS.matches(regex, text);
}
