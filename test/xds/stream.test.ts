import { describe, expect, test } from "vitest";
import type { Resource } from "../../src/xds/cache.ts";
import { MAX_RESPONSE_BYTES } from "../../src/xds/stream.ts";
import type { Report } from "../../src/xds/stream-events.ts";
import { Driver, removed, sent } from "./driver.ts";
import { assignment, edsCluster, resource, scope } from "./resources.ts";

/** A stream on which Envoy has taken cluster a with its load assignment, and scope s that leads to it. */
function withScope(): Driver {
  const driver = Driver.with(edsCluster("a"), assignment("a"), scope("s", ["a"]));
  driver.request("cluster");
  driver.request("loadAssignment", { subscribe: ["a"] });
  driver.ack("loadAssignment");
  driver.ack("cluster");
  driver.request("listener");
  driver.request("scopedRoute");
  driver.ack("scopedRoute");
  return driver;
}

function refusals(driver: Driver): readonly Report[] {
  return driver.reports.filter((report) => report.kind === "refused");
}

describe("first request", () => {
  test("a type without resources is answered by one empty response", () => {
    const driver = Driver.with();
    expect(driver.request("cluster")).toEqual([sent("cluster")]);
    expect(driver.ack("cluster")).toEqual([]);
  });

  test("what Envoy holds already is not sent, what is gone is removed", () => {
    const driver = Driver.with(resource("cluster", "a", { rev: 1 }), resource("cluster", "b", { rev: 2 }));
    const a = driver.cache.get("cluster", "a")?.version ?? "";
    const initialVersions = [
      ["a", a],
      ["b", "old"],
      ["c", "v"],
    ] as const;
    // Until Envoy says which scopes it has, it may route to c.
    expect(driver.request("cluster", { initialVersions })).toEqual([sent("cluster", "b")]);
    expect(driver.request("listener")).toEqual([sent("listener")]);
    expect(driver.request("scopedRoute")).toEqual([removed("cluster", "c"), sent("scopedRoute")]);
  });

  test("nothing is answered before the cache is ready", () => {
    const driver = Driver.notReady(edsCluster("a"), scope("s", ["b"]));
    const held = driver.cache.get("scopedRoute", "s")?.version ?? "";
    expect(driver.request("cluster")).toEqual([]);
    expect(driver.request("scopedRoute", { initialVersions: [["s", held]] })).toEqual([]);
    expect(driver.request("secret", { subscribe: ["x"] })).toEqual([]);
    driver.cache.ready();
    expect(driver.on({ kind: "changed" })).toEqual([removed("secret", "x"), sent("cluster", "a"), sent("scopedRoute")]);
  });

  test("a type that we do not serve is reported and otherwise ignored", () => {
    const driver = Driver.with();
    const typeUrl = "type.googleapis.com/envoy.service.runtime.v3.Runtime";
    expect(driver.request("cluster", { typeUrl })).toEqual([]);
    expect(driver.reports).toEqual([{ kind: "unknownType", typeUrl }]);
  });
});

