import { BinaryReader, BinaryWriter, WireType } from "@bufbuild/protobuf/wire";
import { type ResourceType, TYPE_URLS } from "./type-urls.ts";

/** What we read of a DeltaDiscoveryRequest. */
export type DeltaRequest = {
  readonly typeUrl: string;
  /** Only in the first request of a stream. */
  readonly nodeId?: string;
  readonly subscribe: readonly string[];
  readonly unsubscribe: readonly string[];
  /** Name and version of what a reconnecting Envoy still holds. */
  readonly initialVersions: readonly (readonly [name: string, version: string])[];
  /** Of the response that this request answers; empty when it answers none. */
  readonly nonce: string;
  /** Envoy's words when it refuses that response. */
  readonly error?: string;
};

/**
 * Throws for bytes that are not a DeltaDiscoveryRequest. Read by hand, because the names in it can be those that clients made
 * up: one that is no text must not end the stream of the Envoy that passes it on.
 */
export function decodeRequest(bytes: Uint8Array): DeltaRequest {
  let [typeUrl, nonce] = ["", ""];
  let nodeId: string | undefined;
  let error: string | undefined;
  const subscribe: string[] = [];
  const unsubscribe: string[] = [];
  const initialVersions: (readonly [name: string, version: string])[] = [];
  for (const [field, value] of messageFields(bytes)) {
    switch (field) {
      case REQUEST.node:
        nodeId = textOf(fieldOf(value, NODE_ID));
        break;
      case REQUEST.typeUrl:
        typeUrl = textOf(value);
        break;
      case REQUEST.subscribe:
        subscribe.push(...nameOf(value));
        break;
      case REQUEST.unsubscribe:
        unsubscribe.push(...nameOf(value));
        break;
      case REQUEST.initialVersions:
        for (const name of nameOf(fieldOf(value, MAP_KEY)))
          initialVersions.push([name, textOf(fieldOf(value, MAP_VALUE))]);
        break;
      case REQUEST.nonce:
        nonce = textOf(value);
        break;
      case REQUEST.error:
        error = textOf(fieldOf(value, STATUS_MESSAGE));
        break;
    }
  }
  return {
    typeUrl,
    ...(nodeId === undefined ? {} : { nodeId }),
    subscribe,
    unsubscribe,
    initialVersions,
    nonce,
    ...(error === undefined ? {} : { error }),
  };
}

/** Numbers of the fields of a DeltaDiscoveryRequest, and of what we read inside of them. */
const REQUEST = { node: 1, typeUrl: 2, subscribe: 3, unsubscribe: 4, initialVersions: 5, nonce: 6, error: 7 } as const;
const NODE_ID = 1;
const STATUS_MESSAGE = 2;
const MAP_KEY = 1;
const MAP_VALUE = 2;

/** The strings and messages in a message, by the numbers of their fields. */
function* messageFields(bytes: Uint8Array): Generator<readonly [field: number, value: Uint8Array]> {
  const reader = new BinaryReader(bytes);
  while (reader.pos < reader.len) {
    const [field, wireType] = reader.tag();
    if (wireType === WireType.LengthDelimited) yield [field, reader.bytes()];
    else reader.skip(wireType, field);
  }
}

/** The last one counts; empty when there is none. */
function fieldOf(message: Uint8Array, wanted: number): Uint8Array {
  let found: Uint8Array = new Uint8Array();
  for (const [field, value] of messageFields(message)) if (field === wanted) found = value;
  return found;
}

const lenient = new TextDecoder();
const strict = new TextDecoder("utf-8", { fatal: true, ignoreBOM: true });

function textOf(bytes: Uint8Array): string {
  return lenient.decode(bytes);
}

/** Nothing of ours has a name that is no text, and there is no response that Envoy could read in which it would stand. */
function nameOf(bytes: Uint8Array): readonly [] | readonly [string] {
  try {
    return [strict.decode(bytes)];
  } catch (error) {
    if (error instanceof TypeError) return [];
    throw error;
  }
}

/**
 * One `resources` field of a DeltaDiscoveryResponse, tag and length included, so that a response is a mere
 * concatenation and one encoding serves every stream.
 */
export function encodeResource(type: ResourceType, name: string, version: string, body: Uint8Array): Uint8Array {
  return new BinaryWriter()
    .tag(2, WireType.LengthDelimited)
    .fork()
    .tag(1, WireType.LengthDelimited)
    .string(version)
    .tag(2, WireType.LengthDelimited)
    .fork()
    .tag(1, WireType.LengthDelimited)
    .string(TYPE_URLS[type])
    .tag(2, WireType.LengthDelimited)
    .bytes(body)
    .join()
    .tag(3, WireType.LengthDelimited)
    .string(name)
    .join()
    .finish();
}

/** A DeltaDiscoveryResponse. `resources` are results of {@link encodeResource}. */
export function encodeResponse(
  type: ResourceType,
  nonce: string,
  resources: readonly Uint8Array[],
  removed: readonly string[],
): Buffer {
  const rest = new BinaryWriter();
  rest.tag(4, WireType.LengthDelimited).string(TYPE_URLS[type]);
  rest.tag(5, WireType.LengthDelimited).string(nonce);
  for (const name of removed) rest.tag(6, WireType.LengthDelimited).string(name);
  return Buffer.concat([...resources, rest.finish()]);
}

/** A ClusterLoadAssignment without endpoints: Envoy then answers 503 at once instead of waiting for one. */
export function emptyLoadAssignment(name: string): Uint8Array {
  return new BinaryWriter().tag(1, WireType.LengthDelimited).string(name).finish();
}
