import type { ReadRegex } from "../compile/regex.ts";

/**
 * What can be looked at in less than half a second, whatever it is. An object of 2,000 routes has some 40,000, and they come
 * twice with an update.
 */
const MAX_PARTS = 100_000;
/** Objects of Kubernetes are a dozen deep. */
const MAX_DEPTH = 100;

/** Each takes up to two milliseconds to compile, and those that people write a thirtieth of that. */
const MAX_REGEXES = 200;

const QUOTE = 0x22;
const COMMA = 0x2c;
const BACKSLASH = 0x5c;
const OPENING: ReadonlySet<number> = new Set([0x5b, 0x7b]);
const CLOSING: ReadonlySet<number> = new Set([0x5d, 0x7d]);

/**
 * Whether a text of JSON is made of so many parts, or of parts so deep in each other, that looking at it would take longer
 * than the API server waits, and reading it a multiple of its size in memory. Strings may be as long as they like.
 */
export function isOverwhelming(json: Buffer): boolean {
  let parts = 0;
  let depth = 0;
  for (let i = 0; i < json.length; i++) {
    const byte = json[i] ?? 0;
    if (byte === QUOTE) i = endOfString(json, i);
    else if (byte === COMMA) parts++;
    else if (OPENING.has(byte)) {
      parts++;
      depth++;
    } else if (CLOSING.has(byte)) depth--;
    if (parts > MAX_PARTS || depth > MAX_DEPTH) return true;
  }
  return false;
}

/** The place of the quote that ends the string which begins at `start`. */
function endOfString(json: Buffer, start: number): number {
  for (let i = start + 1; i < json.length; i++) {
    const byte = json[i];
    if (byte === QUOTE) return i;
    if (byte === BACKSLASH) i++;
  }
  return json.length;
}

export type BoundedRegexes = {
  readonly read: ReadRegex;
  /** How often one was taken for good unread, as there were too many others before. */
  readonly unread: () => number;
};

/** For one review: reads each regular expression once, and only so many. */
export function boundedRegexes(read: ReadRegex): BoundedRegexes {
  const answers = new Map<string, ReturnType<ReadRegex>>();
  let unread = 0;
  return {
    read: (regex) => {
      const known = answers.get(regex);
      if (known !== undefined) return known;
      if (answers.size >= MAX_REGEXES) {
        unread++;
        return { ok: true, instructions: 1 };
      }
      const answer = read(regex);
      answers.set(regex, answer);
      return answer;
    },
    unread: () => unread,
  };
}

/** The uid of an AdmissionReview as an API server begins it, without reading the rest. */
export function uidOf(body: Buffer): string | undefined {
  const head = body.toString("latin1", 0, 200);
  const start = /^\{"kind":"AdmissionReview","apiVersion":"admission\.k8s\.io\/v1","request":\{"uid":"([\w-]{1,64})"/;
  return start.exec(head)?.[1];
}
