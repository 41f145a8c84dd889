import { readdirSync, readFileSync } from "node:fs";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import fc from "fast-check";
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { decodeCertificateDelegation } from "../../src/api/certificate-delegation.ts";
import { decodeIngressRoute } from "../../src/api/ingress-route.ts";
import { objectKey } from "../../src/api/object-key.ts";
import { selfProblems } from "../../src/compile/ingressroute/self-check.ts";
import { classOf, describe as inWords, type Problem } from "../../src/compile/problems.ts";
import { readYaml } from "../../src/sources/yaml-documents.ts";
import { MAX_CONDITIONS } from "../../src/status/ingress-route-status.ts";
import { MAX_TEXT_LENGTH } from "../../src/status/wish.ts";
import { loadCases } from "../cases.ts";
import { anything, withGarbage } from "../laws/garbage.ts";
import { hostileWorld } from "../laws/hostile.ts";
import { ingressRoute, type Raw, type RawObject, RUNS, SEEDS } from "../laws/worlds.ts";
import { adminOf, startApiServer } from "../parts/api-server.ts";
import { installDefinitions } from "../parts/deploy.ts";
import { collectionPath, type KubeObject, KubeRefusal, objectPath } from "../parts/kube-admin.ts";
import { sharedCluster } from "./suite.ts";

/**
 * The shipped schema, checked against the decoders and the compiler on a real API server: what it refuses has a problem of
 * class A in itself, and what has none it takes.
 */

const cluster = sharedCluster();
let namespace = "";
beforeAll(async () => {
  namespace = await cluster.freshNamespace();
});
afterAll(() => cluster.close());

const EXAMPLES = fileURLToPath(new URL("../../examples", import.meta.url));

/** What only the schema has. Nobody comes near the bounds, and the word is one that Contour's schema refused too. */
const ONLY_THE_SCHEMA = [/: Too (long|many): /, /strategy: Unsupported value: /];

/** A problem of class A that the schema leaves to the status and the webhook, on purpose. */
type Left = {
  readonly why: string;
  readonly is: (problem: Problem) => boolean;
  /** An object with it, which is taken. */
  readonly spec: Raw;
};

const S = [{ name: "s", port: 80 }];
const root = (virtualhost: Raw, ...routes: readonly Raw[]): Raw => ({
  virtualhost: { fqdn: "x.y", ...virtualhost },
  routes,
});
const route = (fields: Raw): Raw => root({}, { match: "/", services: S, ...fields });
const service = (fields: Raw): Raw => route({ services: [{ name: "s", port: 80, ...fields }] });
const code =
  (...codes: readonly Problem["code"][]) =>
  (problem: Problem) =>
    codes.includes(problem.code);
const note = (words: string) => (problem: Problem) => problem.code === "InvalidField" && problem.reason.includes(words);

const LEFT: readonly Left[] = [
  { why: "the IngressRoute document wants a status", is: code("WeightNegative"), spec: service({ weight: -1 }) },
  { why: "the IngressRoute document wants a status", is: code("PortInvalid"), spec: service({ port: 70_000 }) },
  {
    why: "the IngressRoute document wants a status",
    is: code("FqdnMissing"),
    spec: root({ fqdn: "" }, { match: "/", services: S }),
  },
  {
    why: "the IngressRoute document wants a status",
    is: code("ServicesAndDelegate"),
    spec: route({ delegate: { name: "d" } }),
  },
  {
    why: "a schema has no words for a field that it does not have",
    is: note("unknown field"),
    spec: service({ tls: {} }),
  },
  {
    why: "a rule cannot tell an empty field from an absent one",
    is: note("is empty; remove it"),
    spec: root({ tls: null }, { match: "/", services: S }),
  },
  {
    why: "the API server counts in 64 bits",
    is: note("for a number"),
    spec: service({ weight: -(2 ** 53) }),
  },
  {
    why: "a pattern does not add, and what is negative but less than a nanosecond is zero",
    is: code("DurationInvalid"),
    spec: route({ timeoutPolicy: { request: "9999999h" } }),
  },
  {
    why: "items of a list are told apart by a field as it is written",
    is: code("MatchDuplicate"),
    spec: root({}, { match: "/a", services: S }, { match: "/a/", services: S }),
  },
  {
    why: "the parts are not measured one by one",
    is: code("TlsSecretNameInvalid"),
    spec: root({ tls: { secretName: "x".repeat(300) } }, { match: "/", services: S }),
  },
];

