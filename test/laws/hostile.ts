import fc from "fast-check";
import { type OddBundle, type OddPair, oddBundles, oddPairs } from "../parts/odd-certificates.ts";
import { anything, withGarbage } from "./garbage.ts";
import { anyObject, distinct, HOSTS, NAMESPACES, type Raw, type RawObject } from "./worlds.ts";

/**
 * Objects of every kind, each of whose fields is well-formed, or nearly: what passes a decoder and could still be refused
 * further down. Names are those of {@link anyObject}, so that both can be mixed.
 */

const PRINTABLE = fc.string({ unit: fc.integer({ min: 0x20, max: 0x7e }).map((code) => String.fromCharCode(code)) });
const SECRETS = ["x", "y"] as const;
const PORTS = [
  { name: "http", port: 80 },
  { name: "alt", port: 81 },
];

/** Two in three objects have nothing odd in any field, so that most of a world is served. */
const USUAL = 40;

const namespace = fc.constantFrom(...NAMESPACES);
const delegateName = fc.constantFrom("a", "b", "c", "d");
const serviceName = fc.constantFrom("s1", "s2");
const secretName = fc.oneof(
  { weight: USUAL, arbitrary: fc.constantFrom(...SECRETS) },
  { weight: 1, arbitrary: fc.constantFrom("n1/x", "n2/y", "n1/x/y", "gone", "", "X") },
);

/** The value, mostly; each of the others at times. */
function nearly<T>(usual: fc.Arbitrary<T>, ...odd: fc.Arbitrary<unknown>[]): fc.Arbitrary<unknown> {
  return fc.oneof(
    { weight: USUAL * odd.length, arbitrary: usual },
    ...odd.map((arbitrary) => ({ weight: 1, arbitrary })),
  );
}

function maybe(key: string, arbitrary: fc.Arbitrary<unknown>): fc.Arbitrary<Raw> {
  return fc.oneof(
    fc.constant<Raw>({}),
    arbitrary.map((value): Raw => ({ [key]: value })),
  );
}

function merged(...parts: fc.Arbitrary<Raw>[]): fc.Arbitrary<Raw> {
  return fc.tuple(...parts).map((all): Raw => Object.assign({}, ...all));
}

const path = nearly(
  fc.constantFrom("/", "/a", "/a/b", "/b"),
  PRINTABLE.map((text) => `/${text}`),
  fc.string({ unit: "binary" }).map((text) => `/${text}`),
  fc.constantFrom("/%", "/%zz", "/%2F", "//", "/a?b", "/a#b", "/\\", `/${"a".repeat(9000)}`, "/a/../b", "/{x}"),
);
const hostName = nearly(
  fc.oneof(
    fc.constantFrom(...HOSTS),
    fc.noBias(fc.nat(999)).map((n) => `x${n}.example.com`),
  ),
  PRINTABLE,
  fc.string({ unit: "binary" }),
  fc.constantFrom("*", "*.example.com", `${"a".repeat(63)}.example.com`, `${"a.".repeat(130)}com`, "10.0.0.1", "::1"),
);
const duration = nearly(
  fc.constantFrom("1s", "150ms", "infinity", "0"),
  fc.constantFrom("2562047h47m16.854775807s", "9999999h", "1ns", "-1s", "1e3s", "0.0000000001ns", ""),
  PRINTABLE,
);
const count = nearly(
  fc.integer({ min: 0, max: 5 }),
  fc.constantFrom(-1, 2 ** 31 - 1, 2 ** 31, 2 ** 32 - 1, 2 ** 32, 2 ** 53, 1.5),
);
const healthCheck = merged(
  path.map((value) => ({ path: value })),
  maybe("host", hostName),
  maybe("intervalSeconds", count),
  // Envoy waits for the first check before it goes on.
  maybe("timeoutSeconds", nearly(fc.constantFrom(0, 1), fc.constant(-1))),
  maybe("unhealthyThresholdCount", count),
  maybe("healthyThresholdCount", count),
);
const service = merged(
  serviceName.map((name) => ({ name })),
  fc.constantFrom(80, 81).map((port) => ({ port })),
  maybe("weight", count),
  maybe("strategy", nearly(fc.constantFrom("RoundRobin", "WeightedLeastRequest", "Random", "Cookie"), PRINTABLE)),
  maybe("healthCheck", healthCheck),
  fc.oneof(
    { weight: 20, arbitrary: fc.constant<Raw>({}) },
    {
      weight: 1,
      arbitrary: maybe("validation", merged(maybe("caSecret", secretName), maybe("subjectName", hostName))),
    },
  ),
);
const services = fc.array(service, { minLength: 1, maxLength: 3 });
const delegate = delegateName.map((name) => ({ name }));

