import { create, toBinary } from "@bufbuild/protobuf";
import { anyPack } from "@bufbuild/protobuf/wkt";
import { HeaderValueOption_HeaderAppendAction } from "#proto/envoy/config/core/v3/base_pb.js";
import { ApiVersion } from "#proto/envoy/config/core/v3/config_source_pb.js";
import { ListenerSchema } from "#proto/envoy/config/listener/v3/listener_pb.js";
import { LuaSchema } from "#proto/envoy/extensions/filters/http/lua/v3/lua_pb.js";
import { RouterSchema } from "#proto/envoy/extensions/filters/http/router/v3/router_pb.js";
import { HttpConnectionManagerSchema } from "#proto/envoy/extensions/filters/network/http_connection_manager/v3/http_connection_manager_pb.js";
import { HeaderMutationSchema } from "#proto/envoy/extensions/http/early_header_mutation/header_mutation/v3/header_mutation_pb.js";
import { httpScope, SCOPE_HEADER } from "./names.ts";
import type { Draft } from "./resource.ts";

export type ListenerOptions = {
  /** The address that Envoy listens on. */
  readonly address: string;
  readonly httpPort: number;
};

/** The listener of the insecure port. It depends on no object, so that no change of a host ever touches it. */
export function httpListenerDraft(options: ListenerOptions): Draft {
  return {
    type: "listener",
    name: "http",
    nameIsContent: true,
    clusters: [],
    origins: [],
    encode: () =>
      toBinary(
        ListenerSchema,
        create(ListenerSchema, {
          name: "http",
          address: socketAddress(options.address, options.httpPort),
          filterChains: [{ filters: [connectionManager("http", httpScope("%REQ(:AUTHORITY)%"))] }],
        }),
      ),
  };
}

function socketAddress(address: string, port: number) {
  const value = { address, portSpecifier: { case: "portValue" as const, value: port } };
  return { address: { case: "socketAddress" as const, value } };
}

/**
 * Routes by scope, one scope for each host. `scope` is a format that makes the scope's name out of a request; what follows
 * its first colon, the port, is cut off.
 */
function connectionManager(statPrefix: string, scope: string) {
  const ads = { configSourceSpecifier: { case: "ads" as const, value: {} }, resourceApiVersion: ApiVersion.V3 };
  const manager = create(HttpConnectionManagerSchema, {
    statPrefix,
    routeSpecifier: {
      case: "scopedRoutes",
      value: {
        name: "hosts",
        scopeKeyBuilder: {
          fragments: [
            {
              type: {
                case: "headerValueExtractor",
                value: {
                  name: SCOPE_HEADER,
                  elementSeparator: ":",
                  extractType: { case: "index", value: 0 },
                },
              },
            },
          ],
        },
        rdsConfigSource: ads,
        configSpecifier: { case: "scopedRds", value: { scopedRdsConfigSource: ads } },
      },
    },
    earlyHeaderMutationExtensions: [
      {
        name: "scope",
        typedConfig: anyPack(
          HeaderMutationSchema,
          create(HeaderMutationSchema, {
            mutations: [
              {
                action: {
                  case: "append",
                  value: {
                    header: { key: SCOPE_HEADER, value: scope },
                    // What a client sends under this name does not count.
                    appendAction: HeaderValueOption_HeaderAppendAction.OVERWRITE_IF_EXISTS_OR_ADD,
                  },
                },
              },
            ],
          }),
        ),
      },
    ],
    httpFilters: [
      {
        name: "scope",
        configType: {
          case: "typedConfig",
          value: anyPack(
            LuaSchema,
            create(LuaSchema, { defaultSourceCode: { specifier: { case: "inlineString", value: FIND_SCOPE } } }),
          ),
        },
      },
      {
        name: "router",
        configType: { case: "typedConfig", value: anyPack(RouterSchema, create(RouterSchema)) },
      },
    ],
    // Delegation is decided by path, so a path must mean the same to Envoy, to compile and to the backend.
    normalizePath: true,
    stripTrailingHostDot: true,
    useRemoteAddress: true,
    httpProtocolOptions: { acceptHttp10: true },
  });
  return {
    name: "http_connection_manager",
    configType: { case: "typedConfig" as const, value: anyPack(HttpConnectionManagerSchema, manager) },
  };
}

/**
 * Scopes are selected by exact bytes before any filter runs, and Envoy cannot fold case there. A request that found no route
 * (all routes have names, and each host ends in one for everything) is looked up again in lower case, and after that in the
 * catch-all scope. The call to metadata() makes Envoy look the route up.
 */
const FIND_SCOPE = `
function envoy_on_request(handle)
  local function routed()
    local name = handle:streamInfo():routeName()
    return name ~= nil and name ~= ""
  end
  local function try(scope)
    handle:headers():replace("${SCOPE_HEADER}", scope)
    handle:clearRouteCache()
    handle:metadata():get("")
    return routed()
  end
  if routed() then return end
  local scope = handle:headers():get("${SCOPE_HEADER}")
  if scope == nil then return end
  local folded = string.lower(scope)
  if folded ~= scope and try(folded) then return end
  try(string.sub(scope, 1, 2) .. "*")
end
`;