describe("what the schema leaves to the status", () => {
  test.each(LEFT)("$why: $spec", async ({ is, spec }) => {
    const taken = await offer({ kind: "IngressRoute", spec });
    expect(taken.refusal).toBeUndefined();
    expect(taken.mistakes.filter(is)).not.toEqual([]);
  });
});

describe("what the schema refuses, in the words of a status", () => {
  const cases: readonly (readonly [Raw, string | RegExp])[] = [
    [{}, "spec.routes: Invalid value: at least one route is needed"],
    [root({}), "spec.routes: Invalid value: at least one route is needed"],
    [root({ fqdn: "*.x.y" }, { match: "/", services: S }), "is a wildcard; an IngressRoute names one host"],
    [root({ fqdn: "{{ .host }}" }, { match: "/", services: S }), "looks like a template that was not expanded"],
    [root({ fqdn: "http://x.y" }, { match: "/", services: S }), "is a URL; write the host name alone"],
    [root({ fqdn: "x.y/z" }, { match: "/", services: S }), "holds a path; paths belong to the routes"],
    [root({ fqdn: "x.y:80" }, { match: "/", services: S }), "holds a port or an address; write the host name alone"],
    [root({ fqdn: "x_y" }, { match: "/", services: S }), "is not a host name: labels of letters, digits and hyphens"],
    [root({ tls: {} }, { match: "/", services: S }), "needs secretName, or passthrough together with tcpproxy"],
    [
      root({ tls: { secretName: "a/b/c" } }, { match: "/", services: S }),
      "is neither a name nor a namespace and a name",
    ],
    [
      root({ tls: { passthrough: true } }, { match: "/", services: S }),
      "needs tcpproxy; HTTP routes need a secretName",
    ],
    [
      root({ tls: { secretName: "x", minimumProtocolVersion: "1.0" } }, { match: "/", services: S }),
      'supported values: "1.1", "1.2", "1.3"',
    ],
    [
      { virtualhost: { fqdn: "x.y" }, tcpproxy: { services: S } },
      "spec.tcpproxy: Invalid value: needs spec.virtualhost.tls, because hosts are told apart by the server name of TLS",
    ],
    [{ tcpproxy: {} }, "spec.tcpproxy: Invalid value: needs either services or delegate"],
    [route({ match: undefined }), "spec.routes[0].match: Required value"],
    [route({ match: "" }), "is required"],
    [route({ match: "x" }), "must start with /"],
    [route({ match: "/x?y" }), "must be a path alone, without ? or #"],
    [route({ match: "/\u0001" }), "holds a character that cannot stand in a path"],
    [root({}, { match: "/", services: S }, { match: "/", services: S }), "spec.routes[1]: Duplicate value"],
    [route({ services: [] }), "spec.routes[0]: Invalid value: needs either services or delegate"],
    [route({ services: undefined, delegate: {} }), "spec.routes[0].delegate.name: Required value"],
    [route({ services: [{ port: 80 }] }), "spec.routes[0].services[0].name: Required value"],
    [route({ services: [{ name: "s" }] }), "spec.routes[0].services[0].port: Required value"],
    [service({ port: "80" }), 'must be of type integer: "string"'],
    [service({ weight: 2 ** 32 }), "the weights of its services add up to more than 4294967295"],
    [service({ strategy: "RingHash" }), 'supported values: "RoundRobin", "WeightedLeastRequest", "Random", "Cookie"'],
    [service({ healthCheck: {} }), "healthCheck.path: Required value"],
    [service({ healthCheck: { path: "x" } }), 'healthCheck.path: Invalid value: "x": must start with /'],
    [service({ validation: { caSecret: "x" } }), "validation.subjectName: Required value"],
    [service({ validation: { subjectName: "x" } }), "validation.caSecret: Required value"],
    [route({ prefixRewrite: "x" }), "spec.routes[0].prefixRewrite: Invalid value: must start with /"],
    [route({ prefixRewrite: "/x/../y" }), 'must be without the segments "." and ".."'],
    [route({ prefixRewrite: "/ü" }), "holds characters that requests carry percent-encoded"],
    [route({ timeoutPolicy: { request: "90" } }), 'is not a duration such as "30s", "1m30s", "500ms" or "infinity"'],
    [route({ timeoutPolicy: { request: "-1s" } }), "must not be negative"],
    [route({ retryPolicy: { perTryTimeout: "soon" } }), 'is not a duration such as "30s"'],
    [
      route({ retryPolicy: { count: -1 } }),
      "spec.routes[0].retryPolicy.count: Invalid value: must be greater than or equal",
    ],
  ];
  test.each(cases)("%j: %s", async (spec, words) => {
    const { refusal, mistakes } = await offer({ kind: "IngressRoute", spec });
    expect(refusal).toContain(words);
    if (!ONLY_THE_SCHEMA.some((known) => known.test(refusal ?? ""))) expect(mistakes).not.toEqual([]);
  });
});

