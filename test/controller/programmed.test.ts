import fc from "fast-check";
import { describe, expect, test } from "vitest";
import { objectKey } from "../../src/api/object-key.ts";
import { digest } from "../../src/controller/digest.ts";
import { httpScope, scopeName } from "../../src/envoy/names.ts";
import { anyObject, applied, deleted, HOSTS, OPTIONS, type RawObject, RUNS, SEEDS, world } from "../laws/worlds.ts";
import { objects, rootYaml, serviceYaml } from "../objects.ts";
import { createAuthority } from "../parts/authority.ts";
import { Fleet } from "./fleet.ts";

type Step =
  | { readonly kind: "apply"; readonly batch: readonly { readonly raw: RawObject; readonly isDeleted: boolean }[] }
  | { readonly kind: "poison"; readonly name: string; readonly isPoisoned: boolean }
  | { readonly kind: "request" | "read" | "connect" | "restart" | "disconnect" | "settle"; readonly n: number }
  | { readonly kind: "flush" };

const n = fc.nat(1);
const one = (...kinds: Extract<Step, { readonly n: number }>["kind"][]) =>
  fc.record({ kind: fc.constantFrom(...kinds), n });
const FLUSH = { kind: "flush" } as const;
const edits = fc.array(fc.record({ raw: anyObject, isDeleted: fc.nat(4).map((pick) => pick === 0) }), {
  minLength: 1,
  maxLength: 3,
});
const poison = fc.constantFrom(
  ...HOSTS.map((host) => scopeName(httpScope(host), digest)),
  "s|h1.example.com",
  "n1/s1/",
  "n2/s2/",
);
const CLUSTERS = ["n1/s1/", "n1/s2/", "n2/s1/", "n2/s2/"];
const poisons = fc.oneof(fc.constantFrom<(readonly string[])[]>([], CLUSTERS), fc.array(poison, { maxLength: 1 }));
const steps = fc.array(
  fc.oneof(
    {
      weight: 4,
      arbitrary: fc.record({
        kind: fc.constant("apply" as const),
        batch: edits,
      }),
    },
    {
      weight: 2,
      arbitrary: fc.record({
        kind: fc.constant("poison" as const),
        name: poison,
        isPoisoned: fc.boolean(),
      }),
    },
    { weight: 8, arbitrary: one("request", "request", "read") },
    { weight: 6, arbitrary: one("connect", "disconnect", "restart") },
    { weight: 4, arbitrary: one("settle") },
    { weight: 5, arbitrary: fc.constant(FLUSH) },
  ),
  { minLength: 5, maxLength: 40 },
);

/** Ways in which something can be missed, each of which chance leads to once in a while. */
const finale = fc.constantFrom<((stays: number, other: number, edit: Step) => readonly Step[])[]>(
  () => [],
  // The last that is waited for goes away.
  (stays, other, edit) => [
    ...([{ kind: "connect", n: other }, { kind: "settle", n: other }, edit, FLUSH] as const),
    ...([{ kind: "settle", n: stays }, FLUSH, { kind: "disconnect", n: other }] as const),
  ],
  // The only one comes back, and holds already what was waited for.
  (stays, other, edit) => [
    ...([{ kind: "disconnect", n: other }, { kind: "settle", n: stays }, FLUSH] as const),
    ...([{ kind: "disconnect", n: stays }, edit, FLUSH, { kind: "connect", n: stays }, FLUSH] as const),
  ],
  // One comes late and refuses what was settled.
  (stays, other) => [
    ...([
      { kind: "disconnect", n: other },
      { kind: "settle", n: stays },
      FLUSH,
      { kind: "connect", n: other },
    ] as const),
  ],
);

function perform(fleet: Fleet, step: Step): void {
  switch (step.kind) {
    case "apply":
      fleet.apply(step.batch.map(({ raw, isDeleted }) => (isDeleted ? deleted(raw) : applied(raw))));
      return;
    case "poison":
      fleet.poison(step.name, step.isPoisoned);
      return;
    case "request":
    case "read":
      fleet.step(step.n, step.kind);
      return;
    case "connect":
    case "restart":
      fleet.connect(step.n, step.kind === "restart");
      return;
    case "disconnect":
      fleet.disconnect(step.n);
      return;
    case "settle":
      fleet.settle(step.n);
      return;
    case "flush":
      fleet.flush();
      return;
  }
}

