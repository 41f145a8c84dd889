import { once } from "node:events";
import { createServer } from "node:net";
import { afterEach, describe, expect, test } from "vitest";
import { SecretText } from "../../src/api/secret-text.ts";
import { REAL_CLOCK } from "../../src/kube/clock.ts";
import { REVIEW_PATH } from "../../src/webhook/review-server.ts";
import { ReviewThread, type ReviewThreadOptions, type ThreadReport } from "../../src/webhook/review-thread.ts";
import { eventually } from "../envoy/harness.ts";
import { createAuthority } from "../parts/authority.ts";
import { post } from "./post.ts";

const BUILT = new URL("../../dist/cli/webhook-thread.js", import.meta.url);
const SOON_MS = 10_000;

const authority = createAuthority("webhook");
const { certPem, keyPem } = authority.issue({ names: ["127.0.0.1"] });
const pair = { certPem, key: new SecretText(keyPem) };

let reports: ThreadReport[] = [];
let thread: ReviewThread;
afterEach(() => thread.close());

function start(options: Partial<ReviewThreadOptions>): ReviewThread {
  reports = [];
  thread = new ReviewThread({
    script: BUILT,
    settings: {
      compile: { rootNamespaces: [], ingressClass: "contour", minimumTlsVersion: "1.1" },
      isWarnOnly: false,
    },
    clock: { ...REAL_CLOCK, random: () => 0 },
    onReport: (report) => reports.push(report),
    ...options,
  });
  return thread;
}

/** A thread that listens, in its own words, and then does as the code says. */
const scripted = (code: string) =>
  new URL(
    `data:text/javascript,${encodeURIComponent(`
      import { parentPort } from "node:worker_threads";
      parentPort.on("message", ({ kind }) => {
        if (kind === "listen") parentPort.postMessage({ kind: "listening", port: 1 });
        if (kind === "close") parentPort.close();
        ${code}
      });`)}`,
  );

function reviewOf(weight: number): string {
  const routes = [{ match: "/", services: [{ name: "s", port: 80, weight }] }];
  const object = { spec: { virtualhost: { fqdn: "a.example.com" }, routes } };
  const kind = { group: "contour.heptio.com", version: "v1beta1", kind: "IngressRoute" };
  const request = { uid: "1", operation: "CREATE", kind, namespace: "n", name: "a", object };
  return JSON.stringify({ apiVersion: "admission.k8s.io/v1", kind: "AdmissionReview", request });
}

const ask = (port: number, body: string) => post({ port, path: REVIEW_PATH, ca: authority.rootPem }, body);

describe("a thread that answers reviews", () => {
  test("shows the certificate it is given, before or after it listens, and tells what it has said", async () => {
    start({}).use(pair);
    const port = await thread.listen("127.0.0.1", 0);
    const answer = await ask(port, reviewOf(-1));
    expect(JSON.parse(answer.body)).toMatchObject({ response: { allowed: false } });
    thread.use(pair);
    expect(await ask(port, reviewOf(1))).toMatchObject({ status: 200 });
    await eventually(() => reports.length === 2, SOON_MS);
    expect(reports).toMatchObject([
      { kind: "reviewed", verdict: { kind: "IngressRoute", isAllowed: false } },
      { kind: "reviewed", verdict: { kind: "IngressRoute", isAllowed: true } },
    ]);
  });

  test("rejects with the error of the socket", async () => {
    const holder = createServer().listen(0, "127.0.0.1");
    await once(holder, "listening");
    const address = holder.address();
    const port = typeof address === "object" ? (address?.port ?? 0) : 0;
    await expect(start({}).listen("127.0.0.1", port)).rejects.toMatchObject({ code: "EADDRINUSE", syscall: "listen" });
    holder.close();
  });

  test("is closed twice, or before it has listened", async () => {
    await start({}).close();
    await thread.close();
  });

  test.each([
    ["ends", "if (kind === 'ping') process.exit(1);", "it ended"],
    ["throws", "if (kind === 'ping') throw new Error('a bug');", "a bug"],
    ["hangs", "if (kind === 'ping') for (;;);", "it answered no more"],
    [
      "takes more memory than it may",
      `parentPort.postMessage({ kind: "pong" });
       const all = [];
       if (kind === "listen") setInterval(() => all.push(new Array(100_000).fill(all.length)));`,
      "Worker terminated due to reaching memory limit: JS heap out of memory",
    ],
  ])("is begun anew when it %s", async (_, code, message) => {
    await start({ script: scripted(code), beatMs: 20 }).listen("127.0.0.1", 0);
    await eventually(() => reports.length >= 2, SOON_MS);
    for (const report of reports)
      expect(report).toEqual({ kind: "ended", error: expect.objectContaining({ message }) });
  });

  test("is begun anew at once, but not for ever", async () => {
    const waits: number[] = [];
    const sleep = (ms: number, signal: AbortSignal) => {
      waits.push(ms);
      return REAL_CLOCK.sleep(60_000, signal);
    };
    const code = "if (kind === 'ping') process.exit(1);";
    await start({ script: scripted(code), beatMs: 20, clock: { random: () => 0.5, sleep } }).listen("127.0.0.1", 0);
    await eventually(() => waits.length > 0, SOON_MS);
    expect(reports).toHaveLength(6);
    expect(waits).toEqual([100]);
  });

  test("is not taken for dead while this thread hangs", async () => {
    const answering = "if (kind === 'ping') parentPort.postMessage({ kind: 'pong' });";
    await start({ script: scripted(answering), beatMs: 20 }).listen("127.0.0.1", 0);
    for (let i = 0; i < 5; i++) {
      const untilMs = performance.now() + 200;
      while (performance.now() < untilMs);
      await new Promise((resolve) => setImmediate(resolve));
    }
    expect(reports).toEqual([]);
  });
});
