import fc from "fast-check";
import { KINDS, type ObjectChange } from "../../src/api/kinds.ts";
import { objectKey } from "../../src/api/object-key.ts";
import type { TranslateOptions } from "../../src/translate/translator.ts";
import { createAuthority } from "../parts/authority.ts";
import { testOptions } from "../settings.ts";

/**
 * Small worlds with collisions on purpose: few names, namespaces, hosts and prefixes, many delegations, and some values
 * that are wrong. Objects are raw, as a user would write them, and go through the real decoders.
 */

export type Raw = { readonly [key: string]: unknown };
export type RawObject = Raw & {
  readonly kind: string;
  readonly metadata: Raw & { readonly namespace: string; readonly name: string };
};

/** Seeds that once failed stay here. */
export const SEEDS: readonly number[] = [1, 2, 3, 20_260_101, ...(process.env.SEED ? [Number(process.env.SEED)] : [])];
export const RUNS: number = Number(process.env.RUNS ?? 150);

export const OPTIONS: TranslateOptions = testOptions({});

export function applied(raw: RawObject): ObjectChange {
  const kind = KINDS.find((known) => known.kind === raw.kind);
  if (kind === undefined) throw new Error(`no kind ${raw.kind}`);
  return { kind: "applied", key: keyOf(raw), object: kind.decode(raw) };
}

export function deleted(raw: RawObject): ObjectChange {
  return { kind: "deleted", key: keyOf(raw) };
}

export function keyOf({ kind, metadata }: RawObject): ReturnType<typeof objectKey> {
  return objectKey(kind, metadata.namespace, metadata.name);
}

/** One of each key, the last that was given. */
export function distinct(objects: readonly RawObject[]): readonly RawObject[] {
  return [...new Map(objects.map((raw) => [keyOf(raw), raw])).values()];
}

/** Mostly `usual`, at times something else. */
function mostly<T, U>(usual: fc.Arbitrary<T>, other: fc.Arbitrary<U>): fc.Arbitrary<T | U> {
  return fc.oneof({ weight: 12, arbitrary: usual }, { weight: 1, arbitrary: other });
}

function sometimes<T>(arbitrary: fc.Arbitrary<T>, key: string): fc.Arbitrary<Raw> {
  return fc.oneof(
    { weight: 4, arbitrary: fc.constant({}) },
    { weight: 1, arbitrary: arbitrary.map((value) => ({ [key]: value })) },
  );
}

export const NAMESPACES = ["n1", "n2"] as const;
export const HOSTS = ["h1.example.com", "h2.example.com", "h3.with-a-name-that-is-long.example.com"] as const;
const INGRESS_ROUTES = ["a", "b", "c", "d"] as const;
const SERVICES = ["s1", "s2"] as const;
const PREFIXES = ["/", "/a", "/a/", "/a/b", "/a/b/c", "/b", "/ab"] as const;

const namespace = fc.constantFrom(...NAMESPACES);
const wrong = fc.constantFrom<unknown[]>(null, 0, -1, 1.5, "", "x", true, [], {}, [null], { x: 1 });

const healthCheck = mostly(
  fc.constantFrom<unknown[]>({ path: "/healthy" }, { path: "/ready", intervalSeconds: 1 }),
  fc.constantFrom<unknown[]>({}, { path: "healthy" }, { path: "/", timeoutSeconds: -1 }),
);

const service = fc
  .tuple(
    fc.constantFrom(...SERVICES, "gone"),
    fc.constantFrom(80, 81, 82),
    sometimes(fc.constantFrom(0, 1, 2, 100), "weight"),
    mostly(
      fc.constant({}),
      fc.constantFrom<Raw[]>({ weight: -1 }, { port: 0 }, { name: 7 }, { strategy: "Cookie" }, { tls: {} }),
    ),
    sometimes(healthCheck, "healthCheck"),
  )
  .map(([name, port, weight, slip, check]) => ({ name, port, ...weight, ...slip, ...check }));

const delegate = fc
  .tuple(fc.constantFrom(...INGRESS_ROUTES), sometimes(namespace, "namespace"))
  .map(([name, more]) => ({ name, ...more }));

const target = fc.oneof(
  fc.array(service, { minLength: 1, maxLength: 3 }).map((services): Raw => ({ services })),
  delegate.map((to): Raw => ({ delegate: to })),
);

const route = mostly(
  fc
    .tuple(
      mostly(fc.constantFrom(...PREFIXES), fc.constantFrom<unknown[]>("a", "/a/*", "/../a", 7)),
      target,
      sometimes(fc.constantFrom("/", "/x", "/x/", "x"), "prefixRewrite"),
      sometimes(fc.constantFrom({ request: "1s" }, { request: "infinity" }, { request: "-1s" }), "timeoutPolicy"),
      sometimes(fc.constantFrom({}, { count: 3, perTryTimeout: "2s" }, { count: -1 }), "retryPolicy"),
      sometimes(fc.boolean(), "enableWebsockets"),
    )
    .map(([match, to, rewrite, timeout, retry, websockets]) => ({
      match,
      ...to,
      ...rewrite,
      ...timeout,
      ...retry,
      ...websockets,
    })),
  wrong,
);

