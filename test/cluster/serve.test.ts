import { mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterAll, afterEach, expect, test } from "vitest";
import { KINDS } from "../../src/api/kinds.ts";
import { kubeconfig, tokenBoundTo } from "../parts/api-server.ts";
import { deployed } from "../parts/deploy.ts";
import { eventually } from "../sources/told.ts";
import { type Program, startProgram } from "./program.ts";
import { sharedCluster, sharedServer } from "./suite.ts";

const admin = sharedCluster();
const folder = mkdtempSync(join(tmpdir(), "isoline-serve-"));
const programs: Program[] = [];
afterEach(async () => {
  await Promise.all(programs.splice(0).map(({ end }) => end("SIGKILL")));
});
afterAll(async () => {
  rmSync(folder, { recursive: true });
  await admin.close();
});

function serve(env: Readonly<Record<string, string>>, ...args: readonly string[]): Program {
  const program = startProgram(env, ...args);
  programs.push(program);
  return program;
}

test("isoline serve reads from the API server of a kubeconfig, with the rights of its role", async () => {
  const namespace = await admin.freshNamespace();
  const roles = [
    { kind: "ClusterRole", name: "isoline" },
    { kind: "Role", name: "isoline" },
  ] as const;
  for (const { kind, name } of roles) {
    const [role] = deployed("rbac.yaml").filter((object) => object.kind === kind && object.metadata.name === name);
    if (role === undefined) throw new Error(`there is no ${kind} ${name}`);
    await admin.apply({ ...role, metadata: { name, ...(kind === "Role" ? { namespace } : {}) } });
  }
  const token = await tokenBoundTo(admin, namespace, roles);
  // Whoever led would write statuses to the objects of all other tests.
  for (const lease of deployed("lease.yaml")) {
    const spec = { holderIdentity: "somebody", leaseDurationSeconds: 3600 };
    await admin.apply({ ...lease, metadata: { ...lease.metadata, namespace }, spec });
  }
  const file = join(folder, "config");
  writeFileSync(file, kubeconfig(sharedServer(), token));
  const env = { ISOLINE_KUBECONFIG: file, ISOLINE_LEADER_ELECTION_NAMESPACE: namespace };
  const { lines, get, end } = serve(env);
  await eventually(async () => expect(await get("/readyz")).toEqual({ status: 200, text: "ok\n" }));

  const fqdn = `${namespace}.example.com`;
  await admin.apply({
    apiVersion: "contour.heptio.com/v1beta1",
    kind: "IngressRoute",
    metadata: { namespace, name: "web" },
    spec: { virtualhost: { fqdn }, routes: [{ match: "/", services: [{ name: "web", port: 80 }] }] },
  });
  await eventually(async () => expect((await get("/api/hosts")).text).toContain(fqdn));
  const { text: metrics } = await get("/metrics");
  for (const { kind } of KINDS) {
    expect(metrics).toContain(`isoline_kubernetes_lists_total{kind="${kind}",reason="first"} 1\n`);
    expect(metrics).toMatch(new RegExp(`isoline_kubernetes_silence_seconds\\{kind="${kind}"\\} \\d`));
  }
  expect(metrics).toMatch(/isoline_kubernetes_events_total\{kind="IngressRoute"\} [1-9]/);
  expect(metrics).not.toContain("isoline_kubernetes_errors_total{");
  await eventually(() => expect(lines).toContainEqual(expect.objectContaining({ holder: "somebody" })));
  expect(metrics).toContain("\nisoline_leading 0\n");
  expect(lines.filter(({ level }) => level >= 50)).toEqual([]);

  expect(await end("SIGTERM")).toEqual({ code: 0 });
});

test("isoline serve is not ready while there is no API server, and says why", async () => {
  const { lines, get, end } = serve({}, "--kubeconfig", nowhere());
  await eventually(() => expect(lines.some(({ level }) => level === 50)).toBe(true));
  expect(lines.find(({ level }) => level === 50)?.msg).toMatch(
    /^the API server cannot be reached: connect ECONNREFUSED/,
  );
  const parts = KINDS.map(({ plural, apiVersions: [version = ""] }) => [plural, ...version.split("/").slice(0, -1)]);
  const unread = parts.map((part) => part.join(".")).join(", ");
  expect(await get("/readyz")).toEqual({ status: 503, text: `not everything has been read yet: ${unread}\n` });
  expect((await get("/healthz")).status).toBe(200);
  expect(await end("SIGTERM")).toEqual({ code: 0 });
});

/** A kubeconfig of a server that is not there. */
function nowhere(): string {
  const file = join(folder, "nowhere");
  writeFileSync(file, kubeconfig({ ...sharedServer(), url: "https://127.0.0.1:1" }, "token"));
  return file;
}
