import { fromBinary } from "@bufbuild/protobuf";
import { BinaryWriter, WireType } from "@bufbuild/protobuf/wire";
import { DeltaDiscoveryRequestSchema } from "#proto/envoy/service/discovery/v3/discovery_pb.js";
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

/** Throws for bytes that are not a DeltaDiscoveryRequest. */
export function decodeRequest(bytes: Uint8Array): DeltaRequest {
  const request = fromBinary(DeltaDiscoveryRequestSchema, bytes);
  return {
    typeUrl: request.typeUrl,
    ...(request.node === undefined ? {} : { nodeId: request.node.id }),
    subscribe: request.resourceNamesSubscribe,
    unsubscribe: request.resourceNamesUnsubscribe,
    initialVersions: Object.entries(request.initialResourceVersions),
    nonce: request.responseNonce,
    ...(request.errorDetail === undefined ? {} : { error: request.errorDetail.message }),
  };
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
