import { connect } from "node:net";
import { text } from "node:stream/consumers";
import { afterAll, beforeAll, expect, test } from "vitest";
import type { Echo } from "../../src/cli/echo.ts";
import { objects, rootYaml, serviceYaml } from "../objects.ts";
import { type Backends, eventually, type Reply, request, startBackends } from "./harness.ts";
import { describeWithEnvoy } from "./suite.ts";
import { startWorld, type World } from "./world.ts";

const to = (service: string, more = "") => `{ services: [{ name: ${service}, port: 80 }], match: / ${more} }`;
const echoed = (reply: Reply): Echo => JSON.parse(reply.body);

describeWithEnvoy("a host on a real Envoy", (binary) => {
  let world: World;
  beforeAll(async () => {
    world = await startWorld({ binary });
    await world.apply(
      objects(
        rootYaml(
          "web",
          "Web.example.com",
          `[${to("web")}, { match: /gone, services: [{ name: gone, port: 80 }] },
            { match: /old, prefixRewrite: /new, services: [{ name: web, port: 80 }] }]`,
        ) +
          rootYaml("address", "10.0.0.1", `[${to("web")}]`) +
          serviceYaml("web"),
      ),
    );
  });
  afterAll(async () => {
    expect(await world.envoy().rejected()).toBe(0);
    await world.stop();
  });

  test.each(["web.example.com", "WEB.Example.com", "web.example.com:8080", "WEB.example.com.", "web.example.com.:80"])(
    "is found as %s, and the backend sees the name as it was asked for",
    async (host) => {
      const reply = await world.get(host, "/x");
      expect(reply.status).toBe(200);
      expect(echoed(reply).host.replace(/\.(?=:|$)/, "")).toBe(host.replace(/\.(?=:|$)/, ""));
    },
  );

  test.each(["other.example.com", "[::1]", "[::1]:80", "a.web.example.com"])("is not found as %s", async (host) => {
    expect((await world.get(host, "/")).status).toBe(404);
  });

  test("is not chosen by a header of the client's, which does not reach the backend", async () => {
    const headers = { "x-isoline-scope": "h|web.example.com" };
    expect((await world.get("other.example.com", "/", headers)).status).toBe(404);
    const reply = await world.get("web.example.com", "/", { "x-isoline-scope": "h|other.example.com" });
    expect(reply.status).toBe(200);
    expect(Object.keys(echoed(reply).headers)).not.toContain("x-isoline-scope");
  });

  test("is served to HTTP/1.0 clients", async () => {
    const socket = connect(world.httpPort, "127.0.0.1");
    socket.write("GET / HTTP/1.0\r\nhost: web.example.com\r\n\r\n");
    expect(await text(socket)).toMatch(/^HTTP\/1\.[01] 200 /);
  });

  test("answers 503 without a body", async () => {
    const { status, body } = await world.get("web.example.com", "/gone");
    expect({ status, body }).toEqual({ status: 503, body: "" });
  });

  test("tells a rewritten backend the path that the client asked for", async () => {
    const { path, headers } = echoed(await world.get("web.example.com", "/old/page?x=1"));
    expect({ path, original: headers["x-envoy-original-path"] }).toEqual({
      path: "/new/page?x=1",
      original: "/old/page?x=1",
    });
  });

  test("may be an address", async () => {
    expect((await world.get("10.0.0.1", "/")).status).toBe(200);
    expect((await world.get("10.0.0.1:80", "/")).status).toBe(200);
  });

  test("answers 503 where a service is missing, in any letter case of the host", async () => {
    for (const host of ["web.example.com", "WEB.example.com"])
      expect((await world.get(host, "/gone/x")).status).toBe(503);
  });

  test.each(["/gone", "/x/../gone", "/x/%2e%2e/gone", "/./gone", "/x/..\\gone", "/gone?a=/x", "/%67one"])(
    "routes %s by the path that it means",
    async (path) => {
      expect((await world.get("web.example.com", path)).status).toBe(503);
    },
  );

  test.each(["/goner", "/GONE", "//gone", "/x%2fgone", "/gone%2f"])("does not take %s for /gone", async (path) => {
    expect((await world.get("web.example.com", path)).status).toBe(200);
  });
});

