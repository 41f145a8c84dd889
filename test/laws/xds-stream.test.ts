import fc from "fast-check";
import { describe, expect, test } from "vitest";
import { Cache } from "../../src/xds/cache.ts";
import type { StreamOptions } from "../../src/xds/stream.ts";
import { RESOURCE_TYPES, type ResourceType } from "../../src/xds/type-urls.ts";
import { Link } from "../xds/link.ts";
import { ModelEnvoy } from "../xds/model-envoy.ts";
import { type Edit, PATIENCE_MS, SECRETS, World } from "../xds/world.ts";

/** Seeds that once failed stay here. */
const SEEDS = [1, 2, 3, 77, 78, 82, 20_151_021];
const RUNS = 300;

type Step =
  | { readonly kind: "push"; readonly edits: readonly Edit[] }
  | {
      readonly kind:
        | "ready"
        | "tell"
        | "request"
        | "read"
        | "stall"
        | "drain"
        | "reconnect"
        | "restart"
        | "begin"
        | "answerChecks";
    }
  | { readonly kind: "pass"; readonly ms: number }
  | { readonly kind: "stale"; readonly type: ResourceType; readonly pick: number }
  | { readonly kind: "ask" | "drop"; readonly name: string };

const four = fc.nat(3);
const rev = fc.nat(2);
const mask = fc.nat(15);
const type = fc.constantFrom(...RESOURCE_TYPES);
const SERVER_NAMES = ["h0", "H0", "h1", "H1", "h2", "a.w", "A.w", "b.w", "x.a.w", "*.w"] as const;
const secretName = fc.constantFrom(...SERVER_NAMES);

function editWith(poison: fc.Arbitrary<boolean>): fc.Arbitrary<Edit> {
  return fc.oneof(
    {
      weight: 4,
      arbitrary: fc.record({ kind: fc.constant("setCluster" as const), n: four, rev, assignment: fc.nat(5), poison }),
    },
    { weight: 3, arbitrary: fc.record({ kind: fc.constant("setAssignment" as const), n: four, rev, poison }) },
    {
      weight: 4,
      arbitrary: fc.record({ kind: fc.constant("setScope" as const), n: four, rev, clusters: mask, poison }),
    },
    {
      weight: 1,
      arbitrary: fc.record({ kind: fc.constant("setListener" as const), n: fc.nat(1), rev, clusters: mask, poison }),
    },
    {
      weight: 1,
      arbitrary: fc.record({ kind: fc.constant("setSecret" as const), n: fc.nat(SECRETS.length - 1), rev, poison }),
    },
    { weight: 3, arbitrary: fc.record({ kind: fc.constant("remove" as const), type, n: four }) },
  );
}

function stepsWith(poison: fc.Arbitrary<boolean>): fc.Arbitrary<readonly Step[]> {
  const simple = (
    ...kinds: (
      | "ready"
      | "tell"
      | "request"
      | "read"
      | "stall"
      | "drain"
      | "reconnect"
      | "restart"
      | "begin"
      | "answerChecks"
    )[]
  ) => fc.record({ kind: fc.constantFrom(...kinds) });
  return fc.array(
    fc.oneof(
      {
        weight: 6,
        arbitrary: fc.record({
          kind: fc.constant("push" as const),
          edits: fc.array(editWith(poison), { minLength: 1, maxLength: 12 }),
        }),
      },
      { weight: 24, arbitrary: simple("tell", "request", "request", "read", "read", "read") },
      { weight: 3, arbitrary: simple("stall", "drain", "drain", "begin", "answerChecks") },
      {
        weight: 2,
        arbitrary: fc.record({ kind: fc.constant("pass" as const), ms: fc.constantFrom(100, 700, 1000, 20_000) }),
      },
      { weight: 2, arbitrary: simple("ready", "reconnect", "reconnect", "restart") },
      { weight: 1, arbitrary: fc.record({ kind: fc.constant("stale" as const), type, pick: fc.nat(20) }) },
      {
        weight: 2,
        arbitrary: fc.record({
          kind: fc.constantFrom("ask" as const, "ask" as const, "drop" as const),
          name: secretName,
        }),
      },
    ),
    { minLength: 5, maxLength: 150, size: "max" },
  );
}

const MOSTLY_HEALTHY = fc.nat(5).map((n) => n === 0);
const HEALTHY = fc.constant(false);

class Run {
  readonly cache = new Cache();
  readonly link: Link;
  readonly #world = new World();
  readonly #flip: () => boolean;
  /** An upper bound of what there was reason to send. */
  reasons = 0;

