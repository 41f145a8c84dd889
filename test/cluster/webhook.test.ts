import { Agent, request as sendHttp } from "undici";
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { KubeClient } from "../../src/kube/client.ts";
import { REAL_CLOCK } from "../../src/kube/clock.ts";
import { DeclaredCredentials, fixedText } from "../../src/kube/credentials.ts";
import type { RunningWebhook, WebhookOptions, WebhookReport } from "../../src/webhook/webhook.ts";
import { startWebhook } from "../../src/webhook/webhook.ts";
import { eventually } from "../envoy/harness.ts";
import { type ApiServer, adminOf, serviceAccountToken, startApiServer } from "../parts/api-server.ts";
import { deployed, installDefinitions } from "../parts/deploy.ts";
import { collectionPath, type KubeAdmin, type KubeObject } from "../parts/kube-admin.ts";

/** The webhook beside a real API server, with the rights that are shipped, and reached by address instead of by a Service. */

const SERVICE = [{ name: "home", port: 80 }];
const NEGATIVE = 'route "/foo": service "home": weight must be greater than or equal to zero';
const SOON_MS = 15_000;

let server: ApiServer;
let admin: KubeAdmin;
let client: KubeClient;
let namespace = "";
const reports: WebhookReport[] = [];
const running: RunningWebhook[] = [];

beforeAll(async () => {
  server = await startApiServer();
  admin = adminOf(server);
  await installDefinitions(admin);
  await admin.apply({ apiVersion: "v1", kind: "Namespace", metadata: { name: "isoline" } });
  const manifests = [...deployed("rbac.yaml"), ...deployed("webhook.yaml")];
  for (const manifest of manifests) await admin.apply(manifest);
  const token = await serviceAccountToken(admin, { namespace: "isoline", name: "isoline" });
  client = new KubeClient(
    {
      server: server.url,
      tls: { authority: fixedText(server.caPem), serverName: undefined, isInsecure: false },
      credentials: new DeclaredCredentials({ token: fixedText(token) }),
      namespace: "isoline",
    },
    { userAgent: "isoline/test" },
  );
  namespace = await admin.freshNamespace();
});

afterAll(async () => {
  await Promise.all(running.map(({ stop }) => stop()));
  await client.close();
  await admin.close();
  await server.stop();
});

describe("a webhook with a certificate of its own", () => {
  test("does not stand in the way before it is there", async () => {
    expect(await write(root("before", { weight: -1 }))).toEqual({ status: 201, warnings: [] });
  });

  test("refuses what an object shows to be wrong, and warns of the rest, as soon as it is trusted", async () => {
    await start({});
    await point([running[0]?.port ?? 0], "Ignore");
    const refused = await eventually(async () => {
      const answer = await write(root("refused", { weight: -1 }), "All");
      return answer.status !== 201 && answer;
    }, SOON_MS);
    expect(refused).toEqual({
      status: 422,
      message: `admission webhook "ingressroutes.isoline.webhook" denied the request: ${NEGATIVE}`,
      warnings: [],
    });
    expect(await write(root("warned", { wieght: 1 }))).toEqual({
      status: 201,
      warnings: ['route "/foo": service "home": wieght: unknown field, ignored: did you mean weight?'],
    });
    expect(await write(root("right", {}))).toEqual({ status: 201, warnings: [] });
  });

  test("warns the authors of Ingresses", async () => {
    const annotations = { "projectcontour.io/request-timeout": "soon" };
    const backend = { service: { name: "home", port: { number: 80 } } };
    const ingress = {
      apiVersion: "networking.k8s.io/v1",
      kind: "Ingress",
      metadata: { name: "warned", namespace, annotations },
      spec: { defaultBackend: backend },
    };
    expect(await write(ingress)).toEqual({
      status: 201,
      warnings: [expect.stringContaining("annotation projectcontour.io/request-timeout is ignored")],
    });
  });

  test("lets an object go on that was wrong before, and lets its status be written", async () => {
    const ref = { kind: "IngressRoute", namespace, name: "before" };
    await admin.patch(ref, { metadata: { finalizers: ["example.com/x"], annotations: { a: "b" } } });
    await admin.patch(ref, { status: { currentStatus: "invalid", description: NEGATIVE } }, "status");
    await admin.remove(ref);
    await admin.patch(ref, { metadata: { finalizers: null } });
    expect(await admin.get(ref)).toBeUndefined();
    await expect(admin.patch({ ...ref, name: "right" }, { spec: { routes: [] } })).rejects.toThrow(
      "at least one route",
    );
  });

  test("answers in milliseconds", () => {
    const times = reports.flatMap((report) => (report.kind === "reviewed" ? [report.ms] : [])).sort((a, b) => a - b);
    expect(times.length).toBeGreaterThan(5);
    expect(times[Math.floor(times.length / 2)]).toBeLessThan(20);
  });

  test("keeps its key to itself", async () => {
    const secret = await admin.get({ kind: "Secret", namespace: "isoline", name: "isoline-webhook" });
    const { "tls.key": key = "" } = Object(secret?.data);
    const pem = Buffer.from(key, "base64").toString();
    expect(pem).toContain("PRIVATE KEY");
    const [, line = ""] = pem.split("\n");
    expect(JSON.stringify(reports)).not.toContain(line.slice(0, 30));
  });
});

