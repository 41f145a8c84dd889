/** The types we serve, in the order in which an Envoy must get them. */
export const RESOURCE_TYPES = ["cluster", "loadAssignment", "listener", "scopedRoute", "secret"] as const;

export type ResourceType = (typeof RESOURCE_TYPES)[number];

export const TYPE_URLS: Readonly<Record<ResourceType, string>> = {
  cluster: "type.googleapis.com/envoy.config.cluster.v3.Cluster",
  loadAssignment: "type.googleapis.com/envoy.config.endpoint.v3.ClusterLoadAssignment",
  listener: "type.googleapis.com/envoy.config.listener.v3.Listener",
  scopedRoute: "type.googleapis.com/envoy.config.route.v3.ScopedRouteConfiguration",
  secret: "type.googleapis.com/envoy.extensions.transport_sockets.tls.v3.Secret",
};

const TYPES: ReadonlyMap<string, ResourceType> = new Map(RESOURCE_TYPES.map((type) => [TYPE_URLS[type], type]));

/** Undefined for a type we do not serve. */
export function resourceType(typeUrl: string): ResourceType | undefined {
  return TYPES.get(typeUrl);
}

/** Envoy wants all resources of these types; of the others it asks for each by name. */
export function isWildcard(type: ResourceType): boolean {
  return type === "cluster" || type === "listener" || type === "scopedRoute";
}

/** The types whose resources lead to clusters. */
export type UserType = "listener" | "scopedRoute";

export function isUserType(type: ResourceType): type is UserType {
  return type === "listener" || type === "scopedRoute";
}