describe("make before break", () => {
  test("each response of clusters is directly followed by their load assignments, then come the scopes", () => {
    const driver = withScope();
    const set = [edsCluster("b"), assignment("b"), scope("t", ["b"])];
    expect(driver.apply({ set })).toEqual([sent("cluster", "b"), sent("loadAssignment", "b")]);
    expect(driver.request("loadAssignment", { subscribe: ["b"] })).toEqual([]);
    expect(driver.ack("loadAssignment")).toEqual([sent("scopedRoute", "t")]);
  });

  test("no load assignment is sent before Envoy has asked for the first, because Envoy would drop it", () => {
    const driver = Driver.with(edsCluster("a"), assignment("a"), scope("s", ["a"]));
    expect(driver.request("scopedRoute")).toEqual([]);
    expect(driver.request("cluster")).toEqual([sent("cluster", "a")]);
    expect(driver.request("loadAssignment", { subscribe: ["a"] })).toEqual([sent("loadAssignment", "a")]);
    expect(driver.ack("loadAssignment")).toEqual([sent("scopedRoute", "s")]);
  });

  test("a load assignment that Envoy acknowledged before it asked for it was dropped, and is sent again", () => {
    const driver = withScope();
    driver.apply({ set: [edsCluster("b"), assignment("b"), scope("t", ["b"])] });
    expect(driver.ack("loadAssignment")).toEqual([]);
    expect(driver.request("loadAssignment", { subscribe: ["b"] })).toEqual([sent("loadAssignment", "b")]);
    expect(driver.ack("loadAssignment")).toEqual([sent("scopedRoute", "t")]);
  });

  test("an acknowledgement that also asks is both", () => {
    const driver = Driver.with(edsCluster("a"), assignment("a"));
    driver.request("cluster");
    driver.request("loadAssignment", { subscribe: ["a"] });
    expect(driver.ack("loadAssignment", { subscribe: ["x"] })).toEqual([sent("loadAssignment", "x")]);
    expect(driver.reports).toContainEqual(expect.objectContaining({ kind: "accepted", type: "loadAssignment" }));
  });

  test("a changed cluster gets its load assignment again, although that is unchanged and shared", () => {
    const driver = withScope();
    expect(driver.apply({ set: [edsCluster("a", 2)] })).toEqual([sent("cluster", "a"), sent("loadAssignment", "a")]);
    expect(driver.apply({ set: [edsCluster("b", 1, "a")] })).toEqual([
      sent("cluster", "b"),
      sent("loadAssignment", "a"),
    ]);
  });

  test("a cluster that warms holds up only the scopes that newly need it", () => {
    const driver = withScope();
    const slow = resource("cluster", "slow", { rev: 1, loadAssignment: "slow", firstCheckMs: 30_000 });
    const set = [slow, assignment("slow"), scope("t", ["slow"]), scope("u", ["a"])];
    expect(driver.apply({ set })).toEqual([
      sent("cluster", "slow"),
      sent("loadAssignment", "slow"),
      sent("scopedRoute", "u"),
    ]);
    driver.request("loadAssignment", { subscribe: ["slow"] });
    driver.ack("loadAssignment");
    driver.ack("scopedRoute");
    // No answer about clusters while one warms, and yet others go on.
    expect(driver.apply({ set: [edsCluster("b"), assignment("b"), scope("v", ["b"])] })).toEqual([
      sent("cluster", "b"),
      sent("loadAssignment", "b"),
    ]);
    driver.request("loadAssignment", { subscribe: ["b"] });
    expect(driver.ack("loadAssignment")).toEqual([sent("scopedRoute", "v")]);
  });

  test("a scope follows a cluster without load assignment at once", () => {
    const driver = withScope();
    const set = [resource("cluster", "dns", { rev: 1 }), scope("t", ["dns"])];
    expect(driver.apply({ set })).toEqual([sent("cluster", "dns"), sent("scopedRoute", "t")]);
  });

  describe("a cluster with health checks", () => {
    /** With its load assignment acknowledged, so that its endpoints are being checked. */
    function checking(...users: readonly Resource[]): Driver {
      const driver = withScope();
      driver.ack("listener");
      const checked = resource("cluster", "c", { rev: 1, loadAssignment: "c", firstCheckMs: 2000 });
      driver.apply({ set: [checked, assignment("c")] });
      driver.request("loadAssignment", { subscribe: ["c"] });
      driver.ack("loadAssignment");
      expect(driver.apply({ set: users })).toEqual([]);
      return driver;
    }

    test("lets scopes follow its acknowledgement", () => {
      expect(checking(scope("t", ["c"])).ack("cluster")).toEqual([sent("scopedRoute", "t")]);
    });

    test("or the time of its own checks, if somebody else's hold back the acknowledgement", () => {
      const driver = checking(scope("t", ["c"]));
      driver.nowMs = 2000;
      expect(driver.on({ kind: "time" })).toEqual([]);
      expect(driver.wake()).toEqual([sent("scopedRoute", "t")]);
      expect(driver.nowMs).toBeLessThan(3000);
      expect(driver.stream.wakeAtMs).toBeUndefined();
    });

    test("holds up no listener", () => {
      const driver = checking();
      const listener = resource("listener", "l", { rev: 1, clusters: ["c"] });
      expect(driver.apply({ set: [listener] })).toEqual([sent("listener", "l")]);
    });
  });

  test("a cluster goes when the scope that led to it has been replaced, and Envoy has said so", () => {
    const driver = withScope();
    const gone = { type: "cluster", name: "a" } as const;
    expect(driver.apply({ set: [scope("s", [], 2)], removed: [gone] })).toEqual([sent("scopedRoute", "s")]);
    expect(driver.ack("scopedRoute")).toEqual([removed("cluster", "a")]);
  });

  test("a cluster that is set again before it was removed simply stays", () => {
    const driver = withScope();
    driver.apply({ set: [scope("s", [], 2)], removed: [{ type: "cluster", name: "a" }] });
    expect(driver.apply({ set: [edsCluster("a")] })).toEqual([]);
    expect(driver.ack("scopedRoute")).toEqual([]);
  });

  test("after a reconnect with an old scope no cluster goes until that scope is known", () => {
    const driver = Driver.with(scope("s", [], 2));
    driver.request("cluster", { initialVersions: [["a", "v"]] });
    driver.request("listener");
    expect(driver.request("scopedRoute", { initialVersions: [["s", "old"]] })).toEqual([sent("scopedRoute", "s")]);
    expect(driver.ack("scopedRoute")).toEqual([removed("cluster", "a")]);
  });
});

