/** Identity of one Kubernetes object, `Kind/namespace/name`. Only {@link objectKey} makes one. */
export type ObjectKey = string & { readonly __brand: "ObjectKey" };

export function objectKey(kind: string, namespace: string, name: string): ObjectKey {
  // A template would keep its parts, tied together, for as long as the key is kept.
  return [kind, namespace, name].join("/") as ObjectKey;
}

export function namespaceOf(key: string): string {
  return key.split("/")[1] ?? "";
}

/** `namespace/name`, for words that people read. */
export function shortName(key: ObjectKey): string {
  return key.slice(key.indexOf("/") + 1);
}
