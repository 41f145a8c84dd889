import type { MessageInitShape } from "@bufbuild/protobuf";
import { StringValueSchema } from "@bufbuild/protobuf/wkt";
import { ServerNameInputSchema } from "#proto/envoy/extensions/matching/common_inputs/network/v3/network_inputs_pb.js";
import type {
  Matcher_MatcherList_FieldMatcherSchema,
  Matcher_OnMatchSchema,
  MatcherSchema,
} from "#proto/xds/type/matcher/v3/matcher_pb.js";
import { extension } from "./extension.ts";

/**
 * Chooses a filter chain by the server name that the client asks for. `chains` has the names of chains by host, wildcards
 * among them; most hosts are not in it and take the `ordinary` one, and what is no host name has none.
 */
export function filterChainMatcher(
  chains: ReadonlyMap<string, string>,
  ordinary: string,
): MessageInitShape<typeof MatcherSchema> {
  const wildcards = [...chains].filter(([host]) => host.startsWith("*."));
  const hosts = [...chains].filter(([host]) => !host.startsWith("*."));
  const byPattern: MessageInitShape<typeof MatcherSchema> = {
    matcherType: {
      case: "matcherList",
      value: {
        matchers: [
          ...wildcards.map(([wildcard, chain]) => onServerName(namesOf(wildcard), chain)),
          onServerName(HOST_CHARACTERS, ordinary),
        ],
      },
    },
  };
  if (hosts.length === 0) return byPattern;
  const map = Object.fromEntries(hosts.map(([host, chain]) => [host, chooseChain(chain)]));
  return {
    matcherType: {
      case: "matcherTree",
      value: { input: serverName(), treeType: { case: "exactMatchMap", value: { map } } },
    },
    onNoMatch: { onMatch: { case: "matcher", value: byPattern } },
  };
}

function serverName() {
  return extension("server_name", ServerNameInputSchema);
}

function chooseChain(name: string): MessageInitShape<typeof Matcher_OnMatchSchema> {
  return { onMatch: { case: "action", value: extension(name, StringValueSchema, { value: name }) } };
}

function onServerName(regex: string, chain: string): MessageInitShape<typeof Matcher_MatcherList_FieldMatcherSchema> {
  const matchPattern = {
    case: "safeRegex" as const,
    value: { regex, engineType: { case: "googleRe2" as const, value: {} } },
  };
  return {
    predicate: {
      matchType: {
        case: "singlePredicate",
        value: { input: serverName(), matcher: { case: "valueMatch", value: { matchPattern } } },
      },
    },
    onMatch: chooseChain(chain),
  };
}

/** The names that a wildcard stands for: those with one label in the place of the star. */
function namesOf(wildcard: string): string {
  return `${LABEL_CHARACTERS}${wildcard.slice(1).replace(/[^a-z0-9]/g, "\\$&")}`;
}

/**
 * What a server name may consist of. Every other connection is closed before Envoy asks for a certificate: a name of bytes
 * that are no text cannot be answered over xDS, and who asks for one waits until the handshake has had its time.
 */
const HOST_CHARACTERS = "[-A-Za-z0-9._]+";
const LABEL_CHARACTERS = "[-A-Za-z0-9_]+";