describe("an Envoy that reconnects", () => {
  const version = (driver: Driver, type: "cluster" | "scopedRoute" | "loadAssignment", name: string) =>
    driver.cache.get(type, name)?.version ?? "";

  test("gets the load assignment behind a changed cluster even if it says only then that it holds it", () => {
    const driver = Driver.with(edsCluster("a", 2), assignment("a"));
    driver.stalled = true;
    expect(driver.request("cluster", { initialVersions: [["a", "old"]] })).toEqual([sent("cluster", "a")]);
    driver.request("loadAssignment", {
      subscribe: ["a"],
      initialVersions: [["a", version(driver, "loadAssignment", "a")]],
    });
    driver.stalled = false;
    expect(driver.on({ kind: "writable" })).toEqual([sent("loadAssignment", "a")]);
  });

  test("no longer holds up removals once the cache is back at the scope that it runs", () => {
    const driver = Driver.with(edsCluster("a"), assignment("a"), scope("s", ["a"], 2));
    const old = scope("s", []);
    driver.request("cluster", { initialVersions: [["a", version(driver, "cluster", "a")]] });
    driver.request("listener");
    expect(driver.request("scopedRoute", { initialVersions: [["s", old.version]] })).toEqual([]);
    expect(driver.apply({ set: [old], removed: [{ type: "cluster", name: "a" }] })).toContainEqual(
      removed("cluster", "a"),
    );
  });

  test("is not led to a cluster that was set again before its removal, and has no load assignment yet", () => {
    const driver = Driver.with();
    const a = edsCluster("a");
    driver.request("cluster", { initialVersions: [["a", a.version]] });
    driver.request("scopedRoute");
    expect(driver.apply({ set: [a, assignment("a"), scope("s", ["a"])] })).toEqual([]);
    expect(driver.request("loadAssignment", { subscribe: ["a"] })).toEqual([sent("loadAssignment", "a")]);
    expect(driver.ack("loadAssignment")).toEqual([sent("scopedRoute", "s")]);
  });
});

describe("load assignments", () => {
  test("an unknown name is answered with an empty load assignment", () => {
    const driver = Driver.with();
    expect(driver.request("loadAssignment", { subscribe: ["x"] })).toEqual([sent("loadAssignment", "x")]);
    expect(driver.responses[0]?.resources[0]).toMatchObject({ name: "x", version: "empty" });
  });

  test("endpoints that appear are pushed, those that disappear with their Service are not", () => {
    const driver = Driver.with();
    driver.request("loadAssignment", { subscribe: ["x"] });
    driver.ack("loadAssignment");
    expect(driver.apply({ set: [assignment("x")] })).toEqual([sent("loadAssignment", "x")]);
    driver.ack("loadAssignment");
    expect(driver.apply({ removed: [{ type: "loadAssignment", name: "x" }] })).toEqual([]);
  });

  test("what Envoy unsubscribes from is forgotten", () => {
    const driver = Driver.with(assignment("x"));
    driver.request("loadAssignment", { subscribe: ["x"] });
    driver.request("loadAssignment", { unsubscribe: ["x"] });
    expect(driver.apply({ set: [assignment("x", 2)] })).toEqual([]);
    expect(driver.request("loadAssignment", { subscribe: ["x"] })).toEqual([sent("loadAssignment", "x")]);
  });

  test("changes gather while a response is unanswered", () => {
    const driver = Driver.with(assignment("x"), assignment("y"));
    driver.request("loadAssignment", { subscribe: ["x", "y"] });
    for (let rev = 2; rev < 10; rev++) expect(driver.apply({ set: [assignment("x", rev)] })).toEqual([]);
    expect(driver.ack("loadAssignment")).toEqual([sent("loadAssignment", "x")]);
  });
});

