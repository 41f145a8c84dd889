import { type ChildProcess, spawn } from "node:child_process";
import { once } from "node:events";
import { mkdtemp, readFile, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import { afterAll, beforeAll, expect, test } from "vitest";
import { eventually } from "../envoy/harness.ts";
import { type ApiServer, adminOf, kubeconfig, serviceAccountToken, startApiServer } from "../parts/api-server.ts";
import { deployed, deployFiles, installDefinitions, type Right, right, rightsOf } from "../parts/deploy.ts";
import type { KubeAdmin, KubeObject } from "../parts/kube-admin.ts";

/** The whole controller, with the rights that are shipped and nothing more; what it does with them is read from an audit log. */

const MAIN = fileURLToPath(new URL("../../dist/main.js", import.meta.url));
const ACCOUNT = { namespace: "isoline", name: "isoline" };
const USER = "system:serviceaccount:isoline:isoline";
/** A new Lease is waited for, fifteen seconds. */
const SOON_MS = 45_000;

let folder = "";
let server: ApiServer;
let admin: KubeAdmin;
let controller: ChildProcess | undefined;

beforeAll(async () => {
  folder = await mkdtemp(join(tmpdir(), "isoline-rbac-"));
  const policy = {
    apiVersion: "audit.k8s.io/v1",
    kind: "Policy",
    omitStages: ["RequestReceived"],
    rules: [{ level: "Metadata", users: [USER] }, { level: "None" }],
  };
  await writeFile(join(folder, "policy.json"), JSON.stringify(policy));
  server = await startApiServer({
    flags: [`--audit-policy-file=${join(folder, "policy.json")}`, `--audit-log-path=${join(folder, "audit.log")}`],
  });
  admin = adminOf(server);
  await installDefinitions(admin);
  await admin.apply({ apiVersion: "v1", kind: "Namespace", metadata: { name: ACCOUNT.namespace } });
  for (const file of ["rbac.yaml", "webhook.yaml"]) {
    for (const manifest of deployed(file)) await admin.apply(manifest);
  }
  const config = JSON.parse(kubeconfig(server, await serviceAccountToken(admin, ACCOUNT)));
  config.contexts[0].context.namespace = ACCOUNT.namespace;
  await writeFile(join(folder, "kubeconfig"), JSON.stringify(config));
});

afterAll(async () => {
  await stopController();
  await admin.close();
  await server.stop();
  await rm(folder, { recursive: true, force: true });
});

test("the controller has the rights that it needs, and needs the rights that it has", async () => {
  const failure: unknown = await useEverything().then(
    () => undefined,
    (error: unknown) => error,
  );
  await stopController();
  const requests = await audited();
  // A right that is missing is the first thing to know of a failure.
  expect(requests.filter(({ code }) => code === 403).map(inWords)).toEqual([]);
  if (failure !== undefined) throw failure;

  const roles = deployFiles()
    .flatMap(deployed)
    .filter(({ kind }) => kind === "ClusterRole" || kind === "Role");
  const granted = [...new Set(roles.flatMap(rightsOf))];
  const used = new Set(requests.flatMap(rightsUsed));
  expect(granted.filter((each) => !used.has(each))).toEqual([]);
  const others = requests.filter((request) => !rightsUsed(request).some((each) => granted.includes(each)));
  expect(others.map(inWords)).toEqual([]);
}, 180_000);

/** Has the controller do everything that it ever does. */
async function useEverything(): Promise<void> {
  const namespace = await admin.freshNamespace();
  for (const object of objectsIn(namespace)) await admin.apply(object);
  const route = { kind: "IngressRoute", namespace, name: "shop" };
  const secret = { kind: "Secret", namespace: ACCOUNT.namespace, name: "isoline-webhook" };

  startController();
  await eventually(async () => statusOf(await admin.get(route)).currentStatus === "valid", SOON_MS);
  const ingress = { kind: "Ingress", namespace, name: "bakery" };
  await eventually(async () => statusOf(await admin.get(ingress)).loadBalancer?.ingress?.length === 1, SOON_MS);
  const [{ match = "", services = [] } = {}] = Object((await admin.get(route))?.spec).routes;
  const wrong = [{ match, services: [{ ...services[0], weight: -1 }] }];
  await admin.patch(route, { spec: { routes: wrong } });
  await eventually(async () => statusOf(await admin.get(route)).currentStatus === "invalid", SOON_MS);
  await eventually(async () => (await admin.list("Event", namespace)).items.length > 0, SOON_MS);
  const configuration = { kind: "ValidatingWebhookConfiguration", name: "isoline" };
  await eventually(async () => JSON.stringify(await admin.get(configuration)).includes('"caBundle"'), SOON_MS);

  // It renews its certificate in a month; one that is spoilt, at once.
  await stopController();
  await admin.patch(secret, { data: { "tls.crt": Buffer.from("spoilt").toString("base64") } });
  startController();
  await eventually(async () => dataOf(await admin.get(secret))["tls.crt"]?.length > 100, SOON_MS);
}

function startController(): void {
  const args = [
    ...["serve", "--kubeconfig", join(folder, "kubeconfig"), "--xds-port", "0", "--http-port", "0"],
    ...["--webhook-port", "0", "--webhook-service", "isoline/isoline-webhook", "--webhook-configuration", "isoline"],
    ...["--ingress-status-address", "192.0.2.1", "--log-level", "error"],
  ];
  controller = spawn(process.execPath, [MAIN, ...args], { stdio: ["ignore", "ignore", "inherit"] });
}

async function stopController(): Promise<void> {
  const running = controller;
  controller = undefined;
  if (running === undefined || running.exitCode !== null) return;
  const exited = once(running, "exit");
  running.kill("SIGTERM");
  await exited;
}

/** One object of each kind that is read, all in order. */
function objectsIn(namespace: string): readonly KubeObject[] {
  const metadata = (name: string) => ({ name, namespace });
  return [
    {
      apiVersion: "contour.heptio.com/v1beta1",
      kind: "IngressRoute",
      metadata: metadata("shop"),
      spec: {
        virtualhost: { fqdn: "shop.example.com" },
        routes: [{ match: "/", services: [{ name: "web", port: 80 }] }],
      },
    },
    {
      apiVersion: "networking.k8s.io/v1",
      kind: "Ingress",
      metadata: metadata("bakery"),
      spec: { defaultBackend: { service: { name: "web", port: { number: 80 } } } },
    },
    {
      apiVersion: "v1",
      kind: "Service",
      metadata: metadata("web"),
      spec: { clusterIP: "None", ports: [{ port: 80 }] },
    },
  ];
}

type Audited = {
  readonly verb: string;
  readonly group: string;
  readonly resource: string;
  readonly name: string;
  readonly code: number;
  readonly uri: string;
};

async function audited(): Promise<readonly Audited[]> {
  const lines = (await readFile(join(folder, "audit.log"), "utf8")).split("\n").filter((line) => line !== "");
  return lines.map((line) => {
    const { verb, requestURI, objectRef = {}, responseStatus = {} } = JSON.parse(line);
    const { apiGroup = "", resource = "", subresource, name = "" } = objectRef;
    return {
      ...{ verb, name, group: apiGroup, resource: subresource === undefined ? resource : `${resource}/${subresource}` },
      ...{ code: responseStatus.code ?? 0, uri: requestURI },
    };
  });
}

/** A request may use a right for all names, or for its own. */
function rightsUsed({ verb, group, resource, name }: Audited): readonly Right[] {
  return [right(verb, group, resource, ""), right(verb, group, resource, name)];
}

function inWords({ verb, uri, code }: Audited): string {
  return `${verb} ${uri}: ${code}`;
}

function statusOf(object: KubeObject | undefined) {
  return Object(object?.status);
}

function dataOf(object: KubeObject | undefined) {
  return Object(object?.data);
}
