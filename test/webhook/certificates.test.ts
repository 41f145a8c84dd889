import { X509Certificate } from "node:crypto";
import { inspect } from "node:util";
import fc from "fast-check";
import { describe, expect, test } from "vitest";
import { ApiError, ConnectionError } from "../../src/kube/errors.ts";
import { CertificateKeeper, type KeeperOptions, type KeeperReport } from "../../src/webhook/certificate-keeper.ts";
import { pemBlocks, readGeneration, readSecretData } from "../../src/webhook/generations.ts";
import { type IssuedPair, issuePair } from "../../src/webhook/issue.ts";

const NAMES = ["isoline-webhook.isoline.svc", "127.0.0.1"];
const SECRET = { namespace: "isoline", name: "isoline-webhook" };
const SECRET_PATH = "/api/v1/namespaces/isoline/secrets";
const CONFIGURATION_PATH = "/apis/admissionregistration.k8s.io/v1/validatingwebhookconfigurations/isoline";
const MINUTE = 60_000;
const HOUR = 60 * MINUTE;
/** After which every API server has heard of a change. */
const LATE_MS = 10 * MINUTE;
const DAY = 24 * HOUR;
/** Everything in proportion, so that a year of it is done in seconds. */
const POLICY = { lifetimeMs: 9 * HOUR, renewBeforeMs: 3 * HOUR, overlapMs: 30 * MINUTE, intervalMs: 5 * MINUTE };

test("a certificate that is issued is for its names, from an authority that can issue no others", async () => {
  const pair = await issuePair({ names: NAMES, nowMs: Date.now(), lifetimeMs: DAY });
  const [leaf, authority] = pemBlocks(pair.chainPem).map((pem) => new X509Certificate(pem));
  expect(leaf?.subjectAltName).toBe("DNS:isoline-webhook.isoline.svc, IP Address:127.0.0.1");
  expect(leaf?.ca).toBe(false);
  expect(authority?.ca).toBe(true);
  if (authority !== undefined) expect(leaf?.verify(authority.publicKey)).toBe(true);
  const generation = readGeneration(pair.chainPem, pair.key.reveal());
  expect(NAMES.every((name) => generation?.covers(name))).toBe(true);
  expect(generation?.covers("other.isoline.svc")).toBe(false);
  expect((generation?.notAfterMs ?? 0) - Date.now()).toBeGreaterThan(DAY - MINUTE);
  for (const text of [inspect(pair, { depth: 9 }), JSON.stringify(pair), `${pair.key}`]) {
    expect(text).not.toContain("PRIVATE");
  }
});

test("what is no certificate with its key is not read", async () => {
  const [one, other] = await Promise.all(
    [1, 2].map(() => issuePair({ names: NAMES, nowMs: Date.now(), lifetimeMs: DAY })),
  );
  if (one === undefined || other === undefined) throw new Error("nothing was issued");
  const [leaf = "", authority = ""] = pemBlocks(one.chainPem);
  const [, foreign = ""] = pemBlocks(other.chainPem);
  const key = one.key.reveal();
  expect(readGeneration(`${leaf}\n${authority}`, key)).toBeDefined();
  expect(readGeneration(one.chainPem, other.key.reveal())).toBeUndefined();
  expect(readGeneration(`${leaf}\n${foreign}`, key)).toBeUndefined();
  expect(readGeneration(leaf, key)).toBeUndefined();
  expect(readGeneration(one.chainPem, "x")).toBeUndefined();
  expect(readGeneration(one.chainPem.replaceAll("MII", "MIA"), key)).toBeUndefined();
  expect(readSecretData(undefined)).toBeUndefined();
  expect(readSecretData({ "tls.crt": "!", "tls.key": 7 })).toBeUndefined();
});