describeWithEnvoy("shares of traffic on a real Envoy", (binary) => {
  let world: World;
  beforeAll(async () => {
    world = await startWorld({ binary });
  });
  afterAll(async () => {
    expect(await world.envoy().rejected()).toBe(0);
    await world.stop();
  });

  /** How many of 1,000 requests each service answered. */
  const answers = async (services: string): Promise<Map<string, number>> => {
    const names = ["one", "two", "three"].map((name) => serviceYaml(name)).join("");
    await world.replace(
      objects(rootYaml("shares", "shares.example.com", `[{ match: /, services: ${services} }]`) + names),
    );
    const counts = new Map<string, number>();
    for (let i = 0; i < 1000; i += 20) {
      const replies = await Promise.all(Array.from({ length: 20 }, () => world.get("shares.example.com", "/")));
      for (const reply of replies) {
        const who = reply.status === 200 ? echoed(reply).service : String(reply.status);
        counts.set(who, (counts.get(who) ?? 0) + 1);
      }
    }
    return counts;
  };
  /** Within five standard deviations: by chance, fails once in 1.7 million. */
  const expectShare = (count: number | undefined, share: number) => {
    expect(Math.abs((count ?? 0) - 1000 * share)).toBeLessThanOrEqual(5 * Math.sqrt(1000 * share * (1 - share)));
  };

  test("follow the weights", async () => {
    const counts = await answers("[{ name: one, port: 80, weight: 10 }, { name: two, port: 80, weight: 90 }]");
    expectShare(counts.get("default/one"), 0.1);
    expectShare(counts.get("default/two"), 0.9);
  });

  test("are even without weights, and when all are zero", async () => {
    for (const weight of ["", ", weight: 0"]) {
      const counts = await answers(`[{ name: one, port: 80${weight} }, { name: two, port: 80${weight} }]`);
      expectShare(counts.get("default/one"), 0.5);
      expectShare(counts.get("default/two"), 0.5);
    }
  });

  test("are nothing for a service without a weight beside others", async () => {
    const counts = await answers("[{ name: one, port: 80, weight: 1 }, { name: two, port: 80 }]");
    expect([...counts]).toEqual([["default/one", 1000]]);
  });

  test("are everything for a single service, even with weight 0", async () => {
    expect([...(await answers("[{ name: one, port: 80, weight: 0 }]"))]).toEqual([["default/one", 1000]]);
  });

  test("of a missing service answer 503, and those of the others stand", async () => {
    const counts = await answers("[{ name: one, port: 80, weight: 3 }, { name: gone, port: 80, weight: 1 }]");
    expectShare(counts.get("default/one"), 0.75);
    expectShare(counts.get("503"), 0.25);
  });

  test("of a missing service with weight 0 cost nothing", async () => {
    const counts = await answers("[{ name: one, port: 80, weight: 3 }, { name: gone, port: 80, weight: 0 }]");
    expect([...counts]).toEqual([["default/one", 1000]]);
  });
});