const routes = fc.oneof(
  // Most objects are right as a whole: distinct matches, nothing odd.
  {
    weight: 3,
    arbitrary: fc
      .uniqueArray(fc.tuple(fc.constantFrom("/", "/a", "/a/b", "/a/b/c", "/b"), target), {
        selector: ([match]) => match,
        minLength: 1,
        maxLength: 4,
      })
      .map((pairs): unknown => pairs.map(([match, to]) => ({ match, ...to }))),
  },
  { weight: 1, arbitrary: fc.array(route, { maxLength: 4 }).map((list): unknown => list) },
);

const virtualhost = mostly(
  fc.constantFrom(...HOSTS, "H1.example.com").map((fqdn): unknown => ({ fqdn })),
  fc.constantFrom<unknown[]>({}, { fqdn: "*.example.com" }, { fqdn: 7 }, "h1.example.com", {
    fqdn: "h1.example.com",
    tls: { secretName: "x" },
  }),
);

const annotations = fc.constantFrom<Raw[]>(
  { "kubernetes.io/ingress.class": "nginx" },
  { x: "y" },
  { "kubernetes.io/ingress.class": "contour" },
);

export const ingressRoute: fc.Arbitrary<RawObject> = fc
  .tuple(
    namespace,
    fc.constantFrom(...INGRESS_ROUTES),
    fc.oneof(
      virtualhost.map((value): Raw => ({ virtualhost: value })),
      fc.constant<Raw>({}),
    ),
    mostly(routes, wrong),
    sometimes(fc.constantFrom("2020-01-01T00:00:00Z", "2021-01-01T00:00:00Z", "soon"), "creationTimestamp"),
    mostly(
      fc.constant<Raw>({}),
      annotations.map((value): Raw => ({ annotations: value })),
    ),
    sometimes(healthCheck, "healthCheck"),
  )
  .map(([ns, name, root, list, created, more, check]) => ({
    kind: "IngressRoute",
    metadata: { namespace: ns, name, ...created, ...more },
    spec: { ...root, ...check, routes: list },
  }));

const servicePorts = fc.constantFrom<unknown[]>(
  [{ port: 80 }],
  [
    { name: "http", port: 80 },
    { name: "alt", port: 81 },
  ],
  [{ name: "alt", port: 80 }],
  [{ name: "http", port: 82, protocol: "UDP" }],
  "none",
);

const kubeService: fc.Arbitrary<RawObject> = fc
  .tuple(
    namespace,
    fc.constantFrom(...SERVICES),
    servicePorts,
    mostly(
      fc.constant<Raw>({}),
      fc
        .constantFrom("example.com", "localhost", "")
        .map((externalName): Raw => ({ type: "ExternalName", externalName })),
    ),
  )
  .map(([ns, name, ports, external]) => ({
    kind: "Service",
    metadata: { namespace: ns, name },
    spec: { ports, ...external },
  }));

const endpoint = mostly(
  fc
    .tuple(fc.constantFrom("10.0.0.1", "10.0.0.2", "not-an-address"), fc.boolean(), fc.boolean())
    .map(([address, ready, terminating]): unknown => ({
      addresses: [address],
      conditions: { ready, serving: true, terminating },
    })),
  wrong,
);

const endpointSlice: fc.Arbitrary<RawObject> = fc
  .tuple(
    namespace,
    fc.constantFrom("e1", "e2"),
    fc.constantFrom(...SERVICES),
    fc.constantFrom<unknown[]>(
      [{ name: "", port: 8080 }],
      [
        { name: "http", port: 8080 },
        { name: "alt", port: 8081 },
      ],
    ),
    fc.array(endpoint, { maxLength: 3 }),
  )
  .map(([ns, name, of, ports, endpoints]) => ({
    kind: "EndpointSlice",
    metadata: { namespace: ns, name, labels: { "kubernetes.io/service-name": of } },
    addressType: "IPv4",
    ports,
    endpoints,
  }));

const backend = fc
  .tuple(fc.constantFrom(...SERVICES, "gone"), fc.constantFrom<Raw[]>({ number: 80 }, { number: 81 }, { name: "http" }))
  .map(([name, port]): Raw => ({ service: { name, port } }));

const ingressPath = mostly(
  fc
    .tuple(
      fc.constantFrom(...PREFIXES, "/a.*", "/[a", "/a+/b"),
      fc.constantFrom("Prefix", "Exact", "ImplementationSpecific"),
      backend,
    )
    .map(([path, pathType, to]): unknown => ({ path, pathType, backend: to })),
  wrong,
);

