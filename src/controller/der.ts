import { isUtf8 } from "node:buffer";

/** One value in DER. Values inside a constructed one are its `children`; others have none. */
export type DerValue = {
  readonly tag: number;
  readonly body: Uint8Array;
  readonly children: readonly DerValue[];
};

export const TAG = {
  boolean: 0x01,
  integer: 0x02,
  bitString: 0x03,
  octetString: 0x04,
  null: 0x05,
  objectIdentifier: 0x06,
  utf8String: 0x0c,
  printableString: 0x13,
  ia5String: 0x16,
  utcTime: 0x17,
  generalizedTime: 0x18,
  sequence: 0x30,
  set: 0x31,
} as const;

/** Of the tags that every protocol shares, those that occur in certificates, in their only form. */
const UNIVERSAL = new Set([
  ...[0x01, 0x02, 0x03, 0x04, 0x05, 0x06, 0x0a, 0x0c],
  ...[0x12, 0x13, 0x14, 0x15, 0x16, 0x17, 0x18, 0x1a, 0x1b, 0x1c, 0x1e],
  ...[0x30, 0x31],
]);

/** Deeper than any certificate, and shallow enough for the stack. */
const MAX_DEPTH = 32;

/**
 * Reads the one value that the bytes hold. Undefined if they break a rule of DER that OpenSSL lets pass and Envoy's
 * BoringSSL does not: usual tags, lengths and integers in their shortest form, no stray bits, UTF-8 as it should be,
 * nothing behind the end.
 */
export function readDer(bytes: Uint8Array): DerValue | undefined {
  const values = readAll(bytes, 0);
  return values?.length === 1 ? values[0] : undefined;
}

function readAll(bytes: Uint8Array, depth: number): readonly DerValue[] | undefined {
  if (depth > MAX_DEPTH) return undefined;
  const values: DerValue[] = [];
  for (let at = 0; at < bytes.length; ) {
    const header = readHeader(bytes, at);
    if (header === undefined) return undefined;
    const { tag, start, end } = header;
    const body = bytes.subarray(start, end);
    const children = (tag & 0x20) === 0 ? [] : readAll(body, depth + 1);
    if (children === undefined || !isWellFormed(tag, body)) return undefined;
    values.push({ tag, body, children });
    at = end;
  }
  return values;
}

function readHeader(
  bytes: Uint8Array,
  at: number,
): { readonly tag: number; readonly start: number; readonly end: number } | undefined {
  const tag = bytes[at];
  const first = bytes[at + 1];
  // Tags of several bytes do not occur in certificates.
  if (tag === undefined || first === undefined || (tag & 0x1f) === 0x1f) return undefined;
  let length = first;
  let start = at + 2;
  if (first >= 0x80) {
    const digits = bytes.subarray(start, start + first - 0x80);
    if (digits.length === 0 || digits.length > 4 || digits.length !== first - 0x80 || digits[0] === 0) return undefined;
    length = digits.reduce((sum, digit) => sum * 256 + digit, 0);
    if (length < 0x80) return undefined;
    start += digits.length;
  }
  return start + length <= bytes.length ? { tag, start, end: start + length } : undefined;
}

function isWellFormed(tag: number, body: Uint8Array): boolean {
  const isContextual = (tag & 0xc0) === 0x80;
  if (!isContextual && !UNIVERSAL.has(tag)) return false;
  switch (tag) {
    case TAG.bitString: {
      const [unused] = body;
      const last = body.at(-1) ?? 0;
      if (unused === undefined || unused > 7) return false;
      return body.length === 1 ? unused === 0 : (last & ((1 << unused) - 1)) === 0;
    }
    case TAG.null:
      return body.length === 0;
    case TAG.objectIdentifier:
      return body.length > 0;
    case TAG.integer: {
      const [first, second] = body;
      if (first === undefined) return false;
      // The first nine bits of the shortest form are not all alike.
      return second === undefined || !((first === 0 && second < 0x80) || (first === 0xff && second >= 0x80));
    }
    case TAG.utf8String:
      return isUtf8(body);
    default:
      return true;
  }
}

/** Milliseconds since 1970 of a time as RFC 5280 wants it: to the second, in UTC, on a day that there is. */
export function readTime({ tag, body }: DerValue): number | undefined {
  const text = Buffer.from(body).toString("latin1");
  const digits = tag === TAG.utcTime && Number(text.slice(0, 2)) < 50 ? `20${text}` : `19${text}`;
  const fields = /^(\d{4})(\d\d)(\d\d)(\d\d)(\d\d)(\d\d)Z$/.exec(tag === TAG.generalizedTime ? text : digits);
  if (fields === null || (tag !== TAG.utcTime && tag !== TAG.generalizedTime)) return undefined;
  const [, year, month, day, hour, minute, second] = fields;
  const iso = `${year}-${month}-${day}T${hour}:${minute}:${second}.000Z`;
  const ms = Date.parse(iso);
  return !Number.isNaN(ms) && new Date(ms).toISOString() === iso ? ms : undefined;
}

/** The dotted form of an object identifier. */
export function readOid({ body }: DerValue): string {
  const numbers: number[] = [];
  let number = 0;
  for (const digit of body) {
    number = number * 128 + (digit & 0x7f);
    if ((digit & 0x80) !== 0) continue;
    numbers.push(number);
    number = 0;
  }
  const [first = 0, ...rest] = numbers;
  const root = Math.min(Math.floor(first / 40), 2);
  return [root, first - root * 40, ...rest].join(".");
}

/** Whether each number of the object identifier is in its only form. */
export function isOid({ body }: DerValue): boolean {
  let isFirst = true;
  for (const digit of body) {
    if (isFirst && digit === 0x80) return false;
    isFirst = digit < 0x80;
  }
  return isFirst && body.length > 0;
}

/** One value, of parts that are bytes of its body already. */
export function writeDer(tag: number, ...parts: readonly Uint8Array[]): Buffer {
  const length = parts.reduce((sum, part) => sum + part.length, 0);
  return Buffer.concat([Buffer.of(tag, ...lengthBytes(length)), ...parts]);
}

function lengthBytes(length: number): readonly number[] {
  if (length < 0x80) return [length];
  const digits: number[] = [];
  for (let rest = length; rest > 0; rest = Math.floor(rest / 256)) digits.unshift(rest % 256);
  return [0x80 + digits.length, ...digits];
}
