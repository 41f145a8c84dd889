/** Identity of one Kubernetes object, `Kind/namespace/name`. Only {@link objectKey} makes one. */
export type ObjectKey = string & { readonly __brand: "ObjectKey" };

export function objectKey(kind: string, namespace: string, name: string): ObjectKey {
  return `${kind}/${namespace}/${name}` as ObjectKey;
}

/** `namespace/name`, for words that people read. */
export function shortName(key: ObjectKey): string {
  return key.slice(key.indexOf("/") + 1);
}
