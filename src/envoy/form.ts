import { createRegistry, type DescMessage, fromBinary, type JsonValue, toJson } from "@bufbuild/protobuf";
import { StringValueSchema } from "@bufbuild/protobuf/wkt";
import { ClusterSchema } from "#proto/envoy/config/cluster/v3/cluster_pb.js";
import { ClusterLoadAssignmentSchema } from "#proto/envoy/config/endpoint/v3/endpoint_pb.js";
import { ListenerSchema } from "#proto/envoy/config/listener/v3/listener_pb.js";
import { ScopedRouteConfigurationSchema } from "#proto/envoy/config/route/v3/scoped_route_pb.js";
import { StdoutAccessLogSchema } from "#proto/envoy/extensions/access_loggers/stream/v3/stream_pb.js";
import { ExtensionWithMatcherSchema } from "#proto/envoy/extensions/common/matching/v3/extension_matcher_pb.js";
import { SkipFilterSchema } from "#proto/envoy/extensions/filters/common/matcher/action/v3/skip_action_pb.js";
import { LuaSchema } from "#proto/envoy/extensions/filters/http/lua/v3/lua_pb.js";
import { RouterSchema } from "#proto/envoy/extensions/filters/http/router/v3/router_pb.js";
import { TlsInspectorSchema } from "#proto/envoy/extensions/filters/listener/tls_inspector/v3/tls_inspector_pb.js";
import { HttpConnectionManagerSchema } from "#proto/envoy/extensions/filters/network/http_connection_manager/v3/http_connection_manager_pb.js";
import { TcpProxySchema } from "#proto/envoy/extensions/filters/network/tcp_proxy/v3/tcp_proxy_pb.js";
import { HeaderMutationSchema } from "#proto/envoy/extensions/http/early_header_mutation/header_mutation/v3/header_mutation_pb.js";
import { ServerNameInputSchema } from "#proto/envoy/extensions/matching/common_inputs/network/v3/network_inputs_pb.js";
import { SNISchema } from "#proto/envoy/extensions/transport_sockets/tls/cert_mappers/sni/v3/sni_pb.js";
import { ConfigSchema as OnDemandSecretSchema } from "#proto/envoy/extensions/transport_sockets/tls/cert_selectors/on_demand_secret/v3/config_pb.js";
import {
  DownstreamTlsContextSchema,
  UpstreamTlsContextSchema,
} from "#proto/envoy/extensions/transport_sockets/tls/v3/tls_pb.js";
import { HttpProtocolOptionsSchema } from "#proto/envoy/extensions/upstreams/http/v3/http_protocol_options_pb.js";
import { HttpRequestHeaderMatchInputSchema } from "#proto/envoy/type/matcher/v3/http_inputs_pb.js";
import type { Resource, ResourceType } from "./resource.ts";

/** The types that can be shown, in the order in which an Envoy gets them. Secrets are not among them: they hold keys. */
const SHOWN = ["cluster", "loadAssignment", "listener", "scopedRoute"] as const satisfies readonly ResourceType[];

const SCHEMAS: Readonly<Record<(typeof SHOWN)[number], DescMessage>> = {
  cluster: ClusterSchema,
  loadAssignment: ClusterLoadAssignmentSchema,
  listener: ListenerSchema,
  scopedRoute: ScopedRouteConfigurationSchema,
};

/** The messages, and what they may hold wrapped in an Any. */
const registry = createRegistry(
  ...Object.values(SCHEMAS),
  HttpConnectionManagerSchema,
  HeaderMutationSchema,
  LuaSchema,
  ExtensionWithMatcherSchema,
  HttpRequestHeaderMatchInputSchema,
  SkipFilterSchema,
  RouterSchema,
  HttpProtocolOptionsSchema,
  UpstreamTlsContextSchema,
  DownstreamTlsContextSchema,
  OnDemandSecretSchema,
  SNISchema,
  TlsInspectorSchema,
  TcpProxySchema,
  ServerNameInputSchema,
  StringValueSchema,
  StdoutAccessLogSchema,
);

/** Resources as Envoy's own JSON and YAML have them, by type, in the order given. */
export function envoyForm(resources: readonly Resource[]): Readonly<Record<string, readonly JsonValue[]>> {
  return Object.fromEntries(
    SHOWN.flatMap((type) => {
      const messages = resources.filter((resource) => resource.type === type);
      return messages.length === 0 ? [] : [[type, messages.map(({ body }) => messageForm(SCHEMAS[type], body))]];
    }),
  );
}

function messageForm(schema: DescMessage, body: Uint8Array): JsonValue {
  return typeFirst(toJson(schema, fromBinary(schema, body), { registry, useProtoFieldName: true }));
}

/** What type it is of is the first thing to know of an extension's configuration. */
function typeFirst(value: JsonValue): JsonValue {
  if (Array.isArray(value)) return value.map(typeFirst);
  if (typeof value !== "object" || value === null) return value;
  const fields = Object.entries(value).map(([key, field]): [string, JsonValue] => [key, typeFirst(field)]);
  return Object.fromEntries([
    ...fields.filter(([key]) => key === "@type"),
    ...fields.filter(([key]) => key !== "@type"),
  ]);
}