const ingressRule = mostly(
  fc
    .tuple(
      fc.constantFrom<Raw[]>(...[...HOSTS, "H1.example.com", "*.example.com"].map((host): Raw => ({ host })), {}),
      fc.array(ingressPath, { maxLength: 3 }),
    )
    .map(([host, paths]): unknown => ({ ...host, http: { paths } })),
  fc.constantFrom<unknown[]>(null, 7, { host: 7 }, { host: "no host" }, { host: [], http: { paths: [] } }),
);

const ingressAnnotations = fc.constantFrom<Raw[]>(
  { "ingress.kubernetes.io/force-ssl-redirect": "true" },
  { "kubernetes.io/ingress.allow-http": "false" },
  { "contour.heptio.com/request-timeout": "soon", "contour.heptio.com/retry-on": "5xx" },
  { "contour.heptio.com/websocket-routes": "/a", "contour.heptio.com/tls-minimum-protocol-version": "1.3" },
  { "kubernetes.io/ingress.class": "nginx" },
  { "projectcontour.io/ingress.class": "contour" },
);

export const ingress: fc.Arbitrary<RawObject> = fc
  .tuple(
    namespace,
    fc.constantFrom("i1", "i2", "i3"),
    mostly(fc.array(ingressRule, { maxLength: 4 }), wrong),
    sometimes(backend, "defaultBackend"),
    sometimes(fc.constantFrom("contour", "nginx", "public"), "ingressClassName"),
    sometimes(
      fc.constantFrom<unknown[]>([{ hosts: ["h1.example.com", "*.example.com"], secretName: "x" }], [{}], "x"),
      "tls",
    ),
    sometimes(ingressAnnotations, "annotations"),
    sometimes(fc.constantFrom("2020-01-01T00:00:00Z", "2021-01-01T00:00:00Z"), "creationTimestamp"),
  )
  .map(([ns, name, rules, rest, ingressClassName, tls, annotated, created]) => ({
    apiVersion: "networking.k8s.io/v1",
    kind: "Ingress",
    metadata: { namespace: ns, name, ...annotated, ...created },
    spec: { rules, ...rest, ...ingressClassName, ...tls },
  }));

const ingressClass: fc.Arbitrary<RawObject> = fc
  .tuple(fc.constantFrom("public", "contour"), fc.constantFrom("projectcontour.io/ingress-controller", "other"))
  .map(([name, controller]) => ({
    kind: "IngressClass",
    metadata: { namespace: "", name },
    spec: { controller },
  }));

const authority = createAuthority("laws");
const CERTIFICATES = [["h1.example.com"], ["*.example.com"]].map((names) => authority.issue({ names }));

export const secret: fc.Arbitrary<RawObject> = fc
  .tuple(namespace, fc.constantFrom(...CERTIFICATES), fc.integer({ min: 0, max: 3 }))
  .map(([ns, { certPem, keyPem }, n]) => ({
    kind: "Secret",
    metadata: { namespace: ns, name: "x" },
    type: "kubernetes.io/tls",
    stringData: { "tls.crt": certPem, "tls.key": n === 0 ? "nonsense" : keyPem },
  }));

export const anyObject: fc.Arbitrary<RawObject> = fc.oneof(
  { weight: 4, arbitrary: ingressRoute },
  { weight: 2, arbitrary: kubeService },
  { weight: 1, arbitrary: endpointSlice },
  { weight: 3, arbitrary: ingress },
  { weight: 1, arbitrary: ingressClass },
  { weight: 1, arbitrary: secret },
);

export const world: fc.Arbitrary<readonly RawObject[]> = fc
  .array(anyObject, { minLength: 6, maxLength: 24 })
  .map(distinct);

/** What a source says over time: batches of objects applied and deleted. */
export const history: fc.Arbitrary<readonly (readonly { readonly raw: RawObject; readonly isDeleted: boolean }[])[]> =
  fc.array(
    fc.array(fc.record({ raw: anyObject, isDeleted: fc.integer({ min: 0, max: 4 }).map((n) => n === 0) }), {
      minLength: 1,
      maxLength: 8,
    }),
    { minLength: 1, maxLength: 12 },
  );

/** The value with the part at a random place, except below the given paths, replaced by `garbage`. */
export function replaceSomewhere(value: unknown, garbage: unknown, pick: () => number): unknown {
  if (typeof value !== "object" || value === null) return garbage;
  const keys = Object.keys(value);
  if (keys.length === 0 || pick() % 4 === 0) return garbage;
  const chosen = keys[pick() % keys.length] ?? "";
  if (Array.isArray(value)) {
    return value.map((item, i) => (String(i) === chosen ? replaceSomewhere(item, garbage, pick) : item));
  }
  return Object.fromEntries(
    Object.entries(value).map(([key, item]) => [key, key === chosen ? replaceSomewhere(item, garbage, pick) : item]),
  );
}
