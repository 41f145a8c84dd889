import { existsSync, readFileSync } from "node:fs";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import { expect, test } from "vitest";
import { parse } from "yaml";
import { type ObjectKey, objectKey } from "../../src/api/object-key.ts";
import { CLASS_OF, describe, type Fact, type ProblemCode, type Subject } from "../../src/compile/problems.ts";
import { loadCases } from "../cases.ts";

/** One problem of each code, as docs/problems.md shows it. */
const EXAMPLES: readonly (readonly [Fact, Subject?, string?])[] = [
  [{ code: "InvalidField", field: "port", reason: "must be a whole number, not a string" }, service("/", "web")],
  [{ code: "RootNamespaceNotAllowed", namespace: "team" }],
  [{ code: "FqdnMissing" }],
  [{ code: "FqdnInvalid", fqdn: "*.example.com", reason: "is a wildcard; an IngressRoute names one host" }],
  [{ code: "FqdnHeld", fqdn: "shop.example.com", holder: key("shop") }],
  [{ code: "RoutesMissing" }],
  [{ code: "MatchInvalid", reason: "must start with /" }, route("blog")],
  [{ code: "MatchDuplicate" }, route("/blog/")],
  [{ code: "ServicesAndDelegate" }, route("/blog")],
  [{ code: "NeitherServicesNorDelegate" }, route("/blog")],
  [{ code: "ServiceNameMissing" }, route("/blog")],
  [{ code: "PortInvalid", port: 70_000 }, service("/blog", "blog")],
  [{ code: "WeightNegative" }, service("/foo", "home")],
  [{ code: "WeightSumTooLarge" }, route("/")],
  [{ code: "PrefixRewriteInvalid", reason: "must start with /" }, route("/service2")],
  [
    {
      code: "DurationInvalid",
      field: "timeoutPolicy.request",
      text: "90",
      reason: 'is not a duration such as "30s", "1m30s", "500ms" or "infinity"',
    },
    route("/"),
  ],
  [{ code: "RetryCountNegative" }, route("/")],
  [{ code: "HealthCheckInvalid", field: "path", reason: "is required" }, service("/", "web")],
  [{ code: "DelegateNameMissing" }, route("/blog")],
  [{ code: "OutsidePrefix", prefix: "/blog", parent: key("shop"), others: 0 }, route("/admin")],
  [{ code: "DelegationCycle", path: [key("a"), key("b"), key("a")], omitted: 0 }, route("/blog")],
  [{ code: "TlsSecretMissing" }],
  [{ code: "TlsSecretNameInvalid", secretName: "certs/shop/tls" }],
  [{ code: "TlsSecretNotFound", secret: "shop-tls" }],
  [{ code: "TlsSecretUnusable", secret: "shop-tls", reason: { text: "has no tls.key", isForeign: false } }],
  [{ code: "TlsSecretNotDelegated", secret: "certs/wildcard", namespace: "default" }],
  [{ code: "TlsVersionUnknown", version: "1.0" }],
  [{ code: "PassthroughWithoutTcpProxy" }],
  [{ code: "ValidationUnusable", reason: undefined }, service("/", "tls-nginx")],
  [{ code: "TcpProxyWithoutTls" }],
  [{ code: "TcpProxyMissing" }],
  [{ code: "ServiceNotFound", namespace: "default" }, service("/blog", "blog")],
  [{ code: "ServicePortNotFound", port: 8081, available: [80, 8080], omitted: 0 }, service("/blog", "blog")],
  [{ code: "ExternalNameInvalid", externalName: "https://example.com" }, service("/blog", "blog")],
  [{ code: "ExternalNameIsLoopback", externalName: "localhost" }, service("/blog", "blog")],
  [
    { code: "AuthoritiesTooLarge", namespace: "default", bytes: 4_300_000, maxBytes: 4_194_304 },
    service("/blog", "blog"),
  ],
  [
    { code: "TooManyUpstreams", scope: "host", namespace: "default", count: 24_000, max: 1000 },
    service("/blog", "blog"),
  ],
  [{ code: "DelegateIsRoot", delegate: key("blog") }, route("/blog")],
  [
    { code: "FieldIgnored", field: "wieght", reason: "unknown field, ignored: did you mean weight?" },
    service("/", "web"),
  ],
  [
    { code: "TlsVersionRaised", version: "1.1", minimum: "1.2" },
    { kind: "object" },
    "spec.virtualhost.tls.minimumProtocolVersion",
  ],
  [{ code: "TlsForAddress", fqdn: "192.0.2.7" }],
  [
    { code: "CertificateDoesNotCover", secret: "shop-tls", fqdn: "shop.example.com" },
    { kind: "object" },
    "spec.virtualhost.tls.secretName",
  ],
  [{ code: "DelegateMissing", delegate: key("blog") }, route("/blog")],
  [{ code: "DelegateInvalid", delegate: key("blog") }, route("/blog")],
  [{ code: "HealthCheckNotInherited", delegate: key("blog") }, route("/blog")],
  [{ code: "DelegateAttributesIgnored", fields: ["timeoutPolicy", "retryPolicy"] }, route("/blog")],
  [{ code: "ShadowedByParent", parent: key("shop"), others: 0 }, route("/blog/new")],
  [{ code: "ShadowedBySibling", parent: key("shop"), prefix: "/blog/new", others: 0 }, route("/blog/new/1")],
  [{ code: "RouteNeverMatches", reason: 'segments "." and ".." are resolved before matching' }, route("/a/../b")],
  [{ code: "RetryCountZero" }, route("/")],
  [{ code: "PerTryTimeoutTooLong", text: "2s" }, route("/")],
  [{ code: "HealthCheckTimeoutTooLong", maxSeconds: 30 }, service("/", "web")],
  [{ code: "EndpointsNotChecked", namespace: "default", connections: 4096, max: 8192 }, service("/", "web")],
  [
    {
      code: "StrategyUnknown",
      strategy: "LeastRequest",
      known: ["RoundRobin", "WeightedLeastRequest", "Random", "Cookie"],
    },
    service("/", "web"),
  ],
  [
    { code: "UpstreamProtocolContradictory", port: 443, protocols: ["tls", "h2c"] },
    { kind: "service", service: "web" },
  ],
  [
    { code: "ServiceAnnotationUnreadable", annotation: "contour.heptio.com/max-requests" },
    { kind: "service", service: "web" },
  ],
  [
    { code: "ServiceLimitZero", annotation: "contour.heptio.com/max-connections" },
    { kind: "service", service: "web" },
  ],
  [
    {
      code: "IngressHostInvalid",
      host: "shop_.example.com",
      reason: "is not a host name: labels of letters, digits and hyphens, with dots between them",
    },
  ],
  [
    { code: "IngressPathInvalid", reason: "is no regular expression: missing closing ): `/a(`" },
    route("shop.example.com/a("),
  ],
  [{ code: "IngressPathTooCostly" }, route("shop.example.com/(.*)/(.*)")],
  [{ code: "IngressWithoutBackend" }],
  [{ code: "IngressBackendUnsupported" }, route("shop.example.com/assets")],
  [
    {
      code: "IngressTlsUnusable",
      host: "shop.example.com",
      secret: "shop-tls",
      reason: { text: "there is no such Secret", isForeign: false },
    },
  ],
  [{ code: "IngressHttpsHeld", host: "shop.example.com", holder: key("shop"), reason: "serves it from TLS 1.1" }],
  [
    {
      code: "IngressAnnotationIgnored",
      annotation: "contour.heptio.com/request-timeout",
      reason: 'is not a duration such as "30s", "1m30s", "500ms" or "infinity"',
    },
  ],
  [{ code: "IngressTlsHostUnused", host: "www.example.com" }],
  [{ code: "IngressCertificateHeld", host: "shop.example.com", holder: key("shop") }],
  [{ code: "IngressPathHeld", holder: key("shop") }, route("shop.example.com/blog")],
  [{ code: "IngressNowhere", annotation: "kubernetes.io/ingress.allow-http" }, route("shop.example.com/")],
];