describe("the schema and the compiler agree", () => {
  test("on every object of the cases and of the examples", async () => {
    const objects = [
      ...loadCases().flatMap(({ folder }) => rawObjects(join(folder, "input.yaml"))),
      ...readdirSync(EXAMPLES).flatMap((file) => rawObjects(join(EXAMPLES, file))),
    ];
    expect(objects.length).toBeGreaterThan(300);
    const seen = { taken: 0, refused: 0 };
    for (const object of objects) {
      const { refusal } = await expectAgreement(object);
      seen[refusal === undefined ? "taken" : "refused"] += 1;
    }
    expect(seen.refused).toBeGreaterThan(50);
  });

  test("that every example can be applied", async () => {
    for (const object of readdirSync(EXAMPLES).flatMap((file) => rawObjects(join(EXAMPLES, file)))) {
      expect(await offer(object)).toMatchObject({ refusal: undefined });
    }
  });

  describe.each(SEEDS)("SEED=%i", (seed) => {
    const parameters = { seed, numRuns: RUNS };
    const agree = async (raw: Raw) => void (await expectAgreement(raw));
    const random = fc.array(fc.nat(), { minLength: 12, maxLength: 12 });
    const spoilt = (objects: fc.Arbitrary<RawObject>) =>
      fc.tuple(objects, anything, random).map(([raw, garbage, picks]) => withGarbage(raw, garbage, picks));

    test("on objects with few mistakes", async () => {
      await fc.assert(fc.asyncProperty(ingressRoute, agree), parameters);
    });

    test("on objects whose fields are nearly right", async () => {
      const one = hostileWorld.map((objects) => objects.filter(({ kind }) => OUR_KINDS.includes(kind)));
      const all = async (objects: readonly RawObject[]) => {
        for (const object of objects) await expectAgreement(object);
      };
      await fc.assert(fc.asyncProperty(one, all), { ...parameters, numRuns: RUNS / 5 });
    });

    test("on objects with garbage somewhere", async () => {
      await fc.assert(fc.asyncProperty(spoilt(ingressRoute), agree), parameters);
      await fc.assert(fc.asyncProperty(spoilt(delegation), agree), parameters);
    });
  });
});

test("the largest objects that are taken are looked at to the end", async () => {
  const full = {
    ...{ name: "s", port: 80, weight: 5, strategy: "Cookie", healthCheck: { path: "/healthy", host: "x" } },
    validation: { caSecret: "x", subjectName: "backend.example.com" },
  };
  const policies = {
    prefixRewrite: `/${"p".repeat(10)}`,
    timeoutPolicy: { request: "1h2m3.5s" },
    retryPolicy: { count: 3, perTryTimeout: "150ms" },
  };
  const many = (routes: number, services: number, length: number) =>
    root(
      {},
      ...Array.from({ length: routes }, (_, i) => ({
        match: `/${i}${"m".repeat(length)}`,
        services: Array.from({ length: services }, () => full),
        ...policies,
      })),
    );
  for (const spec of [many(2_000, 4, 10), many(100, 64, 10), many(1_000, 1, 2_000)]) {
    expect(await offer({ kind: "IngressRoute", spec })).toMatchObject({ refusal: undefined, mistakes: [] });
  }
  const last = many(2_000, 4, 10);
  const wrong = { ...last, routes: [...Object(last.routes), { match: "wrong", services: S }].slice(1) };
  expect((await offer({ kind: "IngressRoute", spec: wrong })).refusal).toContain("spec.routes[1999].match");
});

