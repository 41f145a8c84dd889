/**
 * More than an object is made of that the definitions and etcd let through, before and after an update: 2,000 routes are some
 * 40,000 parts, and an Ingress of 1.5 MB some 130,000.
 */
const MAX_PARTS = 300_000;
/** Objects of Kubernetes are a dozen deep. */
const MAX_DEPTH = 100;

const QUOTE = 0x22;
const COMMA = 0x2c;
const BACKSLASH = 0x5c;
const OPENING: ReadonlySet<number> = new Set([0x5b, 0x7b]);
const CLOSING: ReadonlySet<number> = new Set([0x5d, 0x7d]);

/**
 * Whether a text of JSON is made of so many parts, or of parts so deep in each other, that reading it would take seconds and
 * a multiple of its size in memory. Strings may be as long as they like.
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

/** The uid of an AdmissionReview as an API server begins it, without reading the rest. */
export function uidOf(body: Buffer): string | undefined {
  const head = body.toString("latin1", 0, 200);
  const start = /^\{"kind":"AdmissionReview","apiVersion":"admission\.k8s\.io\/v1","request":\{"uid":"([\w-]{1,64})"/;
  return start.exec(head)?.[1];
}
