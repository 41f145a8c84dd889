/** The path of a resource in the API. Without a name it is that of all objects of the kind: in the namespace, or anywhere. */
export function resourcePath(resource: {
  /** Such as `v1` or `coordination.k8s.io/v1`. */
  readonly apiVersion: string;
  readonly plural: string;
  readonly namespace?: string | undefined;
  readonly name?: string | undefined;
  readonly subresource?: "status";
}): string {
  const { apiVersion, plural, namespace, name, subresource } = resource;
  const parts = [apiVersion.includes("/") ? "/apis" : "/api", apiVersion];
  if (namespace) parts.push("namespaces", encodeURIComponent(namespace));
  parts.push(plural);
  if (name !== undefined) parts.push(encodeURIComponent(name));
  if (subresource !== undefined) parts.push(subresource);
  return parts.join("/");
}
