import { fromBinary } from "@bufbuild/protobuf";
import fc from "fast-check";
import { describe, expect, test } from "vitest";
import { ClusterSchema } from "#proto/envoy/config/cluster/v3/cluster_pb.js";
import { ClusterLoadAssignmentSchema } from "#proto/envoy/config/endpoint/v3/endpoint_pb.js";
import type { Resource } from "../../src/envoy/resource.ts";
import { translate } from "../../src/translate/translate.ts";
import { type Translation, Translator } from "../../src/translate/translator.ts";
import { testOptions } from "../settings.ts";
import { applied, deleted, keyOf, type Raw, type RawObject, RUNS, SEEDS } from "./worlds.ts";

/** Few connections, so that small worlds have too few of them. */
const MAX = 12;
const OPTIONS = testOptions({ maxHealthCheckConnections: MAX });

const NAMESPACES = ["n1", "n2"] as const;
const SERVICES = ["s1", "s2", "s3"] as const;
const namespace = fc.constantFrom(...NAMESPACES);
const check = fc.constantFrom<Raw[]>({}, ...["/a", "/b", "/c"].map((path): Raw => ({ healthCheck: { path } })));
const service = fc
  .tuple(fc.constantFrom(...SERVICES), fc.constantFrom(80, 80, 81), check)
  .map(([name, port, more]): Raw => ({ name, port, ...more }));
const lists = fc
  .uniqueArray(fc.tuple(fc.constantFrom("/", "/x", "/y"), fc.array(service, { minLength: 1, maxLength: 3 })), {
    selector: ([match]) => match,
    minLength: 1,
  })
  .map((pairs) => pairs.map(([match, services]): Raw => ({ match, services })));

const root = fc
  .tuple(namespace, fc.constantFrom("h1", "h2", "h3"), lists, check)
  .map(([ns, host, routes, more]): RawObject => {
    const virtualhost = { fqdn: `${host}.${ns}.example.com` };
    return {
      kind: "IngressRoute",
      metadata: { namespace: ns, name: host },
      spec: { virtualhost, ...more, routes: [...routes, { match: "/child", delegate: { name: "child" } }] },
    };
  });

/** Inherits a health check below some roots, and none below others. */
const child = fc.tuple(namespace, service).map(([ns, one]): RawObject => {
  return {
    kind: "IngressRoute",
    metadata: { namespace: ns, name: "child" },
    spec: { routes: [{ match: "/child", services: [one] }] },
  };
});

const tcp = fc.tuple(namespace, service).map(([ns, one]): RawObject => {
  const virtualhost = { fqdn: `tcp.${ns}.example.com`, tls: { passthrough: true } };
  return {
    kind: "IngressRoute",
    metadata: { namespace: ns, name: "tcp" },
    spec: { virtualhost, tcpproxy: { services: [one] } },
  };
});

const slice = fc
  .tuple(namespace, fc.constantFrom(...SERVICES), fc.integer({ min: 0, max: 7 }))
  .map(([ns, name, count]): RawObject => {
    return {
      kind: "EndpointSlice",
      metadata: { namespace: ns, name, labels: { "kubernetes.io/service-name": name } },
      addressType: "IPv4",
      ports: [
        { name: "http", port: 8080 },
        { name: "alt", port: 8081 },
      ],
      endpoints: Array.from({ length: count }, (_, i) => ({ addresses: [`10.0.0.${i + 1}`] })),
    } as RawObject;
  });

const kubeService = (ns: string, name: string): RawObject => {
  const ports = [
    { name: "http", port: 80 },
    { name: "alt", port: 81 },
  ];
  return { kind: "Service", metadata: { namespace: ns, name }, spec: { ports } };
};
const SERVICE_OBJECTS = NAMESPACES.flatMap((ns) => SERVICES.map((name) => kubeService(ns, name)));

const anyObject = fc.oneof(
  { weight: 3, arbitrary: root },
  { weight: 1, arbitrary: child },
  { weight: 1, arbitrary: tcp },
  { weight: 4, arbitrary: slice },
);
const batches = fc.array(
  fc.array(fc.record({ raw: anyObject, isDeleted: fc.integer({ min: 0, max: 5 }).map((n) => n === 0) }), {
    minLength: 1,
    maxLength: 5,
  }),
  { minLength: 1, maxLength: 8 },
);

