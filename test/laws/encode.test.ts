import { create, type DescField, type DescMessage, type DescOneof, ScalarType, toBinary } from "@bufbuild/protobuf";
import { anyPack, isWrapperDesc, StringValueSchema } from "@bufbuild/protobuf/wkt";
import fc from "fast-check";
import { expect, test } from "vitest";
import { ClusterSchema } from "#proto/envoy/config/cluster/v3/cluster_pb.js";
import { ClusterLoadAssignmentSchema } from "#proto/envoy/config/endpoint/v3/endpoint_pb.js";
import { ScopedRouteConfigurationSchema } from "#proto/envoy/config/route/v3/scoped_route_pb.js";
import { encode } from "../../src/envoy/encode.ts";

/** Deeper messages are left empty. */
const DEPTH = 5;

/** What `create` takes for a message of this kind, with few of its fields. */
function initOf(schema: DescMessage, depth: number): fc.Arbitrary<object> {
  if (schema.typeName === "google.protobuf.Any")
    return fc.constant(anyPack(StringValueSchema, create(StringValueSchema)));
  if (depth === 0) return fc.constant({});
  const someMembers = fc.subarray([...schema.members], { maxLength: Math.min(5, schema.members.length) });
  const entries = someMembers.chain((members) =>
    fc.tuple(...members.map((member) => memberOf(member, depth).map((value) => [member.localName, value] as const))),
  );
  return fc
    .tuple(entries, fc.boolean())
    .map(([set, isMade]) => (isMade ? create(schema, Object.fromEntries(set)) : Object.fromEntries(set)));
}

function memberOf(member: DescField | DescOneof, depth: number): fc.Arbitrary<unknown> {
  if (member.kind === "field") return fieldOf(member, depth);
  return fc
    .constantFrom(...member.fields)
    .chain((field) => fieldOf(field, depth).map((value) => ({ case: field.localName, value })));
}

function fieldOf(field: DescField, depth: number): fc.Arbitrary<unknown> {
  switch (field.fieldKind) {
    case "list":
      return fc.array(singleOf(field, depth), { maxLength: 2 });
    case "map":
      return fc.dictionary(fc.string({ maxLength: 3 }), singleOf(field, depth), { maxKeys: 2 });
    default:
      return singleOf(field, depth);
  }
}

function singleOf(field: DescField, depth: number): fc.Arbitrary<unknown> {
  const { message } = field;
  if (message?.typeName === "google.protobuf.Struct") return fc.dictionary(fc.string({ maxLength: 3 }), fc.boolean());
  if (message === undefined) return field.enum ? fc.constantFrom(...numbersOf(field)) : scalarOf(field.scalar);
  const [wrapped] = message.fields;
  const isUnwrapped = field.fieldKind === "message" && field.oneof === undefined && isWrapperDesc(message);
  return isUnwrapped && wrapped !== undefined ? singleOf(wrapped, depth) : initOf(message, depth - 1);
}

function numbersOf(field: DescField): readonly number[] {
  return field.enum?.values.map(({ number }) => number) ?? [];
}

function scalarOf(scalar: ScalarType | undefined): fc.Arbitrary<unknown> {
  switch (scalar) {
    case ScalarType.STRING:
      return fc.string({ unit: "grapheme", maxLength: 5 });
    case ScalarType.BOOL:
      return fc.boolean();
    case ScalarType.BYTES:
      return fc.uint8Array({ maxLength: 4 });
    case ScalarType.DOUBLE:
      return fc.double();
    case ScalarType.FLOAT:
      return fc.float();
    case ScalarType.INT32:
    case ScalarType.SINT32:
      return fc.integer();
    case ScalarType.UINT32:
    case ScalarType.FIXED32:
      return fc.nat();
    case ScalarType.UINT64:
      return fc.bigInt({ min: 0n, max: 2n ** 63n });
    default:
      return fc.bigInt({ min: -(2n ** 62n), max: 2n ** 62n });
  }
}

test.each([ClusterSchema, ClusterLoadAssignmentSchema, ScopedRouteConfigurationSchema])(
  "$name is encoded as the library encodes it",
  (schema) => {
    fc.assert(
      fc.property(initOf(schema, DEPTH), (init) => {
        expect(Buffer.from(encode(schema, init))).toEqual(Buffer.from(toBinary(schema, create(schema, init))));
      }),
      { numRuns: 2000 },
    );
  },
);
