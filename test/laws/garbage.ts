import fc from "fast-check";
import { type RawObject, replaceSomewhere } from "./worlds.ts";

/** Keys of the schema, keys that mean something to JavaScript, and others. */
const key = fc.oneof(
  fc.constantFrom(
    ...["spec", "virtualhost", "fqdn", "tls", "routes", "match", "services", "name", "port", "weight", "delegate"],
    ...["namespace", "tcpproxy", "healthCheck", "validation", "prefixRewrite", "labels", "annotations", "ports"],
    ...["endpoints", "addresses", "conditions", "type", "externalName", "__proto__", "constructor", "toString", ""],
  ),
  fc.string({ unit: "binary", maxLength: 8 }),
);

const text = fc.oneof(
  fc.string({ unit: "binary" }),
  fc.constantFrom(
    "/",
    "/a",
    "\ud800",
    "/\udfff/",
    "\u0000",
    "a\r\nb",
    "%",
    "%REQ(x)%",
    "x".repeat(70_000),
    "/".repeat(5_000),
  ),
);

/** Any JSON, and some that is none. */
export const anything: fc.Arbitrary<unknown> = fc.letrec<{ readonly value: unknown }>((tie) => ({
  value: fc.oneof(
    { depthSize: "small", withCrossShrink: true },
    text,
    fc.double(),
    fc.integer(),
    fc.boolean(),
    fc.constantFrom(null, undefined, -0, Number.NaN, 2 ** 53, 65_535, 4_294_967_295),
    fc.array(tie("value"), { maxLength: 4 }),
    fc.array(fc.tuple(key, tie("value")), { maxLength: 5 }).map((entries) => ownProperties(entries)),
  ),
})).value;

/** The object with garbage somewhere; it keeps its kind and name. `random` decides where. */
export function withGarbage(
  { kind, metadata, ...rest }: RawObject,
  garbage: unknown,
  random: readonly number[],
): RawObject {
  let at = 0;
  const pick = () => random[at++ % random.length] ?? 0;
  const { namespace, name, ...about } = metadata;
  if (pick() % 4 === 0) {
    return { ...rest, kind, metadata: { ...Object(replaceSomewhere(about, garbage, pick)), namespace, name } };
  }
  return { ...Object(replaceSomewhere(rest, garbage, pick)), kind, metadata };
}

/** An object with exactly these own properties, `__proto__` among them if it is. */
function ownProperties(entries: readonly (readonly [string, unknown])[]): unknown {
  return Object.fromEntries(entries);
}
