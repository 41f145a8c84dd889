import { type ChildProcess, spawn } from "node:child_process";
import { once } from "node:events";
import { mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { createInterface } from "node:readline";
import { fileURLToPath } from "node:url";
import { afterAll, afterEach, expect, test } from "vitest";
import { KINDS } from "../../src/api/kinds.ts";
import { kubeconfig, tokenBoundTo } from "../parts/api-server.ts";
import { deployed } from "../parts/deploy.ts";
import { eventually } from "../sources/told.ts";
import { sharedCluster, sharedServer } from "./suite.ts";

const MAIN = fileURLToPath(new URL("../../dist/main.js", import.meta.url));

const admin = sharedCluster();
const folder = mkdtempSync(join(tmpdir(), "isoline-serve-"));
const processes: ChildProcess[] = [];
afterEach(async () => {
  for (const child of processes.splice(0)) {
    if (child.exitCode !== null || child.signalCode !== null) continue;
    child.kill("SIGKILL");
    await once(child, "exit");
  }
});
afterAll(async () => {
  rmSync(folder, { recursive: true });
  await admin.close();
});

type Line = { readonly level: number; readonly msg: string; readonly http?: number };

/** The built program, on ports that are free. */
function serve(env: Readonly<Record<string, string>>, ...args: readonly string[]) {
  const ports = ["--xds-port", "0", "--http-port", "0", "--log-format", "json"];
  const child = spawn(process.execPath, [MAIN, "serve", ...ports, ...args], {
    env: { PATH: process.env.PATH, ...env },
    stdio: ["ignore", "ignore", "pipe"],
  });
  processes.push(child);
  const lines: Line[] = [];
  createInterface({ input: child.stderr }).on("line", (line) => lines.push(JSON.parse(line)));
  const get = async (path: string) => {
    const port = lines.find(({ msg }) => msg === "started")?.http;
    const answer = await fetch(`http://127.0.0.1:${port}${path}`);
    return { status: answer.status, text: await answer.text() };
  };
  return { child, lines, get };
}

test("isoline serve reads from the API server of a kubeconfig, with the rights of its role", async () => {
  const namespace = await admin.freshNamespace();
  for (const object of deployed("rbac.yaml").filter(({ kind }) => kind === "ClusterRole")) await admin.apply(object);
  const token = await tokenBoundTo(admin, namespace, [{ kind: "ClusterRole", name: "isoline" }]);
  const file = join(folder, "config");
  writeFileSync(file, kubeconfig(sharedServer(), token));
  const { child, lines, get } = serve({ ISOLINE_KUBECONFIG: file });
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
    expect(metrics).toContain(`isoline_kubernetes_lists_total{kind="${kind}"} 1\n`);
    expect(metrics).toMatch(new RegExp(`isoline_kubernetes_silence_seconds\\{kind="${kind}"\\} \\d`));
  }
  expect(metrics).toMatch(/isoline_kubernetes_events_total\{kind="IngressRoute"\} [1-9]/);
  expect(metrics).not.toContain("isoline_kubernetes_errors_total{");
  expect(lines.filter(({ level }) => level >= 50)).toEqual([]);

  child.kill("SIGTERM");
  expect(await once(child, "exit")).toEqual([0, null]);
});

test("isoline serve is not ready while there is no API server, and says why", async () => {
  const { child, lines, get } = serve({}, "--kubeconfig", nowhere());
  await eventually(() => expect(lines.some(({ level }) => level === 50)).toBe(true));
  expect(lines.find(({ level }) => level === 50)?.msg).toMatch(
    /^the API server cannot be reached: connect ECONNREFUSED/,
  );
  expect((await get("/readyz")).status).toBe(503);
  expect((await get("/healthz")).status).toBe(200);
  child.kill("SIGTERM");
  expect(await once(child, "exit")).toEqual([0, null]);
});

/** A kubeconfig of a server that is not there. */
function nowhere(): string {
  const file = join(folder, "nowhere");
  writeFileSync(file, kubeconfig({ ...sharedServer(), url: "https://127.0.0.1:1" }, "token"));
  return file;
}