const PAGE = readFileSync(fileURLToPath(new URL("../../docs/problems.md", import.meta.url)), "utf8");

test("docs/problems.md has a section for every code, under its class, with an example in the words of a status", () => {
  const written = new Map<string, { readonly under: string; readonly example: string | undefined }>();
  for (const part of PAGE.split(/^## Class /m).slice(1)) {
    for (const section of part.split(/^### /m).slice(1)) {
      const [code = ""] = section.split("\n");
      written.set(code, { under: part.slice(0, 1), example: /^> (.*)$/m.exec(section)?.[1] });
    }
  }
  const expected = new Map<string, { readonly under: string; readonly example: string | undefined }>();
  for (const code of codes()) expected.set(code, { under: CLASS_OF[code], example: undefined });
  for (const [fact, about, at = ""] of EXAMPLES) {
    const subject: Subject = about ?? { kind: "object" };
    const example = describe({ object: key("shop"), at, subject, ...fact });
    expected.set(fact.code, { under: CLASS_OF[fact.code], example });
  }
  expect(Object.fromEntries(written)).toEqual(Object.fromEntries(expected));
});

test("every code occurs in a case", () => {
  const seen = new Set<unknown>();
  for (const { folder } of loadCases()) {
    const file = join(folder, "expected/status.yaml");
    if (!existsSync(file)) continue;
    const verdicts: readonly { readonly problems?: readonly { readonly code: string }[] }[] = parse(
      readFileSync(file, "utf8"),
    );
    for (const { problems = [] } of verdicts) {
      for (const { code } of problems) seen.add(code);
    }
  }
  expect(codes().filter((code) => !seen.has(code))).toEqual([]);
});

function codes(): readonly ProblemCode[] {
  const isCode = (name: string): name is ProblemCode => Object.hasOwn(CLASS_OF, name);
  return Object.keys(CLASS_OF).filter(isCode);
}

function key(name: string): ObjectKey {
  return objectKey("IngressRoute", "default", name);
}

function route(match: string): Subject {
  return { kind: "route", match };
}

function service(match: string, name: string): Subject {
  return { kind: "route", match, service: name };
}