describe("secrets", () => {
  const secret = resource("secret", "shop.example.com", { rev: 1 });

  test("each question is answered at once, an unknown name with a removal", () => {
    const driver = Driver.with(secret);
    expect(driver.request("secret", { subscribe: ["shop.example.com"] })).toEqual([sent("secret", "shop.example.com")]);
    expect(driver.request("secret", { subscribe: ["other"] })).toEqual([removed("secret", "other")]);
    expect(driver.request("secret", { subscribe: ["third"] })).toEqual([removed("secret", "third")]);
  });

  test("a name in mixed case gets a copy under that name, also when the secret changes", () => {
    const driver = Driver.with(secret);
    expect(driver.request("secret", { subscribe: ["Shop.Example.COM"] })).toEqual([sent("secret", "Shop.Example.COM")]);
    const [answer] = driver.responses[0]?.resources ?? [];
    expect(answer?.name).toBe("Shop.Example.COM");
    expect(new TextDecoder().decode(answer?.resource?.value)).toContain("as Shop.Example.COM");
    driver.ack("secret");
    const rotated = resource("secret", "shop.example.com", { rev: 2 });
    expect(driver.apply({ set: [rotated] })).toEqual([sent("secret", "Shop.Example.COM")]);
    driver.ack("secret");
    expect(driver.apply({ removed: [{ type: "secret", name: "shop.example.com" }] })).toEqual([
      removed("secret", "Shop.Example.COM"),
    ]);
  });

  test("a wildcard answers for names of one label more that have no secret of their own, and for no other", () => {
    const wildcard = resource("secret", "*.example.com", { rev: 1 });
    const driver = Driver.with(secret, wildcard);
    const ask = (name: string) => {
      const answer = driver.request("secret", { subscribe: [name] });
      driver.ack("secret");
      return answer;
    };
    expect(ask("A.example.com")).toEqual([sent("secret", "A.example.com")]);
    expect(ask("shop.example.com")).toEqual([sent("secret", "shop.example.com")]);
    for (const name of ["example.com", ".example.com", "a.b.example.com", "*.example.com", "*"]) {
      expect(ask(name)).toEqual([removed("secret", name)]);
    }
    expect(driver.apply({ set: [resource("secret", "*.example.com", { rev: 2 })] })).toEqual([
      sent("secret", "A.example.com"),
    ]);
    driver.ack("secret");
    expect(driver.apply({ set: [resource("secret", "a.example.com", { rev: 3 })] })).toEqual([
      sent("secret", "A.example.com"),
    ]);
    driver.ack("secret");
    expect(driver.apply({ removed: [{ type: "secret", name: "shop.example.com" }] })).toEqual([
      sent("secret", "shop.example.com"),
    ]);
  });

  test("a secret that appears later is pushed to who asked for it, and only to them", () => {
    const driver = Driver.with();
    driver.request("secret", { subscribe: ["shop.example.com"] });
    driver.ack("secret");
    expect(driver.apply({ set: [secret, resource("secret", "other", { rev: 1 })] })).toEqual([
      sent("secret", "shop.example.com"),
    ]);
  });

  describe("under names that clients make up", () => {
    const wildcard = resource("secret", "*.example.com", { rev: 1 });
    const hosts = ["one.example.org", "two.example.org", "three.example.org"];
    const few = () =>
      Driver.withMaxAliases(2, wildcard, secret, ...hosts.map((host) => resource("secret", host, { rev: 1 })));
    const ask = (driver: Driver, ...subscribe: string[]) => driver.request("secret", { subscribe });
    /** Envoy says that it has taken everything that it was sent, but for the last few responses. */
    const ackAll = (driver: Driver, butFor = 0) => {
      const nonces = driver.responses.map(({ nonce }) => nonce).slice(0, driver.responses.length - butFor);
      return nonces.flatMap((nonce) => driver.request("secret", { nonce }));
    };
    const served = (driver: Driver, ...names: string[]) =>
      names.flatMap((name) => [...ask(driver, name), ...ackAll(driver)]);

    test("are taken away beyond a number, the oldest first, whether below a wildcard or in odd case", () => {
      const driver = few();
      served(driver, "a.example.com", "Shop.example.com");
      expect(served(driver, "b.example.com")).toEqual([
        sent("secret", "b.example.com"),
        removed("secret", "a.example.com"),
      ]);
      driver.ack("secret", { unsubscribe: ["a.example.com"] });
      expect(served(driver, "SHOP.example.com")).toEqual([
        sent("secret", "SHOP.example.com"),
        removed("secret", "Shop.example.com"),
      ]);
    });

    test("are answered again when they are asked for again", () => {
      for (const unsubscribe of [["a.example.com"], []]) {
        const driver = few();
        served(driver, "a.example.com", "b.example.com", "c.example.com");
        driver.ack("secret", { unsubscribe });
        expect(served(driver, "a.example.com")).toEqual([
          sent("secret", "a.example.com"),
          removed("secret", "b.example.com"),
        ]);
      }
    });

    test("stay for as long as Envoy has not said that it has them: somebody's handshake waits", () => {
      const driver = few();
      expect(ask(driver, "a.example.com", "b.example.com", "c.example.com", "d.example.com")).toHaveLength(1);
      expect(ask(driver, "e.example.com")).toEqual([sent("secret", "e.example.com")]);
      expect(driver.request("secret", { nonce: "2" })).toEqual([
        removed("secret", "a.example.com", "b.example.com", "c.example.com"),
      ]);
    });

    test("are taken away also while other answers are on their way, however many", () => {
      const driver = few();
      for (let n = 0; n < 100; n++) {
        ask(driver, `${n}.example.com`);
        ackAll(driver, 1);
        expect(driver.stream.ledger("secret").isInFlight).toBe(true);
      }
      const gone = driver.responses.flatMap(({ removedResources }) => removedResources);
      expect(gone.length).toBeGreaterThan(90);
      expect(new Set(gone).size).toBe(gone.length);
    });

    test("count no names of hosts, and none that nobody answers for", () => {
      const driver = few();
      const names = [...hosts, "shop.example.com", "x.unknown.org", "y.unknown.org", "z.unknown.org"];
      served(driver, "a.example.com", "b.example.com");
      expect(served(driver, ...names).flatMap((response) => response.removed)).toEqual(names.slice(-3));
    });

    test("count what Envoy holds when it connects, and what it asks for anew, and names that become such", () => {
      const driver = few();
      const initialVersions = ["a.example.com", "b.example.com", "c.example.com"].map(
        (name) => [name, wildcard.version] as const,
      );
      const subscribe = initialVersions.map(([name]) => name);
      expect(driver.request("secret", { initialVersions, subscribe })).toEqual([removed("secret", "a.example.com")]);
      driver.ack("secret", { unsubscribe: ["a.example.com"] });
      served(driver, "shop.example.com");
      // The wildcard's secret is the same in every byte: nothing is to be sent for the name itself.
      expect(driver.apply({ removed: [{ type: "secret", name: "shop.example.com" }] })).toEqual([
        removed("secret", "b.example.com"),
      ]);
    });

    test("change with the secret, as far as Envoy has them", () => {
      const driver = few();
      served(driver, "a.example.com", "b.example.com", "c.example.com");
      ackAll(driver);
      expect(driver.apply({ set: [resource("secret", "*.example.com", { rev: 2 })] })).toEqual([
        sent("secret", "b.example.com", "c.example.com"),
      ]);
    });
  });

  test("a refusal never repeats a dump or key material", () => {
    const dump = 'goo.gle/debugonly name: "x" tls_certificate { private_key { inline_bytes: "abc" } }: bad';
    for (const error of [dump, '{"name": "x"}', `bad key ${"QUJD".repeat(20)}`, "-----BEGIN PRIVATE KEY-----"]) {
      const driver = Driver.with(secret);
      driver.request("secret", { subscribe: ["shop.example.com"] });
      driver.nack("secret", error);
      expect(refusals(driver)).toEqual([
        {
          kind: "refused",
          type: "secret",
          name: "shop.example.com",
          version: secret.version,
          origins: secret.origins,
          message: "Envoy refused it; its message holds a dump of the resource and is withheld",
        },
      ]);
    }
  });
});