  constructor(seed: number, options: Partial<StreamOptions> = {}) {
    this.#flip = coin(seed);
    this.link = new Link(this.cache, new ModelEnvoy(this.#flip), options);
    this.#newStream();
  }

  step(step: Step): void {
    const { link } = this;
    switch (step.kind) {
      case "push": {
        for (const edit of step.edits) this.#world.edit(edit);
        const changes = this.#world.takeChanges();
        this.reasons += changes.set.length + changes.removed.length;
        this.cache.apply(changes);
        return;
      }
      case "ready":
        this.cache.ready();
        return;
      case "tell":
        link.on({ kind: "changed" });
        return;
      case "request":
        link.deliverRequest();
        return;
      case "read":
        link.envoy.read();
        return;
      case "stall":
        link.stall();
        return;
      case "drain":
        link.drain();
        return;
      case "reconnect":
        link.reconnect();
        this.#newStream();
        return;
      case "restart":
        link.reconnect(new ModelEnvoy(this.#flip));
        this.#newStream();
        return;
      case "begin":
        link.envoy.begin();
        return;
      case "answerChecks":
        link.envoy.answerChecks();
        return;
      case "pass":
        link.pass(step.ms);
        return;
      case "stale":
        link.envoy.sayStale(step.type, step.pick);
        return;
      case "ask":
        link.envoy.askSecret(step.name);
        this.reasons++;
        return;
      case "drop":
        link.envoy.dropSecret(step.name);
        return;
    }
  }

  steps(steps: readonly Step[]): void {
    for (const step of steps) {
      this.step(step);
      // Law: what is pending depends on the number of names (26 here), not of changes.
      expect(pendingNames(this.link)).toBeLessThan(4 * 27);
    }
    this.cache.ready();
  }

  /** Listeners and scopes that Envoy does not have as they are, although they lead to no cluster of endless patience. */
  waiting(): readonly string[] {
    const { listeners, scopes } = this.link.envoy;
    const isPatient = (cluster: string) => this.cache.get("cluster", cluster)?.firstCheckMs === PATIENCE_MS;
    const found: string[] = [];
    for (const [type, held] of [
      ["listener", listeners],
      ["scopedRoute", scopes],
    ] as const) {
      for (const [name, resource] of this.cache.resources(type)) {
        if (held.get(name)?.version === resource.version) continue;
        if (type === "listener" || !resource.clusters.some(isPatient)) found.push(`${type} ${name}`);
      }
    }
    return found;
  }

  /** A new stream may owe everything, and an empty response for each type. */
  #newStream(): void {
    this.reasons += 5;
    for (const type of RESOURCE_TYPES) this.reasons += this.cache.resources(type).size;
  }
}

function coin(seed: number): () => boolean {
  let state = seed;
  return () => {
    state = (Math.imul(state, 1_664_525) + 1_013_904_223) >>> 0;
    return state > 2 ** 31;
  };
}

function pendingNames({ stream }: Link): number {
  return RESOURCE_TYPES.reduce((sum, type) => sum + stream.ledger(type).pendingNames, 0);
}

/** Differences between what the Envoy runs and what it should, quarantined resources aside. */
function differences({ cache, link }: Run): readonly string[] {
  const { envoy, stream } = link;
  const found: string[] = [];
  const isQuarantined = (type: ResourceType, name: string, version: string) => {
    if (!stream.ledger(type).isQuarantined(name, version)) return false;
    if (!version.includes("poison")) found.push(`${type} ${name} is healthy and quarantined`);
    return true;
  };
  const heldByType = [
    ["cluster", envoy.clusters],
    ["listener", envoy.listeners],
    ["scopedRoute", envoy.scopes],
  ] as const;
  let isSomeUserQuarantined = false;
  for (const [type, held] of [...heldByType].reverse()) {
    for (const [name, resource] of cache.resources(type)) {
      const running = held.get(name)?.version;
      if (running === resource.version) continue;
      if (isQuarantined(type, name, resource.version)) {
        if (type !== "cluster") isSomeUserQuarantined = true;
        // What was sent before Envoy answered the last time is not known to have been accepted.
        const item = stream.ledger(type).items.get(name);
        if (item?.accepted !== running && item?.sent !== undefined) {
          found.push(`${type} ${name} runs ${running}, which is not the last accepted version`);
        }
      } else found.push(`${type} ${name} runs ${running}, should run ${resource.version}`);
    }
    for (const name of held.keys()) {
      // A quarantined scope keeps an old version, and that may lead to clusters that are gone.
      if (cache.get(type, name) === undefined && !(type === "cluster" && isSomeUserQuarantined))
        found.push(`${type} ${name} is still there`);
    }
  }
  for (const [name, { content, hasEndpoints }] of envoy.clusters) {
    const assignment = content.loadAssignment;
    if (assignment === undefined) continue;
    const wanted = cache.get("loadAssignment", assignment)?.version;
    if (wanted !== undefined && isQuarantined("loadAssignment", assignment, wanted)) continue;
    // Refused, and gone since: Envoy keeps the load assignment that it has.
    if (wanted === undefined && stream.ledger("loadAssignment").items.get(assignment)?.refused !== undefined) continue;
    if (!hasEndpoints) found.push(`cluster ${name} has no load assignment`);
    if (wanted !== undefined && envoy.assignments.get(assignment) !== wanted)
      found.push(`load assignment ${assignment} is old`);
  }
  for (const name of envoy.askedSecrets) {
    const wanted = secretFor(cache, name)?.version;
    if (wanted !== undefined && isQuarantined("secret", name, wanted)) continue;
    if (envoy.secrets.get(name) !== wanted)
      found.push(`secret ${name} is ${envoy.secrets.get(name)}, should be ${wanted}`);
  }
  return found;
}

/** Said again, in other words: a name's own secret, or else that of the wildcard one label up. */
function secretFor(cache: Cache, serverName: string): ReturnType<Cache["get"]> {
  const [first, ...rest] = serverName.toLowerCase().split(".");
  if (first === "*") return undefined;
  return cache.get("secret", [first, ...rest].join(".")) ?? cache.get("secret", ["*", ...rest].join("."));
}

describe.each(SEEDS)("laws of the xDS stream, SEED=%i", (seed) => {
  const parameters = { seed, numRuns: RUNS };

  // Inside: the model throws when a scope leads nowhere and when a cluster in use is removed; the link throws when a
  // version counts as accepted that was not run; each step looks at the memory; the end is reached without a loop.
  test("law: after any interleaving an Envoy runs what the cache holds, and never anything broken in between", () => {
    fc.assert(
      fc.property(stepsWith(MOSTLY_HEALTHY), (steps) => {
        const run = new Run(seed);
        run.steps(steps);
        run.link.settle();
        expect(differences(run).join()).toBe("");
      }),
      parameters,
    );
  });

  test("law: nobody waits for the health checks of anybody else, and a listener for none", () => {
    fc.assert(
      fc.property(stepsWith(HEALTHY), (steps) => {
        const run = new Run(seed);
        run.steps(steps);
        run.link.deliverAll();
        // Long enough for the first checks of some, but not of others.
        run.link.pass(10_000);
        run.link.deliverAll();
        expect(run.waiting().join()).toBe("");
      }),
      parameters,
    );
  });

  test("law: an Envoy that reconnects with what it has is sent no resource", () => {
    fc.assert(
      fc.property(stepsWith(HEALTHY), (steps) => {
        const run = new Run(seed);
        run.steps(steps);
        run.link.settle();
        expect(differences(run).join()).toBe("");
        const { responses, resourcesSent } = run.link;
        run.link.reconnect();
        run.link.settle();
        expect(run.link.resourcesSent - resourcesSent).toBe(0);
        // An empty one for each type that Envoy wants all of, and a refusal of unknown secrets.
        expect(run.link.responses - responses).toBeLessThanOrEqual(4);
        expect(differences(run).join()).toBe("");
      }),
      parameters,
    );
  });

  test("law: an Envoy keeps few names that clients make up, all others, and always the one that was asked for last", () => {
    fc.assert(
      fc.property(stepsWith(HEALTHY), fc.integer({ min: 1, max: 2 }), (steps, maxAliases) => {
        const run = new Run(seed, { maxAliases });
        const { cache, link } = run;
        run.steps(steps);
        link.settle();
        for (const asked of ["", ...SERVER_NAMES]) {
          const { envoy } = link;
          if (asked !== "") {
            envoy.askSecret(asked);
            link.settle();
            expect(envoy.secrets.get(asked)).toBe(secretFor(cache, asked)?.version);
          }
          const isAlias = (name: string) => secretFor(cache, name)?.name !== name;
          expect([...envoy.secrets.keys()].filter(isAlias).length).toBeLessThanOrEqual(maxAliases);
          for (const [name, version] of envoy.secrets) expect(version).toBe(secretFor(cache, name)?.version);
          for (const name of envoy.askedSecrets) {
            if (!isAlias(name)) expect(envoy.secrets.has(name)).toBe(true);
          }
        }
      }),
      parameters,
    );
  });

  test("law: the number of responses is bounded by what there was reason to send", () => {
    fc.assert(
      fc.property(stepsWith(fc.boolean()), (steps) => {
        const run = new Run(seed);
        run.steps(steps);
        run.link.settle();
        // A cluster brings its load assignment; a refused response is halved down to one resource each.
        expect(run.link.responses).toBeLessThanOrEqual(run.reasons * 2 * 4 + 20);
        const { responses } = run.link;
        for (let n = 0; n < 3; n++) run.link.settle();
        expect(run.link.responses).toBe(responses);
      }),
      parameters,
    );
  });
});