describeWithEnvoy("endpoints on a real Envoy", (binary) => {
  let world: World;
  let backends: Backends;
  beforeAll(async () => {
    backends = await startBackends([1, 2, 3].map((port) => ({ service: "backend", port })));
    world = await startWorld({ binary, echo: false, settings: { allowLoopbackExternalName: true } });
  });
  afterAll(async () => {
    expect(await world.envoy().rejected()).toBe(0);
    await world.stop();
    await backends.stop();
  });

  const slice = (endpoints: readonly { backend: number; conditions: string }[]) =>
    endpoints
      .map(
        ({ backend, conditions }) => `---
apiVersion: discovery.k8s.io/v1
kind: EndpointSlice
metadata: { name: web-${backend}, labels: { kubernetes.io/service-name: web } }
addressType: IPv4
ports: [{ port: ${backends.listeningPort("backend", backend)} }]
endpoints: [{ addresses: [127.0.0.1], conditions: ${conditions} }]
`,
      )
      .join("");
  const seen = async (yaml: string): Promise<readonly string[]> => {
    await world.replace(objects(rootYaml("web", "web.example.com", `[${to("web")}]`) + serviceYaml("web") + yaml));
    const found = new Set<string>();
    for (let i = 0; i < 20; i++) {
      const reply = await world.get("web.example.com", "/");
      found.add(reply.status === 200 ? String(JSON.parse(reply.body).port) : String(reply.status));
    }
    return [...found].sort();
  };
  const READY = "{ ready: true }";
  const DRAINING = "{ ready: false, serving: true, terminating: true }";
  const OUT = "{ ready: false, serving: false }";

  test("all ready ones are used, and no others", async () => {
    const all = [
      { backend: 1, conditions: READY },
      { backend: 2, conditions: "{}" },
      { backend: 3, conditions: DRAINING },
    ];
    expect(await seen(slice(all))).toEqual(["1", "2"]);
  });

  test("those that terminate but still serve are used when none is ready", async () => {
    const all = [
      { backend: 1, conditions: OUT },
      { backend: 2, conditions: DRAINING },
    ];
    expect(await seen(slice(all))).toEqual(["2"]);
  });

  test("a service without any answers 503", async () => {
    expect(await seen("")).toEqual(["503"]);
    expect(await seen(slice([{ backend: 1, conditions: OUT }]))).toEqual(["503"]);
  });

  test("an ExternalName is resolved by Envoy, and the Host is the client's", async () => {
    const port = backends.listeningPort("backend", 3);
    const external = `---
apiVersion: v1
kind: Service
metadata: { name: outside }
spec: { type: ExternalName, externalName: localhost, ports: [{ port: ${port} }] }
`;
    const root = rootYaml("out", "out.example.com", `[{ match: /, services: [{ name: outside, port: ${port} }] }]`);
    await world.replace(objects(root + external));
    const reply = await eventually(async () => {
      const answer = await world.get("out.example.com", "/");
      return answer.status === 200 && answer;
    }, 10_000);
    const { port: answered, headers } = JSON.parse(reply.body);
    expect({ answered, host: headers.host }).toEqual({ answered: 3, host: "out.example.com" });
  });

  test("a live host moves between services 100 times and no request fails", async () => {
    const portOf = (backend: number) => backends.listeningPort("backend", backend);
    const services = serviceYaml("one", portOf(1)) + serviceYaml("two", portOf(2));
    await world.replace(objects(rootYaml("live", "live.example.com", `[${to("one")}]`) + services));
    let done = false;
    const statuses = new Map<number, number>();
    const ask = async () => {
      while (!done) {
        const { status } = await request({ port: world.httpPort, host: "live.example.com", path: "/" });
        statuses.set(status, (statuses.get(status) ?? 0) + 1);
      }
    };
    const clients = [ask(), ask(), ask()];
    for (let i = 0; i < 100; i++) {
      await world.apply(objects(rootYaml("live", "live.example.com", `[${to(i % 2 === 0 ? "two" : "one")}]`)));
    }
    done = true;
    await Promise.all(clients);
    expect([...statuses.keys()]).toEqual([200]);
    expect(statuses.get(200)).toBeGreaterThan(100);
  });

  test("Envoy serves without a controller, and a restarted controller sends nothing again", async () => {
    const services = serviceYaml("one", backends.listeningPort("backend", 1));
    await world.replace(objects(rootYaml("kept", "kept.example.com", `[${to("one")}]`) + services));
    await world.restartController(async () => {
      expect((await world.get("kept.example.com", "/")).status).toBe(200);
    });
    expect(world.running().xds.counters().resources).toBe(0);
    expect((await world.get("kept.example.com", "/")).status).toBe(200);
  });

  test("an Envoy that starts anew is sent everything", async () => {
    const services = serviceYaml("one", backends.listeningPort("backend", 1));
    await world.replace(objects(rootYaml("kept", "kept.example.com", `[${to("one")}]`) + services));
    await world.restartEnvoy();
    expect((await world.get("kept.example.com", "/")).status).toBe(200);
  });
});