describe("a keeper", () => {
  test("makes a Secret when there is none, shows what is in it, and has it trusted", async () => {
    const world = new World(1);
    await world.run(30 * MINUTE);
    const [replica] = world.replicas;
    expect(world.secretType).toBe("Opaque");
    expect(replica?.shown?.chainPem).toBe(world.stored()?.current.chainPem);
    expect(world.isTrusted(replica?.shown)).toBe(true);
    expect(replica?.reports).toEqual([
      { kind: "stepped", step: "replace", notAfterMs: expect.any(Number) },
      { kind: "shown", notAfterMs: world.stored()?.current.notAfterMs },
      { kind: "injected", configuration: "isoline" },
    ]);
    const requests = world.writes;
    await world.run(5 * HOUR);
    expect(world.writes).toBe(requests);
    await world.stop();
  });

  test("of several, all show the same certificate, and the leader alone writes", async () => {
    const world = new World(3);
    world.leader = undefined;
    await world.run(30 * MINUTE);
    expect(new Set(world.replicas.map(({ shown }) => shown?.chainPem))).toEqual(
      new Set([world.stored()?.current.chainPem]),
    );
    // Whoever is first makes the Secret; whom to trust is for the leader to say.
    expect(world.isTrusted(world.replicas[0]?.shown)).toBe(false);
    world.leader = 1;
    await world.run(30 * MINUTE);
    expect(world.replicas.every(({ shown }) => world.isTrusted(shown))).toBe(true);
    const leaders = world.replicas.filter(({ reports }) => reports.some(({ kind }) => kind === "injected"));
    expect(leaders).toEqual([world.replicas[1]]);
    await world.stop();
  });

  test("looks at once when it is told that it leads", async () => {
    const world = new World(2);
    world.leader = undefined;
    await world.run(30 * MINUTE);
    expect(world.configuration).toEqual(configurationOf(""));
    world.leader = 1;
    world.replicas[1]?.keeper.wake();
    await world.run(0);
    expect(world.configuration).not.toEqual(configurationOf(""));
    await world.stop();
  });

  test("renews long before the end, and only what is trusted everywhere is ever shown", async () => {
    const world = new World(2);
    await world.run(30 * MINUTE);
    const seen = new Set<string>();
    for (let step = 0; step < 240; step++) {
      await world.run(5 * MINUTE);
      for (const { shown } of world.replicas) {
        seen.add(shown?.chainPem ?? "");
        expect(world.isTrusted(shown), `after ${step * 5} minutes`).toBe(true);
      }
    }
    expect(seen.size).toBe(4);
    expect(world.trusted()).toHaveLength(1);
    await world.stop();
  });

  test("begins anew when the Secret is lost, spoilt, for other names or out of date", async () => {
    const world = new World(1);
    const [replica] = world.replicas;
    const isRight = () => {
      const { current } = world.stored() ?? {};
      return current !== undefined && NAMES.every(current.covers) && replica?.shown?.chainPem === current.chainPem;
    };
    await world.run(30 * MINUTE);
    world.secret = undefined;
    await world.run(30 * MINUTE);
    expect(isRight() && world.isTrusted(replica?.shown)).toBe(true);
    world.secret = { ...Object(world.secret), data: { "tls.crt": "x" } };
    await world.run(30 * MINUTE);
    expect(isRight() && world.isTrusted(replica?.shown)).toBe(true);
    const other = await issuePair({ names: ["other"], nowMs: world.nowMs, lifetimeMs: DAY });
    world.secret = {
      ...Object(world.secret),
      data: { "tls.crt": base64(other.chainPem), "tls.key": base64(other.key.reveal()) },
    };
    await world.run(30 * MINUTE);
    expect(isRight() && world.isTrusted(replica?.shown)).toBe(true);
    world.failing = 1;
    await world.run(10 * HOUR);
    world.failing = 0;
    await world.run(HOUR);
    expect(isRight() && world.isTrusted(replica?.shown)).toBe(true);
    await world.stop();
  });

  test("tells of trouble once, and when it is over", async () => {
    const world = new World(1);
    world.configuration = undefined;
    await world.run(HOUR);
    world.configuration = configurationOf("");
    await world.run(HOUR);
    expect(world.replicas[0]?.reports.map(({ kind }) => kind)).toEqual([
      ...["stepped", "shown", "trouble", "injected", "recovered"],
    ]);
    await world.stop();
  });

  test("leaves alone what others have written", async () => {
    const world = new World(1);
    await world.run(30 * MINUTE);
    world.secret = { ...world.secret, metadata: { ...Object(world.secret?.metadata), annotations: { a: "b" } } };
    await world.run(8 * HOUR);
    expect(Object(world.secret?.metadata).annotations).toEqual({ a: "b" });
    expect(world.configuration?.webhooks.map(({ clientConfig }) => clientConfig.service)).toEqual([
      { name: "isoline-webhook" },
      { name: "isoline-webhook" },
    ]);
    await world.stop();
  });
});