test("unknown fields come through, wherever they stand in a spec", async () => {
  const spec = {
    virtualhost: { fqdn: "x.y", tls: { secretName: "x", clientValidation: { caSecret: "y" } }, aliases: [] },
    routes: [{ match: "/", services: [{ name: "s", port: 80, permitInsecure: true }], conditions: [{ prefix: "/" }] }],
    strategy: "Cookie",
  };
  const taken = await cluster.request({ ...dryRun("IngressRoute"), body: object("IngressRoute", { spec, tls: {} }) });
  expect(taken).toMatchObject({ spec, tls: {} });
  const delegations = [{ secretName: "x", targetNamespaces: ["*"], targetSelector: {} }];
  const body = object("TLSCertificateDelegation", { spec: { delegations } });
  expect(await cluster.request({ ...dryRun("TLSCertificateDelegation"), body })).toMatchObject({
    spec: { delegations },
  });
});

test("a list shows host, Secret, status and its description", async () => {
  const ref = { kind: "IngressRoute", namespace, name: "columns" };
  const spec = root({ tls: { secretName: "x" } }, { match: "/", services: S });
  await cluster.apply({ ...object("IngressRoute", { spec }), metadata: { namespace, name: "columns" } });
  await cluster.patch(ref, { status: { currentStatus: "valid", description: "valid IngressRoute" } }, "status");
  const table = await cluster.request({
    method: "GET",
    path: objectPath(ref),
    accept: "application/json;as=Table;v=v1;g=meta.k8s.io",
  });
  expect(table).toMatchObject({
    columnDefinitions: ["Name", "FQDN", "TLS Secret", "Status", "Status Description"].map((name) => ({ name })),
    rows: [{ cells: ["columns", "x.y", "x", "valid", "valid IngressRoute"] }],
  });
});

test("the status is apart from the rest, and takes what a controller says", async () => {
  const ref = { kind: "IngressRoute", namespace, name: "status" };
  const status = { currentStatus: "valid", description: "made up" };
  await cluster.apply({
    ...object("IngressRoute", { spec: service({}), status }),
    metadata: { namespace, name: "status" },
  });
  expect(await cluster.get(ref)).not.toHaveProperty("status");
  const longest = "€".repeat(MAX_TEXT_LENGTH);
  const conditions = ["Valid", "Warnings", "Programmed"].map((type) => ({
    ...{ type, status: "True", reason: type, message: longest, observedGeneration: 1 },
    lastTransitionTime: "2026-01-01T00:00:00Z",
  }));
  const theirs = Array.from({ length: MAX_CONDITIONS - 3 }, (_, i) => ({
    type: `example.com/${i}`,
    status: "Unknown",
  }));
  const full = { ...status, description: longest, conditions: [...conditions, ...theirs] };
  await cluster.patch(ref, { status: full }, "status");
  expect(await cluster.get(ref)).toMatchObject({ metadata: { generation: 1 }, status: full });
  const [one] = theirs;
  for (const more of [
    { type: "one-too-many", status: "True" },
    { ...one, type: "not a type" },
    { ...one, type: "x".repeat(317) },
    { ...one, status: "Maybe" },
    { ...one, reason: "not a word" },
    { ...one, message: "m".repeat(32_769) },
  ]) {
    const others =
      more.type === "one-too-many" ? full.conditions : full.conditions.filter(({ type }) => type !== one?.type);
    await expectRefusal(() => cluster.patch(ref, { status: { conditions: [...others, more] } }, "status"));
  }
  await expectRefusal(() => cluster.patch(ref, { status: { description: "m".repeat(32_769) } }, "status"));
});

