import { mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterAll, afterEach, beforeAll, expect, test } from "vitest";
import { eventually, startEnvoy } from "../envoy/harness.ts";
import { describeWithEnvoy } from "../envoy/suite.ts";
import { type ApiServer, adminOf, kubeconfig, serviceAccountToken, startApiServer } from "../parts/api-server.ts";
import { deployed, installDefinitions } from "../parts/deploy.ts";
import type { KubeAdmin } from "../parts/kube-admin.ts";
import { type Program, startProgram } from "./program.ts";

const NAMESPACE = "isoline";
const LEASE = { kind: "Lease", namespace: NAMESPACE, name: "isoline" } as const;
const ROUTE = { kind: "IngressRoute", namespace: NAMESPACE, name: "web" } as const;
/** Without a wait for the Lease to run out, which takes 15 s. */
const SOON_MS = 10_000;
const LEASE_MS = 15_000;
/** How long a leader waits for an Envoy before it looks for somebody who has one. */
const IDLE_MS = 30_000;

/** One of its own: whoever leads writes to every object there is. */
let server: ApiServer;
let admin: KubeAdmin;
const folder = mkdtempSync(join(tmpdir(), "isoline-replicas-"));
const programs: Program[] = [];

beforeAll(async () => {
  server = await startApiServer();
  admin = adminOf(server);
  await installDefinitions(admin);
  await admin.apply({ apiVersion: "v1", kind: "Namespace", metadata: { name: NAMESPACE } });
  for (const object of [...deployed("rbac.yaml"), ...deployed("lease.yaml")]) await admin.apply(object);
  const token = await serviceAccountToken(admin, { namespace: NAMESPACE, name: "isoline" });
  writeFileSync(join(folder, "config"), kubeconfig(server, token));
});
afterEach(async () => {
  await Promise.all(programs.splice(0).map(({ end }) => end("SIGKILL")));
});
afterAll(async () => {
  await admin.close();
  await server.stop();
  rmSync(folder, { recursive: true });
});

function start(pod: string): Program {
  const program = startProgram({ POD_NAME: pod }, "--kubeconfig", join(folder, "config"));
  programs.push(program);
  return program;
}

async function isLeading({ get }: Program): Promise<boolean> {
  return (await get("/metrics")).text.includes("\nisoline_leading 1\n");
}

/** Makes the route invalid or valid, and resolves to the generation that it then has. */
async function edit(weight: number): Promise<unknown> {
  const { metadata } = await admin.apply({
    apiVersion: "contour.heptio.com/v1beta1",
    ...{ kind: ROUTE.kind, metadata: { namespace: ROUTE.namespace, name: ROUTE.name } },
    spec: {
      virtualhost: { fqdn: "www.example.com" },
      routes: [{ match: "/", services: [{ name: "web", port: 80, weight }] }],
    },
  });
  return metadata.generation;
}

async function told(generation: unknown, deadlineMs: number): Promise<void> {
  await eventually(async () => {
    const { conditions = [] } = Object((await admin.get(ROUTE))?.status);
    return conditions.some((condition: unknown) => Object(condition).observedGeneration === generation);
  }, deadlineMs);
}

async function transitions(): Promise<unknown> {
  return Object((await admin.get(LEASE))?.spec).leaseTransitions;
}

test("one replica writes statuses; another does when that stops, or is killed", async () => {
  const a = start("pod-a");
  await eventually(() => isLeading(a), SOON_MS);
  expect(Object((await admin.get(LEASE))?.spec).holderIdentity).toMatch(/^pod-a_[0-9a-f]{8}$/);
  const b = start("pod-b");
  await eventually(() => b.lines.some(({ holder }) => String(holder).startsWith("pod-a_")), SOON_MS);
  expect(await isLeading(b)).toBe(false);
  await told(await edit(1), SOON_MS);

  const stopMs = performance.now();
  expect(await a.end("SIGTERM")).toEqual({ code: 0 });
  await told(await edit(2), SOON_MS);
  expect(performance.now() - stopMs).toBeLessThan(LEASE_MS);
  expect(await isLeading(b)).toBe(true);
  expect(await transitions()).toBe(2);

  const c = start("pod-c");
  await eventually(() => c.lines.some(({ holder }) => String(holder).startsWith("pod-b_")), SOON_MS);
  await b.end("SIGKILL");
  const killMs = performance.now();
  const generation = await edit(3);
  // What is served does not wait for anybody to lead.
  await eventually(async () => (await c.get("/api/hosts")).text.includes("www.example.com"), SOON_MS);
  expect(await isLeading(c)).toBe(false);
  await told(generation, LEASE_MS + SOON_MS);
  expect(performance.now() - killMs).toBeGreaterThan(LEASE_MS - 3_000);
  expect(await isLeading(c)).toBe(true);
  expect(await transitions()).toBe(3);
  for (const { lines } of [a, b, c]) expect(lines.filter(({ level }) => level >= 50)).toEqual([]);
}, 90_000);

describeWithEnvoy("replicas of which one has an Envoy", (binary) => {
  test("come to be led by that one, so that it is known what Envoy has accepted", async () => {
    const a = start("pod-a");
    await eventually(() => isLeading(a), LEASE_MS + SOON_MS);
    const b = start("pod-b");
    await eventually(() => b.lines.some(({ holder }) => String(holder).startsWith("pod-a_")), SOON_MS);
    const xdsPort = Number(b.lines.find(({ msg }) => msg === "started")?.xds);
    const envoy = await startEnvoy({ binary, xdsPort });
    try {
      await told(await edit(4), SOON_MS);
      const programmed = async () => {
        const { conditions = [] } = Object((await admin.get(ROUTE))?.status);
        return Object(conditions.find((condition: unknown) => Object(condition).type === "Programmed")).reason;
      };
      expect(await programmed()).toBe("NoEnvoy");
      await eventually(async () => (await programmed()) === "Accepted", IDLE_MS + 2 * SOON_MS);
      expect([await isLeading(a), await isLeading(b)]).toEqual([false, true]);
      expect(a.lines.some(({ msg }) => msg.includes("handing over"))).toBe(true);
    } finally {
      await envoy.stop();
    }
  }, 120_000);
});
