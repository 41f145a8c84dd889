import fc from "fast-check";
import { describe, expect, test } from "vitest";
import type { ObjectKey } from "../../src/api/object-key.ts";
import { describe as inWords, MAX_INHERITED } from "../../src/compile/problems.ts";
import { type Translation, Translator } from "../../src/translate/translator.ts";
import { applied, OPTIONS, type RawObject, RUNS, SEEDS } from "./worlds.ts";

/** One object's routes: a match, and the name of whom it delegates to, or undefined for a route with a service. */
type Graph = ReadonlyMap<string, readonly (readonly [match: string, delegate: string | undefined])[]>;

const prefix = fc
  .array(fc.constantFrom("a", "a0", "a-", "b"), { maxLength: 4 })
  .map((segments) => `/${segments.join("/")}`);

/** Objects that delegate to later ones, so that there are no cycles; half of the routes of each lie below one prefix. */
const graph: fc.Arbitrary<Graph> = fc
  .array(
    fc.tuple(
      prefix,
      fc.uniqueArray(fc.tuple(prefix, fc.boolean(), fc.option(fc.nat(), { nil: undefined })), {
        selector: ([match, isInside]) => `${match} ${isInside}`,
        minLength: 1,
        maxLength: 6,
      }),
    ),
    { minLength: 2, maxLength: 8 },
  )
  .map((objects) => {
    const named = objects.map(([below, list], i) => {
      const routes = new Map<string, string | undefined>();
      for (const [match, isInside, to] of list) {
        const path = isInside || i > 0 ? `${below === "/" ? "" : below}${match === "/" ? "" : match}` || "/" : match;
        const later = objects.length - i - 1;
        routes.set(path, to === undefined || later === 0 ? undefined : `o${i + 1 + (to % later)}`);
      }
      return [`o${i}`, [...routes]] as const;
    });
    return new Map(named);
  });

describe.each(SEEDS)("delegation is what it says, SEED=%i", (seed) => {
  test("the routes of a host, and what the misfits are told, are those of a slow and simple reading", () => {
    let misfits = 0;
    fc.assert(
      fc.property(graph, (objects) => {
        const { translation } = expectLinear(rawObjects(objects));
        const told = new Set<string>();
        expect(served(translation)).toEqual(slowly(objects, "o0", told));
        const outside = [...translation.verdicts.values()].flatMap(({ problems }) => {
          return problems.filter(({ code }) => code === "OutsidePrefix");
        });
        expect(new Set(outside.map((problem) => `${problem.object} ${problem.at} ${inWords(problem)}`))).toEqual(told);
        misfits += told.size;
      }),
      { seed, numRuns: RUNS },
    );
    expect(misfits).toBeGreaterThan(RUNS / 10);
  });
});