describe("on a cluster that Contour has served", () => {
  let server: Awaited<ReturnType<typeof startApiServer>>;
  beforeAll(async () => {
    server = await startApiServer();
  });
  afterAll(() => server.stop());

  test("objects from before stay, can be read, and can be changed as long as it makes nothing worse", async () => {
    const admin = adminOf(server);
    // What Contour's definitions came to once the first version of that API was gone: everything is taken.
    for (const [plural, kind] of [
      ["ingressroutes", "IngressRoute"],
      ["tlscertificatedelegations", "TLSCertificateDelegation"],
    ] as const) {
      await admin.create(permissiveDefinition(plural, kind));
    }
    const wrong: Readonly<Record<string, Raw>> = {
      "no-routes": { virtualhost: { fqdn: "a.x.y" } },
      wildcard: root({ fqdn: "*.x.y" }, { match: "/", services: S }),
      twice: root({ fqdn: "b.x.y" }, { match: "/", services: S }, { match: "/", services: S }),
      "old-strategy": root(
        { fqdn: "c.x.y" },
        { match: "/", services: [{ name: "s", port: 80, strategy: "RingHash" }] },
      ),
      match: root({ fqdn: "d.x.y" }, { match: "x", services: S }, { match: "/", services: S }),
      text: root({ fqdn: "e.x.y" }, { match: "/", services: [{ name: "s", port: "80" }] }),
      tls: root({ fqdn: "f.x.y", tls: {} }, { match: "/", services: S }),
    };
    const put = (name: string, spec: Raw, more: Raw = {}) => {
      const raw = { ...object("IngressRoute", { spec }), metadata: { namespace: "default", name } };
      // As Contour's objects have it where nobody has written a status.
      return admin.create({ ...raw, status: { currentStatus: "", description: "", ...more } });
    };
    const attempt = async (write: () => Promise<unknown>) => {
      try {
        return await write();
      } catch (error) {
        if (error instanceof Error && /NotFound|404/.test(error.message)) return undefined;
        throw error;
      }
    };
    for (const [name, spec] of Object.entries(wrong)) {
      while ((await attempt(() => put(name, spec))) === undefined);
    }
    const tooMany = Array.from({ length: 40 }, (_, i) => ({ type: `not a type ${i}`, status: "Maybe" }));
    await put("full", service({}), { conditions: tooMany });
    await installDefinitions(admin);
    // There is no room for all of them any more, and what is left of them may stay as it is.
    const ours = { currentStatus: "valid", conditions: [{ type: "Valid", status: "True" }, ...tooMany.slice(0, 31)] };
    await admin.patch({ kind: "IngressRoute", namespace: "default", name: "full" }, { status: ours }, "status");
    await expectRefusal(() => put("another", wrong.wildcard ?? {}));

    for (const [name, spec] of Object.entries(wrong)) {
      const ref = { kind: "IngressRoute", namespace: "default", name };
      expect(await admin.get(ref), name).toMatchObject({ spec });
      await admin.patch(ref, { metadata: { annotations: { note: "touched" }, finalizers: ["example.com/x"] } });
      await admin.patch(ref, { metadata: { finalizers: null } });
      const status = { currentStatus: "invalid", description: "as it was" };
      await admin.patch(ref, { status }, "status");
      expect(await admin.get(ref), name).toMatchObject({
        spec,
        status,
        metadata: { annotations: { note: "touched" } },
      });
    }
    const at = (name: string) => ({ kind: "IngressRoute", namespace: "default", name });
    // Another field of a wrong object, and another route beside a wrong one.
    await admin.patch(at("wildcard"), { spec: { routes: [{ match: "/new", services: S }] } });
    const [first] = Object(wrong.match?.routes);
    await admin.patch(at("match"), { spec: { routes: [first, { match: "/new", services: S }] } });
    // A wrong field may not become wrong in another way, and may become right.
    await expectRefusal(() => admin.patch(at("wildcard"), { spec: { virtualhost: { fqdn: "*.z" } } }));
    await admin.patch(at("wildcard"), { spec: { virtualhost: { fqdn: "z.x.y" } } });
    await expectRefusal(() => admin.patch(at("wildcard"), { spec: { virtualhost: { fqdn: "*.x.y" } } }));
    await admin.close();
  });
});

const OUR_KINDS = ["IngressRoute", "TLSCertificateDelegation"];