const route = merged(
  path.map((match) => ({ match })),
  fc.oneof(
    services.map((list): Raw => ({ services: list })),
    delegate.map((to): Raw => ({ delegate: to })),
  ),
  maybe("prefixRewrite", path),
  maybe("permitInsecure", fc.boolean()),
  maybe("enableWebsockets", fc.boolean()),
  maybe("timeoutPolicy", maybe("request", duration)),
  maybe("retryPolicy", merged(maybe("count", count), maybe("perTryTimeout", duration))),
);

const minimumVersion = maybe(
  "minimumProtocolVersion",
  nearly(fc.constantFrom("1.1", "1.2", "1.3"), fc.constantFrom("1.0", "")),
);
const terminating = merged(
  secretName.map((name) => ({ secretName: name })),
  minimumVersion,
);
const passing = fc.constant<Raw>({ passthrough: true });
const tls = nearly(terminating, passing, merged(maybe("passthrough", fc.boolean()), minimumVersion));

const http = merged(
  merged(
    hostName.map((fqdn) => ({ fqdn })),
    maybe("tls", tls),
  ).map((virtualhost) => ({ virtualhost })),
);
const tcp = merged(
  fc.tuple(hostName, fc.oneof(terminating, passing)).map(([fqdn, how]): Raw => ({ virtualhost: { fqdn, tls: how } })),
  fc.oneof(
    services.map((list): Raw => ({ tcpproxy: { services: list } })),
    delegate.map((to): Raw => ({ tcpproxy: { delegate: to } })),
  ),
);

const routes = fc.uniqueArray(route, { selector: ({ match }) => match, minLength: 1, maxLength: 3 });

const root = fc
  .tuple(
    namespace,
    fc.noBias(fc.nat(999)).map((n) => `r${n}`),
    merged(
      fc.oneof({ weight: 4, arbitrary: http }, { weight: 1, arbitrary: tcp }),
      routes.map((list) => ({ routes: list })),
      maybe("healthCheck", healthCheck),
    ),
  )
  .map(([ns, name, spec]): RawObject => ({ kind: "IngressRoute", metadata: { namespace: ns, name }, spec }));

const child = fc
  .tuple(
    namespace,
    delegateName,
    fc.oneof(
      { weight: 3, arbitrary: routes.map((list): Raw => ({ routes: list })) },
      { weight: 1, arbitrary: services.map((list): Raw => ({ tcpproxy: { services: list } })) },
    ),
  )
  .map(([ns, name, spec]): RawObject => ({ kind: "IngressRoute", metadata: { namespace: ns, name }, spec }));

const number = nearly(
  fc.integer({ min: 0, max: 9 }).map(String),
  fc.constantFrom("4294967295", "4294967296", "-1", "", " 7 ", "1e3"),
);

const kubeService = fc
  .tuple(
    namespace,
    serviceName,
    merged(
      maybe("contour.heptio.com/upstream-protocol.tls", fc.constantFrom("80", "81,80", "http")),
      maybe("contour.heptio.com/upstream-protocol.h2", fc.constantFrom("81", "http")),
      maybe("contour.heptio.com/upstream-protocol.h2c", fc.constantFrom("80", ",")),
      maybe("contour.heptio.com/max-connections", number),
      maybe("contour.heptio.com/max-pending-requests", number),
      maybe("contour.heptio.com/max-requests", number),
      maybe("contour.heptio.com/max-retries", number),
    ),
    fc.oneof(
      { weight: 3, arbitrary: fc.constant<Raw>({}) },
      // Under .invalid nothing can be found, and nobody is asked for long.
      {
        weight: 1,
        arbitrary: nearly(fc.constantFrom("x.invalid", "10.0.0.1", "X.invalid."), hostName).map(
          (externalName): Raw => ({ type: "ExternalName", externalName }),
        ),
      },
    ),
  )
  .map(
    ([ns, name, annotations, external]): RawObject => ({
      kind: "Service",
      metadata: { namespace: ns, name, annotations },
      spec: {
        ...external,
        ports: [
          { name: "http", port: 80 },
          { name: "alt", port: 81 },
        ],
      },
    }),
  );

const pairs = [...oddPairs().values()];
const bundles = [...oddBundles().values()];

const secret = fc
  .tuple(
    namespace,
    fc.constantFrom(...SECRETS),
    fc.constantFrom(...pairs),
    fc.oneof(fc.constantFrom(...bundles), fc.constant(undefined)),
  )
  .map(([ns, name, pair, bundle]) => secretObject(ns, name, pair, bundle));