describe("refusals", () => {
  test("of one resource: it is quarantined until it changes", () => {
    const driver = withScope();
    expect(driver.apply({ set: [scope("bad", [])] })).toEqual([sent("scopedRoute", "bad")]);
    expect(driver.nack("scopedRoute", "missing ): a((")).toEqual([]);
    expect(refusals(driver)).toEqual([
      {
        kind: "refused",
        type: "scopedRoute",
        name: "bad",
        version: scope("bad", []).version,
        origins: ["IngressRoute/default/bad"],
        message: "missing ): a((",
      },
    ]);
    expect(driver.apply({ set: [scope("s", ["a"], 2)] })).toEqual([sent("scopedRoute", "s")]);
    driver.ack("scopedRoute");
    expect(driver.apply({ set: [scope("bad", [], 2)] })).toEqual([sent("scopedRoute", "bad")]);
  });

  test("of several: they are sent again in parts, and only the culprit stays out", () => {
    const names = Array.from({ length: 20 }, (_, index) => `s${index}`);
    const driver = Driver.with(...names.map((name) => scope(name, [])));
    let response = driver.request("scopedRoute");
    const sizes: number[] = [];
    for (let n = 0; n < 50 && response.length > 0; n++) {
      const set = response[0]?.set ?? [];
      sizes.push(set.length);
      response = set.includes("s13") ? driver.nack("scopedRoute") : driver.ack("scopedRoute");
    }
    expect(sizes).toEqual([20, 10, 10, 5, 5, 1, 1, 1, 1, 1]);
    expect(refusals(driver)).toMatchObject([{ name: "s13" }]);
    const ledger = driver.stream.ledger("scopedRoute");
    for (const name of names) expect(ledger.isAccepted(name)).toBe(name !== "s13");
  });

  test("a resource that changed meanwhile leaves the retry", () => {
    const driver = Driver.with(scope("s", []), scope("t", []));
    driver.request("scopedRoute");
    driver.cache.apply({ set: [scope("s", [], 2)], removed: [] });
    expect(driver.nack("scopedRoute")).toEqual([sent("scopedRoute", "t")]);
    expect(driver.ack("scopedRoute")).toEqual([sent("scopedRoute", "s")]);
    expect(driver.ack("scopedRoute")).toEqual([]);
  });

  test("a cluster that comes back to its accepted version is ready with the load assignment of that version", () => {
    const driver = withScope();
    driver.apply({ set: [edsCluster("a", 2, "other")] });
    driver.nack("cluster");
    expect(driver.apply({ set: [edsCluster("a"), scope("t", ["a"])] })).toEqual([sent("scopedRoute", "t")]);
  });

  test("a refused cluster does not hold up the host that leads to it", () => {
    const driver = withScope();
    driver.apply({ set: [edsCluster("bad"), scope("t", ["a", "bad"])] });
    driver.ack("loadAssignment");
    expect(driver.nack("cluster")).toEqual([sent("scopedRoute", "t")]);
  });

  test("of what was set anew behind its removal: the version before the removal is worth nothing", () => {
    const driver = withScope();
    const cluster = (rev: number) => resource("cluster", "x", { rev });
    driver.apply({ set: [cluster(1)] });
    driver.ack("cluster");
    driver.apply({ removed: [{ type: "cluster", name: "x" }] });
    driver.apply({ set: [cluster(2)] });
    driver.nack("cluster");
    expect(driver.apply({ set: [cluster(1)] })).toEqual([sent("cluster", "x")]);
  });

  test("a dump is left out of the words, and the words are short", () => {
    const driver = withScope();
    driver.apply({ set: [scope("bad", [])] });
    driver.nack(
      "scopedRoute",
      'goo.gle/debugstr name: "x": Proto constraint validation failed (RouteValidationError.Match: value is required)',
    );
    driver.apply({ set: [scope("bad", [], 2)] });
    driver.nack("scopedRoute", "x".repeat(10_000));
    const [first, second] = refusals(driver).map((report) => (report.kind === "refused" ? report.message : ""));
    expect(first).toBe("Proto constraint validation failed (RouteValidationError.Match: value is required)");
    expect(second?.length).toBeLessThan(510);
  });
});

