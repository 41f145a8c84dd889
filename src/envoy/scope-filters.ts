import { ExtensionWithMatcherSchema } from "#proto/envoy/extensions/common/matching/v3/extension_matcher_pb.js";
import { SkipFilterSchema } from "#proto/envoy/extensions/filters/common/matcher/action/v3/skip_action_pb.js";
import { LuaSchema } from "#proto/envoy/extensions/filters/http/lua/v3/lua_pb.js";
import { HttpRequestHeaderMatchInputSchema } from "#proto/envoy/type/matcher/v3/http_inputs_pb.js";
import { extension, type Filter, filter } from "./extension.ts";
import {
  ANSWERS_WEBSOCKETS,
  AUTHORITY,
  httpScope,
  httpsScope,
  MISDIRECTED,
  NO_ROUTE,
  REDIRECTS_TO_HOST,
  SCOPE_HEADER,
  WEBSOCKET,
} from "./names.ts";

/**
 * The filters that stand before the router and see to it that a request has the route it should have. Envoy has looked for a
 * scope by exact bytes before the first of them. Scopes that clients write, in any case, are to be folded.
 */
export function scopeFilters(isWrittenByClients: boolean): readonly Filter[] {
  return [
    luaUnless(":authority", AUTHORITY, "authority", REFUSE),
    // Only for requests whose scope is not in lower case: the others are not to pay for it.
    ...(isWrittenByClients ? [luaUnless(SCOPE_HEADER, "[^A-Z:]*(:.*)?", "fold", FOLD_SCOPE)] : []),
    lua("scope", FIND_SCOPE),
    lua("scope_again", `LAST = true\n${FIND_SCOPE}`),
  ];
}

function lua(name: string, code: string): Filter {
  return filter(name, LuaSchema, luaConfig(code));
}

function luaConfig(code: string) {
  return { defaultSourceCode: { specifier: { case: "inlineString" as const, value: code } } };
}

/** Requests with a header that the regular expression matches as a whole pass by the filter, at little cost. */
function luaUnless(headerName: string, regex: string, name: string, code: string): Filter {
  const matchPattern = {
    case: "safeRegex" as const,
    value: { regex, engineType: { case: "googleRe2" as const, value: {} } },
  };
  const isSpared = {
    input: extension("header", HttpRequestHeaderMatchInputSchema, { headerName }),
    matcher: { case: "valueMatch" as const, value: { matchPattern } },
  };
  return filter(name, ExtensionWithMatcherSchema, {
    extensionConfig: extension(name, LuaSchema, luaConfig(code)),
    xdsMatcher: {
      matcherType: {
        case: "matcherList",
        value: {
          matchers: [
            {
              predicate: { matchType: { case: "singlePredicate", value: isSpared } },
              onMatch: { onMatch: { case: "action", value: extension("skip", SkipFilterSchema) } },
            },
          ],
        },
      },
    },
  });
}

const REFUSE = `
function envoy_on_request(handle)
  handle:respond({ [":status"] = "400" })
end
`;

/**
 * Scopes are selected by exact bytes before any filter runs, and Envoy cannot fold case there. So a request for a host that
 * is not in lower case is looked up again. Server names are in lower case already.
 */
const FOLD_SCOPE = `
function envoy_on_request(handle)
  local headers = handle:headers()
  headers:replace("${SCOPE_HEADER}", string.lower(headers:get("${SCOPE_HEADER}")))
  handle:clearRouteCache()
  handle:metadata():get("")
end
`;

/**
 * A request that found no route (all routes have names, and each host ends in one for everything) is looked up again as the
 * wildcard that stands for the name, which is for one label, and then in the scope of all other hosts.
 *
 * The first call to metadata() makes Envoy look the route up; nothing else does before the filters are through. So the filter
 * stands there twice, and each time goes a step further.
 *
 * On the secure port a wildcard's scope cannot tell whether the request is for the connection's server name, nor whether that
 * is a host of its own that is on the insecure port only: that is seen to here, by the rules that hold for other hosts.
 *
 * Envoy decides on upgrades by the route that it has before any filter, and lets them through where it has none. What it
 * would have refused on the route that was found since is refused here: at the latest the second time.
 */
const FIND_SCOPE = `
function routed(handle)
  local name = handle:streamInfo():routeName()
  return name ~= nil and name ~= ""
end

function refuse_upgrade(handle)
  local upgrade = handle:headers():get("upgrade")
  if upgrade == nil then return end
  local name = handle:streamInfo():routeName()
  local answered = name == "${NO_ROUTE}" or name == "${MISDIRECTED}" or handle:metadata():get("${ANSWERS_WEBSOCKETS}")
  if not (answered and string.lower(upgrade) == "${WEBSOCKET}") then
    handle:respond({ [":status"] = "403" })
  end
end

function envoy_on_request(handle)
  if routed(handle) then
    if LAST then refuse_upgrade(handle) end
    return
  end
  local headers = handle:headers()
  local scope, rest = string.match(headers:get("${SCOPE_HEADER}") or "", "^([^:]+)(.*)")
  if scope == nil then return end
  local function choose(other)
    headers:replace("${SCOPE_HEADER}", other .. rest)
    handle:clearRouteCache()
  end
  local function look(other)
    choose(other)
    handle:metadata():get("")
    return routed(handle)
  end
  local port, name = string.match(scope, "^(..)(.*)")
  local wildcard = port .. string.gsub(name, "^[^.]*", "*", 1)
  local following = port .. "*"
  if port == "${httpsScope("")}" and scope ~= wildcard then
    local host = string.match(string.lower(headers:get(":authority") or ""), "^[^:]*")
    if host ~= name then return handle:respond({ [":status"] = "421" }) end
    if look("${httpScope("")}" .. name) then return handle:respond({ [":status"] = "404" }) end
    return choose(wildcard)
  elseif port == "${httpsScope("")}" or scope ~= wildcard then
    following = wildcard
  end
  if look(following) then
    if handle:metadata():get("${REDIRECTS_TO_HOST}") then headers:replace(":authority", name) end
    refuse_upgrade(handle)
  end
end
`;
