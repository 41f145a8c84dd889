import type { MessageInitShape } from "@bufbuild/protobuf";
import { ApiVersion, type ConfigSourceSchema } from "#proto/envoy/config/core/v3/config_source_pb.js";

/** Envoy asks for it where it has everything from: on its one stream. */
export const ADS: Exclude<MessageInitShape<typeof ConfigSourceSchema>, { readonly $typeName: string }> = {
  configSourceSpecifier: { case: "ads", value: {} },
  resourceApiVersion: ApiVersion.V3,
};
