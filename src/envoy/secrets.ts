import { create, fromBinary, toBinary } from "@bufbuild/protobuf";
import { SecretSchema } from "#proto/envoy/extensions/transport_sockets/tls/v3/secret_pb.js";
import type * as ir from "../ir/ir.ts";
import type { Draft } from "./resource.ts";

/** The certificate of a host, under the host's name: that is what Envoy asks for when a client names the host. */
export function certificateDraft({ name, objects }: ir.Host, { chainPem, keyPem }: ir.Certificate): Draft {
  return {
    type: "secret",
    name,
    nameIsContent: false,
    clusters: [],
    origins: objects,
    encode: () => {
      const secret = create(SecretSchema, {
        name,
        type: {
          case: "tlsCertificate",
          value: { certificateChain: inline(chainPem), privateKey: inline(keyPem.reveal()) },
        },
      });
      return toBinary(SecretSchema, secret);
    },
  };
}

function inline(value: string): { readonly specifier: { readonly case: "inlineString"; readonly value: string } } {
  return { specifier: { case: "inlineString", value } };
}

/** The same secret under another name: Envoy takes a secret only under the name that it asked for. */
export function renameSecret(body: Uint8Array, name: string): Uint8Array {
  return toBinary(SecretSchema, { ...fromBinary(SecretSchema, body), name });
}