describe("answers", () => {
  test("one to another response never counts, but what it asks for does", () => {
    const driver = Driver.with(scope("s", []), assignment("x"));
    driver.request("scopedRoute");
    for (const nonce of ["", "1", "99", "x"]) driver.request("scopedRoute", { nonce });
    expect(driver.stream.ledger("scopedRoute").isAccepted("s")).toBe(false);
    expect(driver.request("loadAssignment", { nonce: "77", subscribe: ["x"] })).toEqual([sent("loadAssignment", "x")]);
  });
});

describe("a socket that is full", () => {
  test("no response is made until it drains, and then one for all changes", () => {
    const driver = Driver.with(assignment("x"));
    driver.request("loadAssignment", { subscribe: ["x"] });
    driver.ack("loadAssignment");
    driver.stalled = true;
    expect(driver.apply({ set: [assignment("x", 2)] })).toHaveLength(1);
    driver.ack("loadAssignment");
    for (let rev = 3; rev < 2000; rev++) expect(driver.apply({ set: [assignment("x", rev)] })).toEqual([]);
    expect(driver.stream.ledger("loadAssignment").pendingNames).toBe(1);
    expect(driver.cache.logLength("loadAssignment")).toBeLessThan(1100);
    driver.stalled = false;
    expect(driver.on({ kind: "writable" })).toEqual([sent("loadAssignment", "x")]);
  });

  test("clusters that are never acknowledged do not pile up", () => {
    const driver = withScope();
    for (let rev = 2; rev < 500; rev++) driver.apply({ set: [edsCluster("a", rev)] });
    expect(driver.stream.ledger("cluster").pendingNames).toBe(1);
  });
});

