import { RE2JS } from "re2js";
import type { ReadRegex } from "../compile/regex.ts";

/** Nobody writes a longer one; it bounds the work of compiling it. */
const MAX_LENGTH = 1000;

/**
 * Envoy refuses what RE2 cannot compile within 8 MB, some 87,000 instructions. RE2 works on bytes and this library on
 * characters: for printable ASCII one instruction here is less than 80 there.
 */
const MAX_INSTRUCTIONS = 1000;

/** What Envoy would make of a text as a regular expression for a path. */
export const readRegex: ReadRegex = (regex) => {
  const refuse = (reason: string) => ({ ok: false, reason }) as const;
  if (regex.length > MAX_LENGTH)
    return refuse(`is longer than ${MAX_LENGTH} characters, too long for a regular expression`);
  if (/[^\x20-\x7e]/.test(regex)) return refuse("is a regular expression with characters that no path holds unencoded");
  if (/\\[pPxC]/.test(regex))
    return refuse("is a regular expression with \\p, \\P, \\x or \\C, which say nothing of a path");
  const tooLarge = refuse("is too large a regular expression");
  if (writtenOut(regex) > 2 * MAX_INSTRUCTIONS) return tooLarge;
  try {
    const instructions = RE2JS.compile(regex).programSize();
    return instructions > MAX_INSTRUCTIONS ? tooLarge : { ok: true, instructions };
  } catch (error) {
    if (!(error instanceof Error) || !error.name.startsWith("RE2JS")) throw error;
    return refuse(`is no regular expression: ${error.message.replace(/^error parsing regexp: /, "")}`);
  }
};

/**
 * About how many characters the expression has when what is to be repeated a number of times is written that many times. The
 * library writes it out before it can be asked for the size, and takes a tenth of a second over a line of such repetitions.
 */
function writtenOut(regex: string): number {
  /** Of the groups that are open. */
  const sizes: number[] = [];
  let size = 0;
  /** Of what a repetition would be of. */
  let last = 0;
  const tokens = /\\.|\[\^?\]?(?:\\.|[^\]\\])*\]|\{(\d+)(?:,(\d*))?\}|./gs;
  for (const [token, least, most] of regex.matchAll(tokens)) {
    if (token === "(") {
      sizes.push(size);
      size = 0;
      last = 0;
    } else if (token === ")") {
      last = size;
      size += sizes.pop() ?? 0;
    } else if (least !== undefined) {
      const times = Math.max(Number(least), Number(most ?? 0), 1);
      size += last * (times - 1);
      last *= times;
    } else {
      size++;
      last = 1;
    }
  }
  return sizes.reduce((sum, open) => sum + open, size);
}

/** More than a large cluster has, in a few megabytes. */
const MAX_REMEMBERED = 10_000;

/** Answers the same question once: reading takes up to a millisecond, and every change of a host asks for its own again. */
export function rememberedRegexes(read: ReadRegex): ReadRegex {
  const answers = new Map<string, ReturnType<ReadRegex>>();
  return (regex) => {
    const known = answers.get(regex);
    if (known !== undefined) return known;
    if (answers.size >= MAX_REMEMBERED) answers.clear();
    const answer = read(regex);
    // What is longer than anything that can be one is answered in no time.
    if (regex.length <= MAX_LENGTH) answers.set(regex, answer);
    return answer;
  };
}

/** Whether all of the text matches; for a regular expression without a fault. */
export function matchesRegex(regex: string, text: string): boolean {
  return RE2JS.matches(regex, text);
}
