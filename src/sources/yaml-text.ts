import { stringify } from "yaml";

/** Plain data as YAML, in the version that Envoy and kubectl read: words such as `yes` are put in quotes. */
export function toYaml(value: unknown): string {
  return stringify(value, { version: "1.1", lineWidth: 0, aliasDuplicateObjects: false });
}