/** Each is a product or a power of two for somebody who does not take care. */
describe("small objects make little work, however they lead to one another", () => {
  const many = (n: number, of: (i: number) => RawObject["spec"]): readonly unknown[] =>
    Array.from({ length: n }, (_, i) => of(i));
  const deep = (n: number) => "/a".repeat(n);
  const route = (match: string) => ({ match, services: [{ name: "s", port: 80 }] });
  const to = (match: string, name: string) => ({ match, delegate: { name } });

  test.each([100, 400])("%i prefixes to one object with as many routes, which fit into none", (n) => {
    expectLinear([
      root(many(n, (i) => to(`/a${i}`, "c"))),
      object(
        "c",
        many(n, (i) => route(`/b${i}`)),
      ),
    ]);
  });

  test.each([100, 400])("%i prefixes to one object with as many routes, all but the last of which fit", (n) => {
    const routes = [...many(n, (i) => route(`${deep(n)}/${i}`)), route("/b")];
    expectLinear([root(many(n, (i) => to(deep(i + 1), "c"))), object("c", routes)]);
  });

  test.each([100, 400])("%i prefixes, one inside the other, to two objects in turns", (n) => {
    expectLinear([
      root(many(n, (i) => to(deep(i + 1), i % 2 === 0 ? "c" : "d"))),
      ...["c", "d"].map((name) =>
        object(
          name,
          many(n, (i) => route(`${deep(n)}/${name}${i}`)),
        ),
      ),
    ]);
  });

  test.each([100, 400])("%i objects that each set a route beside those of one object", (n) => {
    const between = Array.from({ length: n }, (_, i) => object(`o${i}`, [to(deep(n), "c"), route(`${deep(n)}/${i}`)]));
    expectLinear([
      root(many(n, (i) => to(deep(i + 1), `o${i}`))),
      ...between,
      object(
        "c",
        many(n, (i) => route(`${deep(n)}/${i}`)),
      ),
    ]);
  });

  test.each([100, 400])("%i different health checks that one object inherits", (n) => {
    const between = Array.from({ length: n }, (_, i) => {
      return object(`o${i}`, [to(deep(n), "c")], { healthCheck: { path: `/${i}` } });
    });
    const { translation } = expectLinear(
      [
        root(many(n, (i) => to(deep(i + 1), `o${i}`))),
        ...between,
        object(
          "c",
          many(n, (i) => route(`${deep(n)}/${i}`)),
        ),
      ],
      MAX_INHERITED + 1,
    );
    const told = [...translation.verdicts.values()].flatMap(({ problems }) => problems.map(({ code }) => code));
    expect(told.filter((code) => code === "HealthCheckNotInherited")).toHaveLength(n - MAX_INHERITED);
  });

  test.each([1_000, 10_000])("a chain of %i objects, each with a route of its own", (n) => {
    const chain = Array.from({ length: n }, (_, i) => object(`o${i}`, [to("/", `o${i + 1}`), route(`/${i}`)]));
    const { translation } = expectLinear([root([to("/", "o0")]), ...chain, object(`o${n}`, [route("/end")])]);
    expect(translation.hosts[0]?.routes).toHaveLength(n + 1);
  });

  test("a chain of 1,000 objects whose last leads back as often", () => {
    const chain = Array.from({ length: 1_000 }, (_, i) => object(`o${i}`, [to("/", `o${i + 1}`)]));
    expectLinear([
      root([to("/", "o0")]),
      ...chain,
      object(
        "o1000",
        many(1_000, (i) => to(`/${i}`, "o0")),
      ),
    ]);
  });

  test("two prefixes to the next object at each of 200 levels", () => {
    const levels = Array.from({ length: 200 }, (_, i) => {
      return object(`o${i}`, [to(deep(i + 1), `o${i + 1}`), to(deep(i + 2), `o${i + 1}`)]);
    });
    expectLinear([root([to("/", "o0")]), ...levels, object("o200", [route(deep(300))])]);
  });
});

describe("what others do with an object", () => {
  const own = [
    {
      kind: "IngressRoute",
      metadata: { namespace: "blog", name: "root" },
      spec: {
        virtualhost: { fqdn: "blog.example.com" },
        routes: [
          { match: "/blog", delegate: { name: "c" } },
          { match: "/zzz", delegate: { name: "c" } },
        ],
      },
    },
    {
      kind: "IngressRoute",
      metadata: { namespace: "blog", name: "c" },
      spec: {
        routes: [
          { match: "/blog", services: [{ name: "s", port: 80, weight: 0 }], retryPolicy: { count: 0 } },
          { match: "/blog/x", services: [{ name: "s", port: 80 }] },
        ],
      },
    },
    { kind: "Service", metadata: { namespace: "blog", name: "s" }, spec: { ports: [{ port: 80 }] } },
  ];
  const evil = (n: number): readonly RawObject[] => [
    root(Array.from({ length: n }, (_, i) => ({ match: `/a${i}`, delegate: { name: "c", namespace: "blog" } }))),
    ...Array.from({ length: n }, (_, i) => ({
      ...object(`r${i}`, []),
      spec: {
        virtualhost: { fqdn: `evil-${i}.example.com` },
        routes: [{ match: "/a", delegate: { name: "c", namespace: "blog" } }],
      },
    })),
  ];

  test("comes after what is its own, is told of a few, and changes nothing that is served", () => {
    const key = "IngressRoute/blog/c" as ObjectKey;
    const before = translated(own).translation;
    const { translation } = translated([...own, ...evil(300)]);
    const verdict = translation.verdicts.get(key);
    const description =
      'route "/blog": lies outside the prefix "/zzz" that "blog/root" delegates to this object; the same is true of 1 more of its routes';
    expect(before.verdicts.get(key)?.description).toBe(description);
    expect(verdict?.description).toBe(description);
    expect(verdict?.problems.map(({ code }) => code)).toEqual([
      "OutsidePrefix",
      "RetryCountZero",
      ...Array.from({ length: 9 }, () => "OutsidePrefix"),
    ]);
    expect(verdict?.problems.at(-1)?.more).toBe(300 + 300 + 1 - 10);
    const ours = ({ hosts }: Translation) => hosts.filter(({ name }) => name === "blog.example.com");
    expect(ours(translation)).toEqual(ours(before));
  });
});