describe("size and work", () => {
  const big = (rev: number) =>
    Array.from({ length: 9 }, (_, index) => ({
      ...scope(`s${index}`, [], rev),
      body: new Uint8Array(MAX_RESPONSE_BYTES / 4 - 1000),
    }));

  test("the first scopes come all at once, because a listener opens with them", () => {
    const driver = Driver.with(...big(1));
    expect(driver.request("scopedRoute").map(({ set }) => set.length)).toEqual([9]);
  });

  test("a large push is split", () => {
    const driver = Driver.with(...big(1));
    driver.request("scopedRoute");
    driver.ack("scopedRoute");
    const sizes = [driver.apply({ set: big(2) }), driver.ack("scopedRoute"), driver.ack("scopedRoute")];
    expect(sizes.map(([response]) => response?.set.length)).toEqual([4, 4, 1]);
  });

  test("a change among 10,000 resources costs work for that change only", () => {
    const names = Array.from({ length: 10_000 }, (_, index) => `n${index}`);
    const driver = Driver.with(
      ...names.map((name) => edsCluster(name)),
      ...names.map((name) => assignment(name)),
      ...names.map((name) => scope(name, [name])),
    );
    driver.request("listener");
    for (const { type } of driver.request("cluster")) expect(["cluster", "loadAssignment"]).toContain(type);
    driver.request("loadAssignment", { subscribe: names });
    for (let nonce = 2; nonce < 20; nonce++) driver.request("loadAssignment", { nonce: `${nonce}` });
    for (let nonce = 2; nonce < 20; nonce++) driver.request("cluster", { nonce: `${nonce}` });
    let response = driver.request("scopedRoute");
    while (response.length > 0) response = driver.ack("scopedRoute");
    expect(names.every((name) => driver.stream.ledger("scopedRoute").isAccepted(name))).toBe(true);

    const examined = driver.stream.examined;
    driver.apply({ set: [edsCluster("n7", 2), scope("n8", ["n8"], 2)] });
    driver.ack("scopedRoute");
    driver.ack("loadAssignment");
    driver.ack("cluster");
    expect(driver.stream.examined - examined).toBeLessThanOrEqual(6);
  });
});
