import { BinaryReader, WireType } from "@bufbuild/protobuf/wire";
import { ProtoWriter, sizeOfField, sizeOfText } from "./proto-writer.ts";
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

/** A resource as it goes into a response. */
export type EncodedResource = { readonly name: string; readonly version: string; readonly body: Uint8Array };

/** How many bytes it takes in a response. */
export function sizeOfResource(type: ResourceType, resource: EncodedResource): number {
  return sizeOfField(sizesOf(type, resource).message);
}

/**
 * A DeltaDiscoveryResponse. It is written into one piece of memory at once: at the start a single one holds all scopes, and
 * what is wrapped around each of them is neither kept nor copied together from pieces.
 */
export function encodeResponse(
  type: ResourceType,
  nonce: string,
  resources: readonly EncodedResource[],
  removed: readonly string[],
): Buffer {
  let size = sizeOfText(TYPE_URLS[type]) + sizeOfText(nonce);
  for (const resource of resources) size += sizeOfResource(type, resource);
  for (const name of removed) size += sizeOfText(name);
  const writer = new ProtoWriter(size);
  for (const resource of resources) writeResource(writer, type, resource);
  writer.text(4, TYPE_URLS[type]);
  writer.text(5, nonce);
  for (const name of removed) writer.text(6, name);
  return writer.finish();
}

function sizesOf(type: ResourceType, { name, version, body }: EncodedResource) {
  const any = sizeOfText(TYPE_URLS[type]) + sizeOfField(body.length);
  return { any, message: sizeOfText(version) + sizeOfField(any) + sizeOfText(name) };
}

function writeResource(writer: ProtoWriter, type: ResourceType, resource: EncodedResource): void {
  const { any, message } = sizesOf(type, resource);
  writer.begin(2, message);
  writer.text(1, resource.version);
  writer.begin(2, any);
  writer.text(1, TYPE_URLS[type]);
  writer.bytes(2, resource.body);
  writer.text(3, resource.name);
}

/** A ClusterLoadAssignment without endpoints: Envoy then answers 503 at once instead of waiting for one. */
export function emptyLoadAssignment(name: string): Uint8Array {
  const writer = new ProtoWriter(sizeOfText(name));
  writer.text(1, name);
  return writer.finish();
}