const SERVICE: RawObject = {
  kind: "Service",
  metadata: { namespace: "default", name: "s" },
  spec: { ports: [{ port: 80 }] },
};

function object(name: string, routes: unknown, more: object = {}): RawObject {
  return { kind: "IngressRoute", metadata: { namespace: "default", name }, spec: { ...more, routes } };
}

function root(routes: unknown): RawObject {
  return object("o-root", routes, { virtualhost: { fqdn: "host.example.com" } });
}

function rawObjects(objects: Graph): readonly RawObject[] {
  return [...objects].map(([name, routes]) => {
    const list = routes.map(([match, delegate]) =>
      delegate === undefined ? { match, services: [{ name: "s", port: 80 }] } : { match, delegate: { name: delegate } },
    );
    return object(name, list, name === "o0" ? { virtualhost: { fqdn: "host.example.com" } } : {});
  });
}

function translated(raws: readonly RawObject[]) {
  const translator = new Translator(OPTIONS);
  const { failures } = translator.apply([...raws, SERVICE].map(applied));
  expect(failures).toEqual([]);
  return { translation: translator.current(), work: translator.work() };
}

/** Steps against the text, because paths are read by their segments; problems against the routes. Never against the clock. */
function expectLinear(raws: readonly RawObject[], times = 1) {
  const result = translated(raws);
  const routes = raws.reduce((sum, { spec }) => sum + Object(spec).routes.length, 0);
  const { stepsTaken, problemsFound } = result.work;
  expect(stepsTaken).toBeLessThanOrEqual(2 * times * JSON.stringify(raws).length);
  expect(problemsFound).toBeLessThanOrEqual(2 * times * routes);
  return result;
}

function served({ hosts }: Translation): ReadonlyMap<string, string> {
  const routes = hosts.flatMap((host) => host.routes);
  return new Map(
    routes.map(({ match, origin, action }) => [match.path, `${origin.object} ${origin.at} ${action.kind}`]),
  );
}

/** As the mission says it, an object at a time and route by route; adds what is told of misfits to `told`. */
function slowly(objects: Graph, name: string, told: Set<string>): ReadonlyMap<string, string> {
  const isInside = (path: string, of: string) => of === "/" || path === of || path.startsWith(`${of}/`);
  const routes = objects.get(name) ?? [];
  const id = (i: number) => `IngressRoute/default/${name} spec.routes[${i}]`;
  const all = new Map<string, string>();
  const byLength = [...routes.entries()].sort(([, [a]], [, [b]]) => a.length - b.length);
  for (const [i, [match, delegate]] of byLength) {
    if (delegate === undefined) continue;
    for (const path of [...all.keys()]) if (isInside(path, match)) all.delete(path);
    const paths = (objects.get(delegate) ?? []).map(([path]) => path);
    const outside = paths.filter((path) => !isInside(path, match));
    const [first] = outside;
    if (first === undefined) {
      for (const [path, target] of slowly(objects, delegate, told)) all.set(path, target);
      continue;
    }
    all.set(match, `${id(i)} unavailable`);
    const others = outside.length === 1 ? "" : `; the same is true of ${outside.length - 1} more of its routes`;
    told.add(
      `IngressRoute/default/${delegate} spec.routes[${paths.indexOf(first)}].match route "${first}": lies outside the prefix "${match}" that "default/${name}" delegates to this object${others}`,
    );
  }
  for (const [i, [match, delegate]] of routes.entries()) if (delegate === undefined) all.set(match, `${id(i)} forward`);
  return all;
}