describe.each(SEEDS)("laws of the bound of health checks, SEED=%i", (seed) => {
  test("it holds, it depends on no history, and each object is told of what is not checked and of nothing else", () => {
    let curtailed = 0;
    let whole = 0;
    fc.assert(
      fc.property(batches, (history) => {
        const translator = new Translator(OPTIONS);
        const left = new Map<string, RawObject>(SERVICE_OBJECTS.map((raw) => [keyOf(raw), raw]));
        translator.apply(SERVICE_OBJECTS.map(applied));
        for (const batch of history) {
          const changes = batch.map(({ raw, isDeleted }) => {
            if (isDeleted) left.delete(keyOf(raw));
            else left.set(keyOf(raw), raw);
            return isDeleted ? deleted(raw) : applied(raw);
          });
          expect(translator.apply(changes).failures).toEqual([]);
          const current = translator.current();
          const scratch = translate([...left.values()].map(applied), OPTIONS);
          expect(current.resources.map(idOf)).toEqual(scratch.resources.map(idOf));
          expect([...current.verdicts]).toEqual([...scratch.verdicts]);
          const ports = portsOf(current.resources);
          for (const ns of NAMESPACES) {
            const own = ports.filter(({ name }) => name.startsWith(`${ns}/`));
            const { isCurtailed } = expectBound(own);
            if (isCurtailed) curtailed++;
            else if (own.some(({ clusters }) => clusters > 0)) whole++;
          }
          expectTold(current, ports);
        }
      }),
      { seed, numRuns: RUNS },
    );
    expect(curtailed).toBeGreaterThan(RUNS / 5);
    expect(whole).toBeGreaterThan(RUNS / 5);
  });
});

type Port = { readonly name: string; readonly clusters: number; readonly endpoints: number; readonly checked: number };

/** What the bytes for Envoy say. */
function portsOf(resources: readonly Resource[]): readonly Port[] {
  const checking = new Map<string, number>();
  for (const { type, body, loadAssignment = "" } of resources) {
    if (type !== "cluster" || fromBinary(ClusterSchema, body).healthChecks.length === 0) continue;
    checking.set(loadAssignment, (checking.get(loadAssignment) ?? 0) + 1);
  }
  return resources.flatMap(({ type, name, body }): readonly Port[] => {
    if (type !== "loadAssignment") return [];
    const [locality] = fromBinary(ClusterLoadAssignmentSchema, body).endpoints;
    const areChecked = (locality?.lbEndpoints ?? []).map(({ hostIdentifier }) => {
      if (hostIdentifier.case !== "endpoint") throw new Error(`${name} has something else than endpoints`);
      return hostIdentifier.value.healthCheckConfig?.disableActiveHealthCheck !== true;
    });
    const checked = areChecked.filter(Boolean).length;
    // Those that are not checked are the last ones.
    expect(areChecked.lastIndexOf(true)).toBe(checked - 1);
    return [{ name, clusters: checking.get(name) ?? 0, endpoints: areChecked.length, checked }];
  });
}

function expectBound(ports: readonly Port[]): { readonly isCurtailed: boolean } {
  const taken = ports.map(({ clusters, checked }) => clusters * checked);
  const wanted = ports.map(({ clusters, endpoints }) => clusters * endpoints);
  expect(sum(taken)).toBeLessThanOrEqual(MAX);
  expect(Math.max(0, ...taken)).toBeLessThanOrEqual(MAX / 2);
  const isCurtailed = ports.some(({ endpoints, checked }) => checked < endpoints);
  expect(isCurtailed).toBe(sum(wanted) > MAX || wanted.some((connections) => connections > MAX / 2));
  // Who is curtailed could not have more without one of the others that wants as little having less.
  for (const [i, port] of ports.entries()) {
    if (port.checked === port.endpoints) continue;
    expect(port.clusters).toBeGreaterThan(0);
    const others = wanted.map((connections) => Math.min(connections, 2 * ((taken[i] ?? 0) + port.clusters)));
    expect(sum(others) > MAX || 2 * ((taken[i] ?? 0) + port.clusters) > MAX / 2).toBe(true);
  }
  return { isCurtailed };
}

function expectTold({ hosts, verdicts }: Translation, ports: readonly Port[]): void {
  const curtailed = new Set(ports.filter(({ checked, endpoints }) => checked < endpoints).map(({ name }) => name));
  const users = new Set<string>();
  for (const { routes, tcpProxy, objects } of hosts) {
    const lists = [
      ...routes.map(({ origin, action }) => ({
        object: origin.object,
        shares: action.kind === "forward" ? action.shares : [],
      })),
      ...objects.map((object) => ({ object, shares: tcpProxy?.shares ?? [] })),
    ];
    for (const { object, shares } of lists) {
      for (const { cluster } of shares) {
        if (cluster?.healthCheck === undefined || cluster.endpoints.kind !== "slices") continue;
        const { namespace, name } = cluster.service;
        if (curtailed.has(`${namespace}/${name}/${cluster.endpoints.portName}`)) users.add(object);
      }
    }
  }
  const told = [...verdicts].filter(([, { problems }]) => problems.some(({ code }) => code === "EndpointsNotChecked"));
  expect(new Set(told.map(([key]) => key))).toEqual(users);
}

function idOf({ type, name, version }: Resource): string {
  return `${type} ${name} ${version}`;
}

function sum(numbers: readonly number[]): number {
  return numbers.reduce((total, number) => total + number, 0);
}
