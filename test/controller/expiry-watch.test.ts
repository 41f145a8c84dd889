import { ServerCredentials } from "@grpc/grpc-js";
import { afterEach, beforeEach, expect, test, vi } from "vitest";
import type { ObjectChange } from "../../src/api/kinds.ts";
import { createLog } from "../../src/controller/log.ts";
import { type RunningController, runController } from "../../src/controller/run.ts";
import type { SourceListener } from "../../src/sources/source.ts";
import { objects, serviceYaml } from "../objects.ts";
import { createAuthority, ecKey } from "../parts/authority.ts";
import { DEFAULT_SETTINGS } from "../settings.ts";

const DAY_MS = 24 * 60 * 60 * 1000;
const HOUR_MS = 60 * 60 * 1000;
const START_MS = Date.UTC(2026, 0, 1);

let nowMs: number;
let running: RunningController;
let listener: SourceListener;
let log: string;

beforeEach(async () => {
  vi.useFakeTimers({ toFake: ["setInterval", "clearInterval"] });
  nowMs = START_MS;
  log = "";
  running = await runController({
    settings: DEFAULT_SETTINGS,
    xds: { address: "127.0.0.1", port: 0, credentials: ServerCredentials.createInsecure() },
    http: { address: "127.0.0.1", port: 0 },
    source: (given) => {
      listener = given;
      return { start: () => {}, stop: async () => {}, locate: () => undefined };
    },
    log: createLog({ level: "info", format: "json" }, (line) => {
      log += line;
    }),
    now: () => nowMs,
  });
});
afterEach(async () => {
  await running.stop();
  vi.useRealTimers();
});

const authority = createAuthority("test");

function secret(daysLeft: number): readonly ObjectChange[] {
  const [notBefore, notAfter] = [new Date(START_MS - 90 * DAY_MS), new Date(START_MS + daysLeft * DAY_MS)];
  const { certPem, keyPem } = authority.issue({ names: ["*.example.com"], notBefore, notAfter });
  return objects(`
apiVersion: v1
kind: Secret
metadata: { name: cert }
type: kubernetes.io/tls
stringData: ${JSON.stringify({ "tls.crt": certPem, "tls.key": keyPem })}
`);
}

function root(name: string): readonly ObjectChange[] {
  return objects(`
apiVersion: contour.heptio.com/v1beta1
kind: IngressRoute
metadata: { name: ${name} }
spec:
  virtualhost: { fqdn: ${name}.example.com, tls: { secretName: cert } }
  routes: [{ match: /, services: [{ name: web, port: 80 }] }]
`);
}

/** The warnings about certificates since the last call. */
function told(): readonly unknown[] {
  const lines = log.trimEnd().split("\n");
  log = "";
  return lines
    .filter((line) => line.includes("certificate"))
    .map((line) => {
      const { level, host, hosts, object, msg } = JSON.parse(line);
      return { level, host, hosts, object, msg };
    });
}

function pass(ms: number): void {
  nowMs += ms;
  vi.advanceTimersByTime(ms);
}

/** Of pino's levels. */
const WARN = 40;
const SOON = "the certificate expires soon, on 2026-01-11T00:00:00.000Z";
const EXPIRED =
  "the certificate has expired on 2026-01-11T00:00:00.000Z, so clients refuse it; it is presented all the same";
const about = (msg: string, hosts: number) => ({
  level: WARN,
  host: "a.example.com",
  hosts,
  object: "IngressRoute/default/a",
  msg,
});

test("a certificate that ends soon is told once at the start, however many hosts it is for, and again when it has", () => {
  listener.changed([...secret(10), ...root("b"), ...root("a"), ...objects(serviceYaml("web"))]);
  expect(told()).toEqual([]);
  listener.synced();
  expect(told()).toEqual([about(SOON, 2)]);
  listener.changed(root("c"));
  pass(9 * DAY_MS);
  expect(told()).toEqual([]);
  pass(DAY_MS);
  expect(told()).toEqual([about(EXPIRED, 3)]);
  pass(5 * DAY_MS);
  expect(told()).toEqual([]);
});

test("a certificate is told of when it becomes one that ends soon, and not after it was renewed", () => {
  listener.changed([...secret(15), ...root("a"), ...objects(serviceYaml("web"))]);
  listener.synced();
  pass(23 * HOUR_MS);
  expect(told()).toEqual([]);
  pass(HOUR_MS);
  expect(told()).toEqual([about("the certificate expires soon, on 2026-01-16T00:00:00.000Z", 1)]);
  listener.changed(secret(100));
  pass(30 * DAY_MS);
  expect(told()).toEqual([]);
});

test("a certificate that comes later is told of at once", () => {
  listener.changed([...secret(100), ...root("a"), ...objects(serviceYaml("web"))]);
  listener.synced();
  expect(told()).toEqual([]);
  listener.changed(secret(10));
  expect(told()).toEqual([about(SOON, 1)]);
});

test("a namespace with many certificates that end soon has its share of the log, and others have theirs", () => {
  const notAfter = new Date(START_MS + DAY_MS);
  const key = ecKey();
  const hosts = Array.from({ length: 100 }, (_, i) => (i < 99 ? `a${i}` : "other"));
  const all = hosts.map((name) => {
    const notBefore = new Date(START_MS - DAY_MS);
    const { certPem, keyPem } = authority.issue({ names: [`${name}.example.com`], notBefore, notAfter, key });
    const namespace = name === "other" ? "others" : "team";
    return `
apiVersion: v1
kind: Secret
metadata: { name: ${name}, namespace: ${namespace} }
type: kubernetes.io/tls
stringData: ${JSON.stringify({ "tls.crt": certPem, "tls.key": keyPem })}
---
apiVersion: contour.heptio.com/v1beta1
kind: IngressRoute
metadata: { name: ${name}, namespace: ${namespace} }
spec:
  virtualhost: { fqdn: ${name}.example.com, tls: { secretName: ${name} } }
  routes: [{ match: /, services: [{ name: web, port: 80 }] }]
`;
  });
  listener.changed(objects(all.join("---")));
  listener.synced();
  const lines = told();
  expect(lines).toHaveLength(61);
  expect(lines.at(-1)).toMatchObject({ host: "other.example.com", object: "IngressRoute/others/other" });
});