const delegation: fc.Arbitrary<RawObject> = fc
  .array(
    fc.record({
      secretName: fc.constantFrom("x", "", "y"),
      targetNamespaces: fc.array(fc.constantFrom("*", "n1", "")),
    }),
  )
  .map((delegations) => ({
    kind: "TLSCertificateDelegation",
    metadata: { namespace: "n1", name: "all" },
    spec: { delegations },
  }));

type Offered = { readonly refusal: string | undefined; readonly mistakes: readonly Problem[] };

/** What the API server says of the object, and what the compiler says of what the API server has made of it. */
async function offer({ kind, metadata: _, ...rest }: Raw): Promise<Offered> {
  const raw = object(`${kind}`, rest);
  try {
    const taken = await cluster.request({ ...dryRun(`${kind}`), body: raw });
    return { refusal: undefined, mistakes: mistakesOf(taken) };
  } catch (error) {
    if (!(error instanceof KubeRefusal) || error.reason !== "Invalid") throw error;
    return { refusal: error.message, mistakes: mistakesOf(JSON.parse(JSON.stringify(raw))) };
  }
}

async function expectAgreement(raw: Raw): Promise<Offered> {
  const offered = await offer(raw);
  const { refusal, mistakes } = offered;
  if (refusal === undefined) {
    const missed = mistakes.filter((problem) => !LEFT.some(({ is }) => is(problem)));
    expect(missed.map(inWords), `taken: ${JSON.stringify(raw).slice(0, 5_000)}`).toEqual([]);
  } else if (mistakes.length === 0) {
    const unknown = refusal
      .replace(/, <nil>: Invalid value: null: some validation rules were not checked.*$/s, "")
      .replace(/^.*? is invalid: \[?/, "")
      .split(/, (?=spec)/)
      .filter((cause) => !ONLY_THE_SCHEMA.some((known) => known.test(cause)));
    expect(unknown, `refused: ${JSON.stringify(raw).slice(0, 5_000)}`).toEqual([]);
  }
  return offered;
}

/** Everything of class A that the object shows by itself. */
function mistakesOf(raw: Raw): readonly Problem[] {
  const key = objectKey(`${raw.kind}`, "default", "x");
  if (raw.kind === "IngressRoute") {
    return selfProblems(key, decodeIngressRoute(raw)).filter((problem) => classOf(problem) === "A");
  }
  const { faults } = decodeCertificateDelegation(raw).notes;
  return faults.map(({ at, reason }) => {
    return { object: key, at, subject: { kind: "object" }, code: "InvalidField", field: at, reason };
  });
}

/** The rest of an object, under a name and in a namespace that are in order: metadata has a schema of the API server's own. */
function object(kind: string, rest: Raw): KubeObject {
  return { ...rest, apiVersion: "contour.heptio.com/v1beta1", kind, metadata: { namespace, name: "x" } };
}

function dryRun(kind: string) {
  return { method: "POST", path: collectionPath(kind, namespace), query: { dryRun: "All" } } as const;
}

async function expectRefusal(write: () => Promise<unknown>): Promise<void> {
  await expect(write()).rejects.toMatchObject({ reason: "Invalid" });
}

/** The objects of our kinds that a file holds, as they are written. */
function rawObjects(file: string): readonly Raw[] {
  return [...readYaml(readFileSync(file, "utf8"))].flatMap((document): readonly Raw[] => {
    const value = document.kind === "document" ? document.value : undefined;
    const { items } = Object(value);
    const values: readonly unknown[] = Array.isArray(items) ? items : [value];
    return values.filter((raw): raw is Raw => {
      const { apiVersion, kind } = Object(raw);
      return OUR_KINDS.includes(kind) && apiVersion === "contour.heptio.com/v1beta1";
    });
  });
}

function permissiveDefinition(plural: string, kind: string): KubeObject {
  return {
    apiVersion: "apiextensions.k8s.io/v1",
    kind: "CustomResourceDefinition",
    metadata: { name: `${plural}.contour.heptio.com` },
    spec: {
      group: "contour.heptio.com",
      scope: "Namespaced",
      names: { plural, kind },
      versions: [
        {
          name: "v1beta1",
          served: true,
          storage: true,
          schema: { openAPIV3Schema: { type: "object", "x-kubernetes-preserve-unknown-fields": true } },
        },
      ],
    },
  };
}