describe.each(SEEDS)("laws of Programmed, SEED=%i", (seed) => {
  test("whoever follows the watch ends up with what a look at everything says", () => {
    fc.assert(
      fc.property(world, steps, poisons, edits, n, finale, (initial, history, poisoned, batch, stays, last) => {
        const fleet = new Fleet(OPTIONS);
        for (const name of poisoned) fleet.poison(name, true);
        fleet.apply(initial.map(applied));
        fleet.connect(stays);
        for (const step of history) perform(fleet, step);
        fleet.connect(stays);
        for (const step of last(stays, 1 - stays, { kind: "apply", batch })) perform(fleet, step);
        for (const each of [0, 1, 0, 1]) fleet.settle(each);
        fleet.flush();
        for (const verdict of fleet.translator.verdicts().values()) {
          expect([verdict.object, fleet.said.get(verdict.object)]).toEqual([verdict.object, fleet.now.of(verdict)]);
          expect(fleet.now.of(verdict).standing).toBe("settled");
        }
        expect(fleet.flush()).toBe(0);
      }),
      { seed, numRuns: RUNS },
    );
  });
});

const route = (service: string) => `[{ match: /, services: [{ name: ${service}, port: 80 }] }]`;
const key = (name: string, namespace = "default") => objectKey("IngressRoute", namespace, name);

function childYaml(name: string, namespace: string, match: string): string {
  return `---
apiVersion: contour.heptio.com/v1beta1
kind: IngressRoute
metadata: { name: ${name}, namespace: ${namespace} }
spec: { routes: [{ match: ${match}, services: [{ name: web, port: 80 }] }] }
`;
}

function messageOf(fleet: Fleet, name: string, namespace?: string): string | undefined {
  return fleet.said.get(key(name, namespace))?.condition.message;
}

describe("what a tenant is told of a refusal", () => {
  test("its words are for the owner of the host, not for a delegate in another namespace", () => {
    const fleet = new Fleet(OPTIONS);
    fleet.poison("h|a.example.com", true);
    fleet.connect(1);
    const routes = "[{ match: /x, delegate: { name: child, namespace: team } }]";
    fleet.apply(
      objects(rootYaml("a", "a.example.com", routes) + childYaml("child", "team", "/x") + serviceYaml("web")),
    );
    fleet.settle(1);
    fleet.flush();
    expect(messageOf(fleet, "a")).toBe("Envoy envoy-1 refused the routes of a.example.com: bad h|a.example.com");
    expect(messageOf(fleet, "child", "team")).toBe(
      "Envoy envoy-1 refused the routes of a.example.com; why is told in the log of Isoline alone, because others have a part in it",
    );
  });

  test("a delegate of the same namespace is told them, and a cluster is told of in its own namespace only", () => {
    const fleet = new Fleet(OPTIONS);
    fleet.poison("default/web/", true);
    fleet.connect(1);
    const routes =
      "[{ match: /x, delegate: { name: child } }, { match: /y, delegate: { name: other, namespace: team } }]";
    fleet.apply(
      objects(
        rootYaml("a", "a.example.com", routes) +
          childYaml("child", "default", "/x") +
          childYaml("other", "team", "/y") +
          serviceYaml("web"),
      ),
    );
    fleet.settle(1);
    fleet.flush();
    expect(messageOf(fleet, "child")).toMatch(/^Envoy envoy-1 refused the cluster default\/web\/80\/\S+: bad /);
    expect(messageOf(fleet, "other", "team")).toBe("accepted by every connected Envoy");
  });
});

test("an Envoy that comes late and refuses what others run is named", () => {
  const fleet = new Fleet(OPTIONS);
  fleet.poison("default/web/", true);
  fleet.apply(objects(rootYaml("a", "a.example.com", route("web")) + serviceYaml("web")));
  fleet.connect(1);
  fleet.settle(1);
  fleet.flush();
  fleet.connect(0);
  fleet.settle(0);
  fleet.flush();
  expect(messageOf(fleet, "a")).toContain("envoy-0");
});

