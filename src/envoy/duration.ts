/** A `google.protobuf.Duration`. Zero stands for no limit in most of Envoy's fields. */
export function duration(ms: number): { readonly seconds: bigint; readonly nanos: number } {
  const seconds = Math.floor(ms / 1000);
  return { seconds: BigInt(seconds), nanos: Math.round((ms - seconds * 1000) * 1e6) };
}
