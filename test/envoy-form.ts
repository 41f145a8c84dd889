import { createRegistry, type DescMessage, fromBinary, toJson } from "@bufbuild/protobuf";
import { ClusterSchema } from "#proto/envoy/config/cluster/v3/cluster_pb.js";
import { ClusterLoadAssignmentSchema } from "#proto/envoy/config/endpoint/v3/endpoint_pb.js";
import { ListenerSchema } from "#proto/envoy/config/listener/v3/listener_pb.js";
import { ScopedRouteConfigurationSchema } from "#proto/envoy/config/route/v3/scoped_route_pb.js";
import { LuaSchema } from "#proto/envoy/extensions/filters/http/lua/v3/lua_pb.js";
import { RouterSchema } from "#proto/envoy/extensions/filters/http/router/v3/router_pb.js";
import { HttpConnectionManagerSchema } from "#proto/envoy/extensions/filters/network/http_connection_manager/v3/http_connection_manager_pb.js";
import { HeaderMutationSchema } from "#proto/envoy/extensions/http/early_header_mutation/header_mutation/v3/header_mutation_pb.js";
import { SecretSchema } from "#proto/envoy/extensions/transport_sockets/tls/v3/secret_pb.js";
import type { Resource, ResourceType } from "../src/envoy/resource.ts";

const SCHEMAS: Readonly<Record<ResourceType, DescMessage>> = {
  cluster: ClusterSchema,
  loadAssignment: ClusterLoadAssignmentSchema,
  listener: ListenerSchema,
  scopedRoute: ScopedRouteConfigurationSchema,
  secret: SecretSchema,
};

const registry = createRegistry(
  ...Object.values(SCHEMAS),
  HttpConnectionManagerSchema,
  HeaderMutationSchema,
  LuaSchema,
  RouterSchema,
);

/** The resources as Envoy's own JSON (and YAML) has them, by type. Throws for bytes that are no such message. */
export function envoyForm(resources: readonly Resource[]): unknown {
  return Object.fromEntries(
    (["cluster", "loadAssignment", "scopedRoute", "listener", "secret"] as const).flatMap((type) => {
      const ofType = resources.filter((resource) => resource.type === type);
      return ofType.length === 0 ? [] : [[type, ofType.map(({ body }) => messageForm(type, body))]];
    }),
  );
}

function messageForm(type: ResourceType, body: Uint8Array): unknown {
  const schema = SCHEMAS[type];
  return toJson(schema, fromBinary(schema, body), { registry, useProtoFieldName: true });
}
