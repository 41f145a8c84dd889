import { create, type MessageInitShape, toBinary } from "@bufbuild/protobuf";
import type { RouteSchema } from "#proto/envoy/config/route/v3/route_components_pb.js";
import { ScopedRouteConfigurationSchema } from "#proto/envoy/config/route/v3/scoped_route_pb.js";
import type * as ir from "../ir/ir.ts";
import { clusterDraft, unavailableClusterDraft } from "./clusters.ts";
import { clusterName, httpScope, NO_ROUTE, routeName, SCOPE_HEADER, UNAVAILABLE_CLUSTER } from "./names.ts";
import type { Digest, Draft } from "./resource.ts";

type RouteInit = Exclude<MessageInitShape<typeof RouteSchema>, { $typeName: string }>;

/** Everything that Envoy needs in order to serve one host: its scope and the clusters that its routes lead to. */
export function hostDrafts(host: ir.Host, digest: Digest): readonly Draft[] {
  const clusters = new Map<string, Draft>();
  const nameOf = (cluster: ir.Cluster | undefined): string => {
    const name = cluster === undefined ? UNAVAILABLE_CLUSTER : clusterName(cluster, digest);
    if (!clusters.has(name)) {
      clusters.set(name, cluster === undefined ? unavailableClusterDraft() : clusterDraft(name, cluster));
    }
    return name;
  };
  const routes = [...host.routes.flatMap((route) => routeMessages(route, nameOf)), notFound()];
  const name = httpScope(host.name);
  const scope: Draft = {
    type: "scopedRoute",
    name,
    nameIsContent: false,
    clusters: [...clusters.keys()].sort(),
    origins: host.objects,
    encode: () => encodeScope(name, routes),
  };
  return [...clusters.values(), scope];
}

function encodeScope(name: string, routes: readonly RouteInit[]): Uint8Array {
  const message = create(ScopedRouteConfigurationSchema, {
    name,
    key: { fragments: [{ type: { case: "stringKey", value: name } }] },
    routeConfiguration: {
      name,
      // The scope has selected the host already, in whatever case and with whatever port it was asked for.
      virtualHosts: [{ name, domains: ["*"], routes: [...routes] }],
      requestHeadersToRemove: [SCOPE_HEADER],
      // Otherwise Envoy refuses the whole host for one cluster that it refused before.
      validateClusters: false,
    },
  });
  return toBinary(ScopedRouteConfigurationSchema, message);
}

/** A route with a rewrite needs two of Envoy's: one for the prefix itself and one for what lies below it. */
function routeMessages(route: ir.Route, nameOf: (cluster: ir.Cluster | undefined) => string): readonly RouteInit[] {
  const name = routeName(route.origin);
  const { path } = route.match;
  const match: NonNullable<RouteInit["match"]> =
    path === "/"
      ? { pathSpecifier: { case: "prefix", value: "/" } }
      : { pathSpecifier: { case: "pathSeparatedPrefix", value: path } };
  switch (route.action.kind) {
    case "unavailable":
      return [{ name, match, action: { case: "directResponse", value: { status: 503 } } }];
    case "forward": {
      const target = forwardTo(route.action.shares, nameOf);
      const { prefixRewrite } = route.action;
      if (prefixRewrite === undefined) return [{ name, match, action: { case: "route", value: target } }];
      // The slash that follows the prefix belongs to the rest: it is neither doubled nor lost.
      const below = withSlash(path);
      return [
        {
          name,
          match: { pathSpecifier: { case: "path", value: path } },
          action: { case: "route", value: { ...target, prefixRewrite } },
        },
        {
          name,
          match: { pathSpecifier: { case: "prefix", value: below } },
          action: { case: "route", value: { ...target, prefixRewrite: withSlash(prefixRewrite) } },
        },
      ];
    }
  }
}

type RouteAction = Extract<NonNullable<RouteInit["action"]>, { case: "route" }>["value"];

function forwardTo(
  shares: readonly ir.Share[],
  nameOf: (cluster: ir.Cluster | undefined) => string,
): Exclude<RouteAction, { $typeName: string }> {
  const [only, ...others] = shares;
  if (only !== undefined && others.length === 0) {
    return { clusterSpecifier: { case: "cluster", value: nameOf(only.cluster) } };
  }
  const clusters = shares.map(({ weight, cluster }) => ({ name: nameOf(cluster), weight }));
  return { clusterSpecifier: { case: "weightedClusters", value: { clusters } } };
}

function withSlash(path: string): string {
  return path.endsWith("/") ? path : `${path}/`;
}

/** Named, because a request that no named route takes is looked up again elsewhere: see the listener's filter. */
function notFound(): RouteInit {
  return {
    name: NO_ROUTE,
    match: { pathSpecifier: { case: "prefix", value: "" } },
    action: { case: "directResponse", value: { status: 404 } },
  };
}
