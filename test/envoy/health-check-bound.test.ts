import { createServer } from "node:http";
import type { Socket } from "node:net";
import { afterAll, beforeAll, expect, test } from "vitest";
import { objects, rootYaml } from "../objects.ts";
import { type Listening, listening } from "../parts/listening.ts";
import { eventually, freePort } from "./harness.ts";
import { describeWithEnvoy } from "./suite.ts";
import { startWorld, type World } from "./world.ts";

const ENDPOINTS = 60;
/** For a namespace; one port of a Service gets half. */
const MAX_CONNECTIONS = 240;
const SOON_MS = 10_000;

const ADDRESSES = Array.from({ length: ENDPOINTS }, (_, i) => `127.0.1.${101 + i}`);

/** By address: the connections on which its health was asked for, and by which path; and how many other requests it had. */
class Asked {
  readonly checks = new Map<Socket, { readonly address: string; readonly path: string }>();
  readonly requests = new Map<string, number>();
  healthStatus = 200;

  /** The addresses that are health-checked now. */
  addresses(): readonly string[] {
    return [...new Set([...this.checks.values()].map(({ address }) => address))].sort();
  }

  paths(): readonly string[] {
    return [...new Set([...this.checks.values()].map(({ path }) => path))].sort();
  }
}

describeWithEnvoy("more health checks than a namespace may have, on a real Envoy", (binary) => {
  const asked = new Asked();
  const backends: Listening[] = [];
  let world: World;

  beforeAll(async () => {
    const port = await freePort();
    for (const address of ADDRESSES) backends.push(await listening(backend(address), address, port));
    const settings = { maxHealthCheckConnections: MAX_CONNECTIONS };
    world = await startWorld({ binary, echo: false, settings });
    await world.apply(objects(service(port)));
  });
  afterAll(async () => {
    expect(await world.envoy().rejected()).toBe(0);
    await world.stop();
    await Promise.all(backends.map(({ stop }) => stop()));
  });

  function backend(address: string) {
    return createServer(({ url = "", socket }, response) => {
      if (url.startsWith("/health")) {
        if (!asked.checks.has(socket)) socket.once("close", () => asked.checks.delete(socket));
        asked.checks.set(socket, { address, path: url });
        response.writeHead(asked.healthStatus).end();
      } else {
        asked.requests.set(address, (asked.requests.get(address) ?? 0) + 1);
        response.end();
      }
    });
  }

  function service(port: number): string {
    return `---
apiVersion: v1
kind: Service
metadata: { name: web }
spec: { ports: [{ port: 80 }] }
---
apiVersion: discovery.k8s.io/v1
kind: EndpointSlice
metadata: { name: web, labels: { kubernetes.io/service-name: web } }
addressType: IPv4
ports: [{ port: ${port} }]
endpoints: [${ADDRESSES.map((address) => `{ addresses: [${address}] }`).join(", ")}]
`;
  }

  /** With a health check of its own for each of so many routes. */
  async function useInWays(count: number): Promise<void> {
    const routes = Array.from({ length: count }, (_, i) => {
      return `{ match: /r${i}, services: [{ name: web, port: 80, healthCheck: { path: /health${i}, intervalSeconds: 1 } }] }`;
    });
    await world.apply(objects(rootYaml("shop", "shop.example.com", `[${routes.join(", ")}]`)));
    await eventually(async () => expect(await statusOf(count - 1)).toBe(200), SOON_MS);
  }

  async function statusOf(route: number): Promise<number> {
    return (await world.get("shop.example.com", `/r${route}`)).status;
  }

  function problems(): readonly string[] {
    const { verdicts } = world.running().controller.translator.current();
    return [...verdicts.values()].flatMap((verdict) => verdict.problems.map(({ code }) => code));
  }

  test("2 ways to check 60 endpoints are 120 connections, and all of them are made", async () => {
    await useInWays(2);
    await eventually(() => expect(asked.checks.size).toBe(2 * ENDPOINTS), SOON_MS);
    expect(problems()).toEqual([]);
  });

  test("8 ways would be 480: of each the first 15 endpoints are checked, and requests go to all", async () => {
    await useInWays(8);
    await eventually(() => {
      expect(asked.addresses()).toEqual(ADDRESSES.slice(0, 15));
      expect(asked.paths()).toHaveLength(8);
      expect(asked.checks.size).toBe(8 * 15);
    }, SOON_MS);
    expect(problems()).toEqual(["EndpointsNotChecked"]);
    asked.requests.clear();
    await eventually(async () => {
      expect(await statusOf(7)).toBe(200);
      expect(asked.requests.size).toBe(ENDPOINTS);
    }, SOON_MS);
  });

  test("an endpoint that is not checked counts as healthy while those that are fail", async () => {
    asked.healthStatus = 503;
    await eventually(async () => {
      asked.requests.clear();
      for (let i = 0; i < 2 * ENDPOINTS; i++) expect(await statusOf(0)).toBe(200);
      expect([...asked.requests.keys()].sort()).toEqual(ADDRESSES.slice(15));
    }, SOON_MS);
    asked.healthStatus = 200;
    await eventually(async () => {
      asked.requests.clear();
      for (let i = 0; i < 2 * ENDPOINTS; i++) await statusOf(0);
      expect(asked.requests.size).toBe(ENDPOINTS);
    }, SOON_MS);
  });

  test("with more ways than connections nothing is checked, and all serves", async () => {
    await useInWays(MAX_CONNECTIONS / 2 + 1);
    await eventually(() => expect(asked.checks.size).toBe(0), SOON_MS);
    await world.restartEnvoy();
    expect(await statusOf(MAX_CONNECTIONS / 2)).toBe(200);
    expect(asked.checks.size).toBe(0);
  });

  test("with fewer of them all are checked again, and no request fails meanwhile", async () => {
    await useInWays(8);
    let done = false;
    const statuses = new Set<number>();
    const ask = async () => {
      while (!done) statuses.add(await statusOf(0));
    };
    const clients = [ask(), ask()];
    await useInWays(1);
    await eventually(() => {
      expect(asked.addresses()).toEqual(ADDRESSES);
      expect(asked.checks.size).toBe(ENDPOINTS);
    }, SOON_MS);
    done = true;
    await Promise.all(clients);
    expect([...statuses]).toEqual([200]);
    expect(problems()).toEqual([]);
  });
});