function secretObject(ns: string, name: string, pair?: OddPair, bundle?: OddBundle): RawObject {
  const authority = bundle === undefined ? {} : { "ca.crt": bundle.caPem };
  const stringData = { "tls.crt": pair?.certPem, "tls.key": pair?.keyPem, ...authority };
  return { kind: "Secret", metadata: { namespace: ns, name }, type: "kubernetes.io/tls", stringData };
}

const certificateDelegation = fc.tuple(namespace, secretName).map(
  ([ns, name]): RawObject => ({
    kind: "TLSCertificateDelegation",
    metadata: { namespace: ns, name: "all" },
    spec: { delegations: [{ secretName: name, targetNamespaces: ["*"] }] },
  }),
);

const ingressPath = nearly(
  path,
  fc.constantFrom(
    "/.*",
    "/[a-z]+/x",
    "/(a|b)*",
    "/^a",
    "/a%20b",
    "/[",
    "/(",
    "/a{1,100000}",
    "/(?<n>a)+",
    "/\\d*",
    "/*",
  ),
);
const ingressBackend = nearly(
  fc
    .tuple(serviceName, fc.constantFrom<unknown[]>({ number: 80 }, { name: "alt" }, { number: 7 }))
    .map(([name, port]) => ({ service: { name, port } })),
  fc.constant({ resource: { kind: "Bucket", name: "b" } }),
);
const ingress = fc
  .tuple(
    namespace,
    fc.constantFrom("i", "j"),
    merged(
      maybe("contour.heptio.com/request-timeout", duration),
      maybe("contour.heptio.com/retry-on", fc.constantFrom("5xx", "gateway-error,connect-failure", "x\n", "")),
      maybe("contour.heptio.com/num-retries", number),
      maybe("contour.heptio.com/per-try-timeout", duration),
      maybe("contour.heptio.com/websocket-routes", fc.constantFrom("/", "/a,/b", "x")),
      maybe("contour.heptio.com/tls-minimum-protocol-version", fc.constantFrom("1.2", "1.3", "9")),
      maybe("projectcontour.io/tls-cert-namespace", fc.constantFrom("b", "a/b", "../x")),
      maybe("ingress.kubernetes.io/force-ssl-redirect", fc.constantFrom("true", "false", "yes")),
      maybe("kubernetes.io/ingress.allow-http", fc.constantFrom("true", "false", "no")),
    ),
    merged(
      maybe("defaultBackend", ingressBackend),
      maybe(
        "rules",
        fc.array(
          merged(
            maybe("host", nearly(hostName, fc.constantFrom("*.example.com", "*.h1.example.com"))),
            fc
              .array(
                merged(
                  maybe("path", ingressPath),
                  fc.constantFrom("Exact", "Prefix", "ImplementationSpecific").map((pathType) => ({ pathType })),
                  ingressBackend.map((backend) => ({ backend })),
                ),
                { maxLength: 3 },
              )
              .map((paths) => ({ http: { paths } })),
          ),
          { maxLength: 3 },
        ),
      ),
      maybe(
        "tls",
        fc.array(fc.tuple(hostName, secretName).map(([host, name]) => ({ hosts: [host], secretName: name }))),
      ),
    ),
  )
  .map(
    ([ns, name, annotations, spec]): RawObject => ({
      apiVersion: "networking.k8s.io/v1",
      kind: "Ingress",
      metadata: { namespace: ns, name, annotations },
      spec,
    }),
  );

const nearlyRight: fc.Arbitrary<RawObject> = fc.oneof(
  { weight: 6, arbitrary: root },
  { weight: 2, arbitrary: child },
  { weight: 3, arbitrary: kubeService },
  { weight: 2, arbitrary: secret },
  { weight: 1, arbitrary: certificateDelegation },
  { weight: 3, arbitrary: ingress },
);

/** What the others refer to, unless an odd one stands in its place. */
const base: readonly RawObject[] = NAMESPACES.flatMap((ns) => [
  ...["s1", "s2"].map(
    (name): RawObject => ({ kind: "Service", metadata: { namespace: ns, name }, spec: { ports: PORTS } }),
  ),
  ...SECRETS.map((name) => secretObject(ns, name, pairs[0], bundles[0])),
]);

/** A world in which one object in ten has garbage somewhere. */
export const hostileWorld: fc.Arbitrary<readonly RawObject[]> = fc
  .array(
    fc.oneof(
      { weight: 16, arbitrary: nearlyRight },
      { weight: 2, arbitrary: anyObject },
      {
        weight: 2,
        arbitrary: fc
          .tuple(nearlyRight, anything, fc.array(fc.nat(), { minLength: 12, maxLength: 12 }))
          .map(([raw, garbage, random]) => withGarbage(raw, garbage, random)),
      },
    ),
    { minLength: 6, maxLength: 24, size: "max" },
  )
  .map((objects) => distinct([...base, ...objects]));
