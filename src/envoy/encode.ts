import {
  create,
  type DescEnum,
  type DescField,
  type DescMessage,
  type DescOneof,
  isMessage,
  type MessageInitShape,
  ScalarType,
  toBinary,
} from "@bufbuild/protobuf";
import { BinaryWriter, WireType } from "@bufbuild/protobuf/wire";
import { isWrapperDesc } from "@bufbuild/protobuf/wkt";

/**
 * The same bytes as `toBinary(schema, create(schema, init))`. Messages of Envoy have many fields of which few are set: a
 * Cluster has sixty, and at 10,000 hosts making and walking all of them is most of what a start has to do. Here work follows
 * what is set.
 */
export function encode<Desc extends DescMessage>(schema: Desc, init: MessageInitShape<Desc>): Uint8Array {
  const writer = new BinaryWriter();
  writeMessage(writer, schema, init);
  return writer.finish();
}

type Member = {
  /** The place in the message: of one-ofs, whose fields may stand apart, that of the one that is set. */
  readonly number: (value: unknown) => number;
  readonly write: (writer: BinaryWriter, value: unknown) => void;
};

const membersOf = new WeakMap<DescMessage, ReadonlyMap<string, Member>>();

function writeMessage(writer: BinaryWriter, schema: DescMessage, init: object): void {
  if (isMessage(init)) {
    writer.raw(toBinary(schema, init));
    return;
  }
  const members = membersOf.get(schema) ?? compile(schema);
  const found: { readonly number: number; readonly member: Member; readonly value: unknown }[] = [];
  for (const [name, value] of Object.entries(init)) {
    const member = members.get(name);
    if (member === undefined || value === undefined || value === null) continue;
    found.push({ number: member.number(value), member, value });
  }
  found.sort((a, b) => a.number - b.number);
  for (const { member, value } of found) member.write(writer, value);
}

function compile(schema: DescMessage): ReadonlyMap<string, Member> {
  const members = new Map<string, Member>();
  // Before its fields: a message may be a part of its own kind.
  membersOf.set(schema, members);
  for (const member of schema.members) members.set(member.localName, compileMember(schema, member));
  return members;
}

function compileMember(schema: DescMessage, member: DescField | DescOneof): Member {
  if (member.kind === "field") return { number: () => member.number, write: fieldWriter(schema, member) };
  const fields = new Map(member.fields.map((field) => [field.localName, { field, write: fieldWriter(schema, field) }]));
  return {
    number: (value) => fields.get(caseOf(value))?.field.number ?? 0,
    write: (writer, value) => fields.get(caseOf(value))?.write(writer, Object(value).value),
  };
}

function caseOf(value: unknown): string {
  return String(Object(value).case);
}

function fieldWriter(schema: DescMessage, field: DescField): Member["write"] {
  const one = valueWriter(field);
  if (one === undefined) return (writer, value) => writer.raw(byLibrary(schema, field, value));
  if (field.fieldKind === "list") {
    return (writer, values) => {
      if (Array.isArray(values)) for (const value of values) one(writer, value);
    };
  }
  if (field.fieldKind === "message" || field.oneof !== undefined || field.presence !== IMPLICIT) return one;
  return (writer, value) => {
    if (!isZero(value)) one(writer, value);
  };
}

function isZero(value: unknown): boolean {
  // Of numbers, minus zero is none.
  return Object.is(value, 0) || value === 0n || value === "" || value === false;
}

/** `google.protobuf.FeatureSet.FieldPresence.IMPLICIT`: the zero value counts as not set. */
const IMPLICIT = 2;

/** A field of a kind that is rare here, by itself in a message. */
function byLibrary(schema: DescMessage, { localName, oneof }: DescField, value: unknown): Uint8Array {
  const init = oneof === undefined ? { [localName]: value } : { [oneof.localName]: { case: localName, value } };
  return toBinary(schema, create(schema, init));
}

/** Writes one value with its tag; undefined for kinds that are left to the library. */
function valueWriter(field: DescField): Member["write"] | undefined {
  const { number } = field;
  if (field.fieldKind === "map") return undefined;
  const message = field.message;
  if (message !== undefined) {
    if (message.typeName === "google.protobuf.Struct" || field.delimitedEncoding) return undefined;
    // As `create` has it: a number stands for an UInt32Value, but not in a one-of or a list.
    const isUnwrapped = field.fieldKind === "message" && field.oneof === undefined && isWrapperDesc(message);
    return (writer, value) => {
      writer.tag(number, WireType.LengthDelimited).fork();
      writeMessage(writer, message, isUnwrapped ? { value } : Object(value));
      writer.join();
    };
  }
  // Numbers in lists are packed, which is a form of its own.
  if (field.fieldKind === "list" && field.packed) return undefined;
  return scalarWriter(number, field.enum, field.scalar);
}

function scalarWriter(
  number: number,
  enumeration: DescEnum | undefined,
  scalar: ScalarType | undefined,
): Member["write"] | undefined {
  if (enumeration !== undefined) return (writer, value) => writer.tag(number, WireType.Varint).int32(Number(value));
  switch (scalar) {
    case ScalarType.STRING:
      return (writer, value) => writer.tag(number, WireType.LengthDelimited).string(String(value));
    case ScalarType.BOOL:
      return (writer, value) => writer.tag(number, WireType.Varint).bool(value === true);
    case ScalarType.UINT32:
      return (writer, value) => writer.tag(number, WireType.Varint).uint32(Number(value));
    case ScalarType.INT32:
      return (writer, value) => writer.tag(number, WireType.Varint).int32(Number(value));
    case ScalarType.INT64:
      return (writer, value) => writer.tag(number, WireType.Varint).int64(BigInt(String(value)));
    case ScalarType.DOUBLE:
      return (writer, value) => writer.tag(number, WireType.Bit64).double(Number(value));
    default:
      return undefined;
  }
}
