import { fromBinary, toBinary } from "@bufbuild/protobuf";
import { SecretSchema } from "#proto/envoy/extensions/transport_sockets/tls/v3/secret_pb.js";

/** The same secret under another name: Envoy takes a secret only under the name that it asked for. */
export function renameSecret(body: Uint8Array, name: string): Uint8Array {
  return toBinary(SecretSchema, { ...fromBinary(SecretSchema, body), name });
}
