import { create, fromBinary, toBinary } from "@bufbuild/protobuf";
import { BinaryWriter, WireType } from "@bufbuild/protobuf/wire";
import fc from "fast-check";
import { describe, expect, test } from "vitest";
import {
  DeltaDiscoveryRequestSchema,
  DeltaDiscoveryResponseSchema,
} from "#proto/envoy/service/discovery/v3/discovery_pb.js";
import { TYPE_URLS } from "../../src/xds/type-urls.ts";
import { type DeltaRequest, decodeRequest, encodeResponse, sizeOfResource } from "../../src/xds/wire.ts";

/** As the generated code reads it. */
function expected(bytes: Uint8Array): DeltaRequest {
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

describe("a request", () => {
  // The generated code drops a byte order mark at the beginning.
  const text = fc.string({ unit: "binary" }).filter((each) => !each.startsWith("\ufeff"));
  const names = fc.array(text, { maxLength: 5 });
  // The generated code puts whole numbers first.
  const name = text.filter((each) => !/^\d+$/.test(each));

  test("is read as the generated code reads it", () => {
    const request = fc.record({
      typeUrl: text,
      node: fc.option(fc.record({ id: text, cluster: text }), { nil: undefined }),
      resourceNamesSubscribe: names,
      resourceNamesUnsubscribe: names,
      initialResourceVersions: fc.dictionary(name, text, { noNullPrototype: true }),
      responseNonce: text,
      errorDetail: fc.option(fc.record({ code: fc.integer(), message: text }), { nil: undefined }),
    });
    fc.assert(
      fc.property(request, ({ node, errorDetail, ...rest }) => {
        const message = create(DeltaDiscoveryRequestSchema, {
          ...rest,
          ...(node === undefined ? {} : { node }),
          ...(errorDetail === undefined ? {} : { errorDetail }),
        });
        const bytes = toBinary(DeltaDiscoveryRequestSchema, message);
        expect(decodeRequest(bytes)).toEqual(expected(bytes));
      }),
    );
  });

  const NO_TEXT = Uint8Array.from([0x61, 0xff, 0x62]);

  test("keeps its other names when some are no text", () => {
    const map = new BinaryWriter().tag(1, WireType.LengthDelimited).bytes(NO_TEXT).finish();
    const held = new BinaryWriter().tag(1, WireType.LengthDelimited).string("b").finish();
    const bytes = new BinaryWriter()
      .tag(2, WireType.LengthDelimited)
      .string(TYPE_URLS.secret)
      .tag(3, WireType.LengthDelimited)
      .bytes(NO_TEXT)
      .tag(3, WireType.LengthDelimited)
      .string("a")
      .tag(4, WireType.LengthDelimited)
      .bytes(NO_TEXT)
      .tag(5, WireType.LengthDelimited)
      .bytes(map)
      .tag(5, WireType.LengthDelimited)
      .bytes(held)
      .finish();
    expect(decodeRequest(bytes)).toEqual({
      typeUrl: TYPE_URLS.secret,
      subscribe: ["a"],
      unsubscribe: [],
      initialVersions: [["b", ""]],
      nonce: "",
    });
  });

  test("is a refusal whatever Envoy says in it", () => {
    const status = new BinaryWriter().tag(2, WireType.LengthDelimited).bytes(NO_TEXT).finish();
    const bytes = new BinaryWriter().tag(7, WireType.LengthDelimited).bytes(status).finish();
    expect(decodeRequest(bytes).error).toBe("a\ufffdb");
  });
});

describe("a response", () => {
  const text = fc.string({ unit: "binary", minLength: 1, maxLength: 300 });
  const resource = fc.record({ name: text, version: text, body: fc.uint8Array({ minLength: 1, maxLength: 20_000 }) });

  test("is what the generated code writes", () => {
    fc.assert(
      fc.property(fc.array(resource), fc.array(text), text, (resources, removed, nonce) => {
        const typeUrl = TYPE_URLS.secret;
        const message = create(DeltaDiscoveryResponseSchema, {
          resources: resources.map(({ name, version, body }) => ({
            name,
            version,
            resource: { typeUrl, value: body },
          })),
          typeUrl,
          nonce,
          removedResources: removed,
        });
        const bytes = encodeResponse("secret", nonce, resources, removed);
        expect(bytes.equals(toBinary(DeltaDiscoveryResponseSchema, message))).toBe(true);
      }),
    );
  });

  test("grows with each resource by its size", () => {
    const one = { name: "a", version: "1", body: new Uint8Array(200) };
    const sizes = [[], [one], [one, one]].map((resources) => encodeResponse("cluster", "1", resources, []).length);
    const size = sizeOfResource("cluster", one);
    expect(sizes).toEqual([sizes[0], (sizes[0] ?? 0) + size, (sizes[0] ?? 0) + 2 * size]);
  });
});