test("law: whoever leads, and whatever fails for a while, no replica shows what is not trusted", async () => {
  const event = fc.record({
    leader: fc.option(fc.nat(2), { nil: undefined }),
    failing: fc.constantFrom(0, 0, 0.2),
    lostAnswers: fc.constantFrom(0, 0, 0.2),
    minutes: fc.integer({ min: 1, max: 200 }),
  });
  await fc.assert(
    fc.asyncProperty(fc.array(event, { minLength: 4, maxLength: 12 }), fc.nat(), async (events, seed) => {
      const world = new World(3, seed);
      world.leader = 0;
      await world.run(30 * MINUTE);
      for (const { minutes, ...circumstances } of events) {
        Object.assign(world, circumstances);
        for (let passed = 0; passed < minutes; passed += 5) {
          await world.run(5 * MINUTE);
          for (const { shown } of world.replicas) {
            // Nobody renews while nobody leads.
            const isOver = shown === undefined || Date.parse(new X509Certificate(shown.chainPem).validTo) < world.nowMs;
            const isNew = world.nowMs - world.replacedMs < 2 * LATE_MS;
            if (!isOver && !isNew && !world.isTrusted(shown)) throw new Error("shown, and not trusted");
          }
        }
      }
      Object.assign(world, { leader: 1, failing: 0, lostAnswers: 0 });
      await world.run(2 * HOUR);
      expect(world.replicas.every(({ shown }) => world.isTrusted(shown))).toBe(true);
      expect(new Set(world.replicas.map(({ shown }) => shown?.chainPem)).size).toBe(1);
      await world.stop();
    }),
    { seed: 1, numRuns: 8, endOnFailure: true },
  );
});

type RawSecret = Readonly<Record<string, unknown>>;
type RawConfiguration = ReturnType<typeof configurationOf>;

type Replica = {
  readonly keeper: CertificateKeeper;
  readonly reports: KeeperReport[];
  shown: IssuedPair | undefined;
};

/** An API server with one Secret and one configuration, some replicas, and a clock that only the test moves. */
class World {
  nowMs = Date.parse("2026-01-01T00:00:00Z");
  secret: RawSecret | undefined;
  configuration: RawConfiguration | undefined = configurationOf("");
  leader: number | undefined = 0;
  writes = 0;
  /** How many of the requests fail, and how many of the answers are lost, from 0 to 1. */
  failing = 0;
  lostAnswers = 0;
  readonly replicas: readonly Replica[];
  /** When somebody began anew, for which there is no way that nobody notices. */
  replacedMs = Number.NEGATIVE_INFINITY;
  readonly #bundles: { readonly atMs: number; readonly bundles: readonly string[] }[] = [];
  #version = 0;
  #timers: { readonly atMs: number; readonly work: () => void }[] = [];
  #pending = 0;
  #state: number;

