import { create, type DescMessage, type MessageInitShape } from "@bufbuild/protobuf";
import { type Any, anyPack } from "@bufbuild/protobuf/wkt";

/** A filter, a transport socket or an access log, in the form that messages hold it in. */
export type Filter = {
  readonly name: string;
  readonly configType: { readonly case: "typedConfig"; readonly value: Any };
};

export function filter<Schema extends DescMessage>(
  name: string,
  schema: Schema,
  config?: MessageInitShape<Schema>,
): Filter {
  return { name, configType: { case: "typedConfig", value: anyPack(schema, create(schema, config)) } };
}

/** Any other part of Envoy that is chosen by the type of its configuration. */
export type Extension = { readonly name: string; readonly typedConfig: Any };

export function extension<Schema extends DescMessage>(
  name: string,
  schema: Schema,
  config?: MessageInitShape<Schema>,
): Extension {
  return { name, typedConfig: anyPack(schema, create(schema, config)) };
}
