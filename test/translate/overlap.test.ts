import { expect, test } from "vitest";
import { type Delta, Translator } from "../../src/translate/translator.ts";
import { objects, rootYaml, serviceYaml } from "../objects.ts";
import { testOptions } from "../settings.ts";

/** A host for each name, all to the same Service. */
const roots = (service: string, ...names: readonly string[]) =>
  objects(
    names
      .map((name) => rootYaml(name, `${name}.example.com`, `[{ match: /, services: [{ port: 80, ${service} }] }]`))
      .join(""),
  );
const toService = (name: string, ...hosts: readonly string[]) => roots(`name: ${name}`, ...hosts);
/** With a cluster that is shared by all that have the same load balancing. */
const balanced = (strategy: string, ...names: readonly string[]) => roots(`name: web, strategy: ${strategy}`, ...names);

const setIn = ({ resources }: Delta, type: string) => resources.set.filter((each) => each.type === type).length;

function endOf(steps: Generator<undefined, Delta>): Delta {
  for (;;) {
    const { done, value } = steps.next();
    if (done) return value;
  }
}

test("who ends first brings what others have done by then, and each says which clusters are its own", () => {
  const translator = new Translator(testOptions({}));
  translator.apply([...objects(serviceYaml("web")), ...balanced("RoundRobin", "a", "b", "c")]);
  const two = translator.steps(balanced("Random", "a", "b"));
  expect(two.next().done).toBe(false);
  const one = endOf(translator.steps(balanced("WeightedLeastRequest", "c")));
  expect([...one.hosts].sort()).toEqual(["a.example.com", "c.example.com"]);
  expect([setIn(one, "cluster"), one.newClusters.length]).toEqual([2, 1]);
  expect([...one.verdicts.keys()]).toEqual([]);

  const rest = endOf(two);
  expect([...rest.hosts]).toEqual(["b.example.com"]);
  expect([setIn(rest, "cluster"), rest.newClusters.length]).toEqual([0, 1]);
});

const told = ({ verdicts }: Delta) => [...verdicts].map(([key, verdict]) => `${key} ${verdict?.currentStatus}`);

/** Takes steps; none of them is to be the last. */
function advance(steps: Generator<undefined, Delta>, count: number): void {
  for (let i = 0; i < count; i++) expect(steps.next().done).toBe(false);
}

test("an object that several changes concern is told of by the one that ends last", () => {
  const translator = new Translator(testOptions({}));
  translator.apply([...objects(serviceYaml("web")), ...toService("web", "a", "b")]);
  const toMissing = translator.steps(toService("missing", "b"));
  advance(toMissing, 1);
  const back = translator.steps([...toService("missing", "a"), ...toService("web", "b")]);
  // As far as a: b is still what the others have made of it.
  advance(back, 1);
  expect(told(endOf(toMissing))).toEqual([]);
  expect(told(endOf(back))).toEqual(["IngressRoute/default/a invalid"]);
});

test("nothing is told of an object of which the same is to be said again", () => {
  const translator = new Translator(testOptions({}));
  translator.apply([...objects(serviceYaml("web")), ...toService("web", "a", "b")]);
  const toMissing = translator.steps(toService("missing", "a", "b"));
  // Two hosts and the first object.
  advance(toMissing, 3);
  expect(told(endOf(translator.steps(toService("web", "a"))))).toEqual([]);
  expect(told(endOf(toMissing))).toEqual(["IngressRoute/default/b invalid"]);
});

const PORTS = "ports: [{ name: one, port: 1 }, { name: two, port: 2 }]";

function endpoints(service: string, count: number): string {
  const all = Array.from({ length: count }, (_, i) => `{ addresses: [10.0.0.${i}] }`);
  return `---
apiVersion: discovery.k8s.io/v1
kind: EndpointSlice
metadata: { name: ${service}-1, labels: { kubernetes.io/service-name: ${service} } }
addressType: IPv4
${PORTS}
endpoints: [${all.join(", ")}]
`;
}

const twoPorts = (name: string) => serviceYaml(name).replace("ports: [{ port: 80 }]", PORTS);

const toPorts = (name: string, service: string, ports: readonly number[], more = "") =>
  rootYaml(
    name,
    `${name}.example.com`,
    `[${ports.map((port) => `{ match: /${port}, services: [{ name: ${service}, port: ${port} ${more} }] }`).join(", ")}]`,
  );

test("endpoints of a port that nobody uses any longer when their turn has come are left alone", () => {
  const translator = new Translator(testOptions({}));
  translator.apply(objects(twoPorts("web") + endpoints("web", 1) + toPorts("a", "web", [1, 2])));
  const more = translator.steps(objects(endpoints("web", 2)));
  advance(more, 1);
  translator.apply(objects(toPorts("a", "web", [1])));
  expect(endOf(more).failures).toEqual([]);
});

test("what was said of endpoints that are not checked is not said again when it is no longer so", () => {
  const translator = new Translator({ ...testOptions({}), maxHealthCheckConnections: 3 });
  translator.apply(objects(twoPorts("web") + endpoints("web", 4)));
  const checked = translator.steps(objects(toPorts("a", "web", [1, 2], ", healthCheck: { path: / }")));
  // The host, and one of the two ports.
  advance(checked, 2);
  translator.apply(objects(endpoints("web", 1)));
  endOf(checked);
  expect([...translator.verdicts().values()].map(({ problems }) => problems)).toEqual([[]]);
});
