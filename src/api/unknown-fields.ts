import type { UnknownFieldRule } from "./decode.ts";
import { byCodeUnit } from "./order.ts";

/**
 * Keys that ask for protection wherever they stand. Ignoring one where it has no meaning, or for a slip in its spelling,
 * would serve with weaker security than its author believes, so it makes the object invalid.
 */
const ASKS_FOR_PROTECTION = new Set([
  "tls",
  "clientValidation",
  "authPolicy",
  "authorization",
  "ipAllowPolicy",
  "jwtProviders",
  "headerMatch",
  "conditions",
  "perFilterConfig",
  "validation",
]);

/** Places where any unknown key could have been a restriction. */
const STRICT_PLACES = [/^spec\.virtualhost\.tls\b/, /\.validation\b/];

/** Slips seen in real files whose likely intent is not the nearest spelling. */
const LIKELY_INTENT: Readonly<Record<string, string>> = {
  permitInsecure: "it belongs to the route, beside match",
  enableWebsockets: "it belongs to the route, beside match",
  prefixRewrite: "it belongs to the route, beside match",
  strategy: "it belongs to each service of a route",
  routes: "it belongs under spec",
  virtualhost: "it belongs under spec",
  fqdn: "it belongs under spec.virtualhost",
  secretName: "it belongs under spec.virtualhost.tls",
  services: "it belongs to a route",
  delegate: "it belongs to a route or to tcpproxy",
  includes: "a field of HTTPProxy; in an IngressRoute a route delegates with delegate: {name, namespace}",
  conditions: "a field of HTTPProxy; an IngressRoute route has match",
  prefix: "a field of HTTPProxy; an IngressRoute route has match",
  pathRewritePolicy: "a field of HTTPProxy; an IngressRoute route has prefixRewrite",
  loadBalancerPolicy: "a field of HTTPProxy; in an IngressRoute each service has strategy",
  healthCheckPolicy: "a field of HTTPProxy; in an IngressRoute a service has healthCheck",
  requestHeadersPolicy: "a field of HTTPProxy, which an IngressRoute does not have",
  responseHeadersPolicy: "a field of HTTPProxy, which an IngressRoute does not have",
  requestRedirectPolicy: "a field of HTTPProxy, which an IngressRoute does not have",
  rateLimitPolicy: "a field of HTTPProxy, which an IngressRoute does not have",
  corsPolicy: "a field of HTTPProxy, which an IngressRoute does not have",
  mirror: "a field of HTTPProxy, which an IngressRoute does not have",
  protocol: "a field of HTTPProxy; annotate the Service with contour.heptio.com/upstream-protocol.tls, .h2 or .h2c",
  ingressClassName: "use the annotation kubernetes.io/ingress.class",
  entryPoints: "a field of Traefik's IngressRoute, which is another API",
  middlewares: "a field of Traefik's IngressRoute, which is another API",
};

/** A rule for the unknown fields of one kind of object. */
export function unknownFieldRule(schema: {
  /** Whether any unknown key at this path could have been a restriction. */
  readonly isStrict: (at: string) => boolean;
  /** Words for keys whose likely intent is not the nearest spelling. */
  readonly likelyIntent: Readonly<Record<string, string>>;
}): UnknownFieldRule {
  return ({ key, at, known }) => {
    const near = nearest(key, known);
    const refuse = [key, near ?? key].some((name) => ASKS_FOR_PROTECTION.has(name)) || schema.isStrict(at);
    const intent = schema.likelyIntent[Object.hasOwn(schema.likelyIntent, key) ? key : ""];
    const hint = near === undefined ? intent : `did you mean ${near}?`;
    const reason = refuse
      ? "unknown field, and ignoring it could serve with less protection than it asks for"
      : "unknown field, ignored";
    return { refuse, reason: hint === undefined ? reason : `${reason}: ${hint}` };
  };
}

/** The rule for an IngressRoute. */
export const unknownField: UnknownFieldRule = unknownFieldRule({
  isStrict: (at) => STRICT_PLACES.some((place) => place.test(at)),
  likelyIntent: LIKELY_INTENT,
});

/** The known key that a slip of the fingers or of the case is likely to have meant. */
export function nearest(key: string, known: readonly string[]): string | undefined {
  if (key.length > 64) return undefined;
  const candidates = [...known].sort(byCodeUnit);
  const lower = key.toLowerCase();
  return (
    candidates.find((name) => name.toLowerCase() === lower) ??
    candidates.find((name) => key.length > 3 && editDistance(lower, name.toLowerCase()) <= 2)
  );
}

function editDistance(a: string, b: string): number {
  let previous = Array.from({ length: b.length + 1 }, (_, j) => j);
  for (let i = 1; i <= a.length; i++) {
    const row = [i];
    for (let j = 1; j <= b.length; j++) {
      const substituted = (previous[j - 1] ?? 0) + (a[i - 1] === b[j - 1] ? 0 : 1);
      row.push(Math.min(substituted, (previous[j] ?? 0) + 1, (row[j - 1] ?? 0) + 1));
    }
    previous = row;
  }
  return previous[b.length] ?? 0;
}