  constructor(count: number, seed = 1) {
    this.#state = seed;
    this.replicas = Array.from({ length: count }, (_, i) => this.#replica(i));
    for (const { keeper } of this.replicas) keeper.start();
  }

  get secretType(): unknown {
    return this.secret?.type;
  }

  stored() {
    return readSecretData(this.secret?.data);
  }

  /** Authorities that every API server trusts, also one that hears of changes late. */
  trusted(): readonly string[] {
    const heard = this.#bundles.findLastIndex(({ atMs }) => atMs <= this.nowMs - LATE_MS);
    const [first = [], ...others] = this.#bundles
      .slice(Math.max(heard, 0))
      .flatMap(({ bundles }) => bundles.map(pemBlocks));
    return first.filter((authority) => others.every((blocks) => blocks.includes(authority)));
  }

  isTrusted(pair: IssuedPair | undefined): boolean {
    const [, authority = ""] = pemBlocks(pair?.chainPem ?? "");
    return this.trusted().includes(authority);
  }

  /** Lets the time pass, as fast as the replicas have their work done. */
  async run(ms: number): Promise<void> {
    const endMs = this.nowMs + ms;
    await this.#settle();
    for (;;) {
      const next = this.#timers.reduce((soonest, { atMs }) => Math.min(soonest, atMs), Number.POSITIVE_INFINITY);
      if (next > endMs) break;
      this.nowMs = Math.max(this.nowMs, next);
      const due = this.#timers.filter(({ atMs }) => atMs <= this.nowMs);
      this.#timers = this.#timers.filter(({ atMs }) => atMs > this.nowMs);
      for (const { work } of due) work();
      await this.#settle();
    }
    this.nowMs = endMs;
  }

  async stop(): Promise<void> {
    await Promise.all(this.replicas.map(({ keeper }) => keeper.stop()));
  }

  #replica(index: number): Replica {
    const reports: KeeperReport[] = [];
    const options: KeeperOptions = {
      ...POLICY,
      client: { request: (request) => this.#request(request) },
      secret: SECRET,
      names: NAMES,
      configuration: "isoline",
      isLeading: () => this.leader === index,
      now: () => this.nowMs,
      clock: { random: () => this.#random(), sleep: (ms, signal) => this.#sleep(ms, signal) },
      onCertificate: (pair) => {
        replica.shown = pair;
      },
      onReport: (report) => {
        reports.push(report);
        if (report.kind === "stepped" && report.step === "replace") this.replacedMs = this.nowMs;
      },
    };
    const replica: Replica = { keeper: new CertificateKeeper(options), reports, shown: undefined };
    return replica;
  }

  #sleep(ms: number, signal: AbortSignal): Promise<void> {
    return new Promise((resolve, reject) => {
      const atMs = this.nowMs + ms;
      const timer = { atMs, work: resolve };
      this.#timers.push(timer);
      signal.addEventListener("abort", () => {
        this.#timers = this.#timers.filter((other) => other !== timer);
        reject(signal.reason);
      });
      if (signal.aborted) reject(signal.reason);
    });
  }

  /** Until every replica waits for a timer: issuing a certificate takes real time. */
  async #settle(): Promise<void> {
    for (;;) {
      await new Promise((resolve) => setImmediate(resolve));
      if (this.#pending === 0 && this.#timers.length >= this.replicas.length) return;
    }
  }

  async #request({ method, path, body }: Parameters<KeeperOptions["client"]["request"]>[0]): Promise<unknown> {
    this.#pending++;
    try {
      await null;
      if (this.#random() < this.failing) throw new ConnectionError("connect", "no connection");
      const answer = this.#serve(method, path, JSON.parse(JSON.stringify(body ?? null)));
      if (this.#random() < this.lostAnswers) throw new ConnectionError("cut", "cut");
      return answer;
    } finally {
      this.#pending--;
    }
  }

  #serve(method: string, path: string, body: unknown): unknown {
    if (method !== "GET") this.writes++;
    switch (`${method} ${path}`) {
      case `GET ${SECRET_PATH}/isoline-webhook`:
        return this.secret ?? fail(404);
      case `POST ${SECRET_PATH}`:
        if (this.secret !== undefined) fail(409);
        return this.#keep(body);
      case `PUT ${SECRET_PATH}/isoline-webhook`: {
        const { resourceVersion } = Object(Object(body).metadata);
        if (Object(this.secret?.metadata).resourceVersion !== resourceVersion) fail(409);
        return this.#keep(body);
      }
      case `GET ${CONFIGURATION_PATH}`:
        return this.configuration ?? fail(404);
      case `PATCH ${CONFIGURATION_PATH}`: {
        const { webhooks = [] } = this.configuration ?? fail(404);
        for (const { name, clientConfig } of Object(body).webhooks) {
          const webhook = webhooks.find((candidate) => candidate.name === name);
          if (webhook !== undefined) Object.assign(webhook.clientConfig, clientConfig);
        }
        this.#bundles.push({
          atMs: this.nowMs,
          bundles: webhooks.map(({ clientConfig }) => Buffer.from(clientConfig.caBundle, "base64").toString()),
        });
        return this.configuration;
      }
      default:
        throw new Error(`${method} ${path}`);
    }
  }

  #keep(body: unknown): RawSecret {
    const { metadata, ...rest } = Object(body);
    this.secret = { ...rest, metadata: { ...metadata, resourceVersion: `${++this.#version}` } };
    return this.secret ?? {};
  }

  /** Park and Miller's. */
  #random(): number {
    this.#state = (Math.max(this.#state, 1) * 48_271) % 2_147_483_647;
    return this.#state / 2_147_483_647;
  }
}

function configurationOf(caBundle: string) {
  const service = { name: "isoline-webhook" };
  return {
    webhooks: ["ingressroutes.isoline.dev", "ingresses.isoline.dev"].map((name) => ({
      name,
      clientConfig: { service, caBundle },
    })),
  };
}

function fail(status: number): never {
  throw new ApiError({ message: `${status}`, status, reason: "", causes: [], retryAfterMs: undefined });
}

function base64(text: string): string {
  return Buffer.from(text).toString("base64");
}