test("a change of a TCP host is nothing that other hosts with TLS wait for", () => {
  const { certPem, keyPem } = createAuthority("test").issue({ names: ["web.example.com"] });
  const secret = `---
apiVersion: v1
kind: Secret
metadata: { name: cert }
type: kubernetes.io/tls
stringData: ${JSON.stringify({ "tls.crt": certPem, "tls.key": keyPem })}
`;
  const host = (name: string, spec: string) => `---
apiVersion: contour.heptio.com/v1beta1
kind: IngressRoute
metadata: { name: ${name}, generation: 1 }
spec: { virtualhost: { fqdn: ${name}.example.com, tls: { secretName: cert } }, ${spec} }
`;
  const tcp = (service: string) => host("tcp", `tcpproxy: { services: [{ name: ${service}, port: 80 }] }`);
  const fleet = new Fleet(OPTIONS);
  const services = serviceYaml("web") + serviceYaml("other");
  fleet.apply(objects(`${secret}${services}${host("web", `routes: ${route("web")}`)}${tcp("web")}`));
  fleet.connect(1);
  fleet.settle(1);
  fleet.flush();
  fleet.apply(objects(tcp("other")));
  fleet.flush();
  expect(fleet.said.get(key("tcp"))?.standing).toBe("pending");
  expect(messageOf(fleet, "tcp")).toBe("not yet accepted by envoy-1");
  expect(fleet.said.get(key("web"))?.standing).toBe("settled");
  const [web] = [...fleet.translator.verdicts().values()].filter(({ object }) => object === key("web"));
  expect(web && fleet.now.of(web).standing).toBe("settled");
  // It is ordinary again, and yet not served so before Envoy has taken the listener that says so.
  fleet.settle(1);
  fleet.apply(objects(host("tcp", `routes: ${route("web")}`)));
  fleet.step(1, "read");
  fleet.flush();
  expect(fleet.said.get(key("tcp"))?.standing).toBe("pending");
  fleet.settle(1);
  fleet.flush();
  expect(fleet.said.get(key("tcp"))?.standing).toBe("settled");
});

describe("the work of a change among many hosts", () => {
  const HOST_COUNT = 300;
  const root = (i: number, more = "") =>
    rootYaml(`r${i}`, `h${i}.example.com`, `[{ match: /x, delegate: { name: shared } }${more}]`);

  function settled(): Fleet {
    const fleet = new Fleet(OPTIONS);
    const roots = Array.from({ length: HOST_COUNT }, (_, i) => root(i)).join("");
    fleet.apply(objects(roots + childYaml("shared", "default", "/x") + serviceYaml("web")));
    fleet.connect(1);
    fleet.settle(1);
    while (fleet.flush() > 0);
    expect([...fleet.said.values()].every(({ condition }) => condition.status === "True")).toBe(true);
    return fleet;
  }
  const workOf = (fleet: Fleet, work: () => void) => {
    const [looks, examined] = [fleet.watch.looks, fleet.now.examined];
    work();
    return { looks: fleet.watch.looks - looks, examined: fleet.now.examined - examined };
  };

  test("is that of its host, though all hosts share a delegate", () => {
    const fleet = settled();
    let said = 0;
    const { looks, examined } = workOf(fleet, () => {
      fleet.apply(objects(root(7, ", { match: /y, services: [{ name: web, port: 80 }] }")));
      said += fleet.flush();
      fleet.settle(1);
      said += fleet.flush();
    });
    expect(looks).toBeLessThanOrEqual(3);
    expect(examined).toBeLessThanOrEqual(15);
    expect(said).toBeLessThanOrEqual(6);
    expect(fleet.said.get(key("shared"))?.condition.status).toBe("True");
  });

  test("is none when an Envoy connects and nobody waits, nor when it goes", () => {
    const fleet = settled();
    const { looks } = workOf(fleet, () => {
      fleet.connect(0);
      fleet.flush();
      fleet.settle(0);
      fleet.flush();
      fleet.disconnect(0);
      fleet.flush();
    });
    expect(looks).toBe(0);
    expect(fleet.watch.troubled).toBe(0);
  });

  test("is a few looks at each host when the first Envoy connects", () => {
    const fleet = settled();
    fleet.disconnect(1);
    fleet.apply(objects(rootYaml("new", "new.example.com", route("web"))));
    fleet.flush();
    expect(messageOf(fleet, "new")).toBe("no Envoy is connected that has routes");
    // What did not change keeps what was said of it.
    expect(messageOf(fleet, "r7")).toBe("accepted by every connected Envoy");
    const { looks } = workOf(fleet, () => {
      fleet.connect(1, true);
      fleet.flush();
      fleet.settle(1);
      fleet.flush();
    });
    expect(messageOf(fleet, "new")).toBe("accepted by every connected Envoy");
    expect(looks).toBeLessThanOrEqual(3);
  });
});