test("certificates change under load, on two replicas of which one leads, and every review is answered", async () => {
  // Every generation is due as soon as it is there: all that ever happens happens all the time.
  const renewal = { lifetimeMs: 3_600_000, renewBeforeMs: 3_600_000, overlapMs: 600, intervalMs: 100 };
  const secret = { namespace: "isoline", name: "isoline-webhook" };
  await Promise.all(running.splice(0).map(({ stop }) => stop()));
  await admin.remove({ kind: "Secret", ...secret });
  reports.splice(0);
  await start({ renewal });
  await start({ renewal, isLeading: () => false });
  await point(
    running.map(({ port }) => port),
    "Ignore",
  );
  const refusal = () => write(root("refused", { weight: -1 }), "All");
  await eventually(async () => (await refusal()).status === 422, SOON_MS);
  // From here on, no answer is a refusal.
  await point(
    running.map(({ port }) => port),
    "Fail",
  );
  await eventually(async () => (await write(root("valid", {}), "All")).status === 201, SOON_MS);

  const promotions = () => reports.filter((report) => report.kind === "stepped" && report.step === "promote").length;
  const wrong: unknown[] = [];
  let sent = 0;
  const until = promotions() + 4;
  const load = async () => {
    while (promotions() < until && wrong.length === 0) {
      const answer = await write(root("valid", {}), "All");
      sent += 1;
      if (answer.status !== 201) wrong.push(answer);
    }
  };
  await Promise.all(Array.from({ length: 4 }, load));
  expect(wrong).toEqual([]);
  expect(sent).toBeGreaterThan(100);
  expect(reports.filter(({ kind }) => kind === "trouble" || kind === "bug")).toEqual([]);
}, 60_000);

test("while nothing answers, everything goes through", async () => {
  await point(
    running.map(({ port }) => port),
    "Ignore",
  );
  await Promise.all(running.splice(0).map(({ stop }) => stop()));
  await eventually(async () => (await write(root("away", { weight: -1 }))).status === 201, SOON_MS);
});

async function start(options: Partial<WebhookOptions>): Promise<void> {
  const started = await startWebhook({
    client,
    address: "127.0.0.1",
    port: 0,
    secret: { namespace: "isoline", name: "isoline-webhook" },
    names: ["127.0.0.1"],
    configuration: "isoline",
    isLeading: () => true,
    isWarnOnly: false,
    compile: { rootNamespaces: [], ingressClass: "contour", minimumTlsVersion: "1.1" },
    thread: new URL("../../dist/cli/webhook-thread.js", import.meta.url),
    now: Date.now,
    clock: REAL_CLOCK,
    onReport: (report) => reports.push(report),
    ...options,
  });
  running.push(started);
}

/** Points the webhooks that are shipped to these ports, each of them to all; the caBundle stays. */
async function point(ports: readonly number[], failurePolicy: "Ignore" | "Fail"): Promise<void> {
  const ref = { kind: "ValidatingWebhookConfiguration", name: "isoline" };
  const [shipped] = deployed("webhook.yaml").filter(({ kind }) => kind === ref.kind);
  const { webhooks: now = [] } = Object(await admin.get(ref));
  const known = new Map<string, string>(
    now.map((webhook: unknown) => [Object(webhook).name, Object(Object(webhook).clientConfig).caBundle]),
  );
  const webhooks = Object(shipped).webhooks.flatMap((webhook: { readonly name: string }) =>
    ports.map((port, i) => {
      const name = i === 0 ? webhook.name : `${webhook.name}${i}`;
      const caBundle = known.get(name);
      const url = `https://127.0.0.1:${port}/validate`;
      const clientConfig = { url, ...(caBundle === undefined ? {} : { caBundle }) };
      return { ...webhook, name, clientConfig, failurePolicy, timeoutSeconds: 5 };
    }),
  );
  await admin.patch(ref, { webhooks });
}

function root(name: string, fields: Readonly<Record<string, unknown>>): KubeObject {
  return {
    apiVersion: "contour.heptio.com/v1beta1",
    kind: "IngressRoute",
    metadata: { name, namespace },
    spec: {
      virtualhost: { fqdn: `${name}.example.com` },
      routes: [{ match: "/foo", services: SERVICE.map((service) => ({ ...service, ...fields })) }],
    },
  };
}

type Answer = { readonly status: number; readonly message?: string; readonly warnings: readonly string[] };

const agent = new Agent({ connect: { rejectUnauthorized: false } });

/** Creates the object as kubectl would, which shows warnings to its user. */
async function write(object: KubeObject, dryRun?: "All"): Promise<Answer> {
  const { statusCode, headers, body } = await sendHttp(
    `${server.url}${collectionPath(object.kind, object.metadata.namespace)}`,
    {
      dispatcher: agent,
      method: "POST",
      query: { fieldValidation: "Strict", ...(dryRun === undefined ? {} : { dryRun }) },
      headers: { authorization: `Bearer ${server.adminToken}`, "content-type": "application/json" },
      body: JSON.stringify(object),
    },
  );
  const { message } = Object(await body.json());
  const warnings = [headers.warning ?? []].flat().map((text) => {
    const [, quoted = ""] = /^299 - (".*")$/.exec(text) ?? [];
    return String(JSON.parse(quoted));
  });
  return statusCode < 400 ? { status: statusCode, warnings } : { status: statusCode, message, warnings };
}
