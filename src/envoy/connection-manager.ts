import { HeaderValueOption_HeaderAppendAction } from "#proto/envoy/config/core/v3/base_pb.js";
import { RouterSchema } from "#proto/envoy/extensions/filters/http/router/v3/router_pb.js";
import { HttpConnectionManagerSchema } from "#proto/envoy/extensions/filters/network/http_connection_manager/v3/http_connection_manager_pb.js";
import { HeaderMutationSchema } from "#proto/envoy/extensions/http/early_header_mutation/header_mutation/v3/header_mutation_pb.js";
import { accessLog } from "./access-log.ts";
import { ADS } from "./ads.ts";
import { edgeManager, removeForgeries } from "./edge.ts";
import { extension, type Filter, filter } from "./extension.ts";
import { httpScope, httpsScope, SCOPE_HEADER, WEBSOCKET } from "./names.ts";
import { scopeFilters } from "./scope-filters.ts";

export type ConnectionManagerOptions = {
  /** Whether Envoy writes a line for each request. */
  readonly accessLog: boolean;
  /** How many proxies in front of Envoy are believed in what they say of clients. */
  readonly trustedHops: number;
};

/** Serves requests of the insecure port: the client says in the request which host it wants. */
export function httpConnectionManager(options: ConnectionManagerOptions): Filter {
  return connectionManager("http", httpScope("%REQ(:AUTHORITY)%"), true, options);
}

/** Serves requests of the secure port, by the server name that the connection was made for, which Envoy has in lower case. */
export function httpsConnectionManager(options: ConnectionManagerOptions): Filter {
  const scope = `${httpsScope("%REQUESTED_SERVER_NAME%")}:%DOWNSTREAM_TLS_VERSION%`;
  return connectionManager("https", scope, false, options);
}

/**
 * Routes by scope, one scope for each host. `scope` is a format that makes the scope's name out of a request; what follows
 * its first colon, the port or the version of TLS, is cut off.
 */
function connectionManager(
  statPrefix: string,
  scope: string,
  isWrittenByClients: boolean,
  options: ConnectionManagerOptions,
): Filter {
  return filter("http_connection_manager", HttpConnectionManagerSchema, {
    ...edgeManager(options.trustedHops),
    statPrefix,
    accessLog: accessLog(options.accessLog),
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
        rdsConfigSource: ADS,
        configSpecifier: { case: "scopedRds", value: { scopedRdsConfigSource: ADS } },
      },
    },
    // Routes that forward say if they do not let them through; those that answer themselves cannot say anything.
    upgradeConfigs: [{ upgradeType: WEBSOCKET }],
    earlyHeaderMutationExtensions: [
      extension("scope", HeaderMutationSchema, {
        mutations: [
          ...removeForgeries(options.trustedHops),
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
    ],
    httpFilters: [...scopeFilters(isWrittenByClients), filter("router", RouterSchema)],
  });
}
