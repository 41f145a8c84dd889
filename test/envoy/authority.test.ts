import { once } from "node:events";
import { connect as connectTcp } from "node:net";
import { text } from "node:stream/consumers";
import { afterAll, beforeAll, expect, test } from "vitest";
import { type HttpRequest, matchRequest } from "../../src/envoy/match.ts";
import { withCertificates } from "../cases.ts";
import { objects, rootYaml, serviceYaml } from "../objects.ts";
import { openTls, requestH2 } from "../parts/clients.ts";
import { eventually } from "./harness.ts";
import { describeWithEnvoy } from "./suite.ts";
import { startWorld, type World } from "./world.ts";

const SETTLE_MS = 5000;

const WEB = "{ service: { name: web, port: { number: 80 } } }";
const PATHS = `{ paths: [{ path: /, pathType: Prefix, backend: ${WEB} }] }`;
const OBJECTS =
  withCertificates(`${rootYaml("plain", "plain.test", "[{ match: /, services: [{ name: web, port: 80 }] }]")}---
apiVersion: contour.heptio.com/v1beta1
kind: IngressRoute
metadata: { name: secure }
spec:
  virtualhost: { fqdn: a.test, tls: { secretName: cert } }
  routes: [{ match: /, services: [{ name: web, port: 80 }] }]
---
apiVersion: networking.k8s.io/v1
kind: Ingress
metadata: { name: wildcard }
spec:
  tls: [{ hosts: ["*.w.test"], secretName: cert }]
  rules: [{ host: "*.w.test", http: ${PATHS} }]
---
apiVersion: networking.k8s.io/v1
kind: Ingress
metadata: { name: redirect, annotations: { ingress.kubernetes.io/force-ssl-redirect: "true" } }
spec:
  tls: [{ hosts: ["*.r.test"], secretName: cert }]
  rules: [{ host: "*.r.test", http: ${PATHS} }]
---
apiVersion: networking.k8s.io/v1
kind: Ingress
metadata: { name: default-backend }
spec: { defaultBackend: ${WEB} }
---
apiVersion: v1
kind: Secret
metadata: { name: cert }
type: kubernetes.io/tls
stringData: { tls.crt: <certificate a.test *.w.test *.r.test>, tls.key: <key a.test *.w.test *.r.test> }
${serviceYaml("web")}`);

/** For the insecure port, where a default backend takes every name that nobody else has. */
const REFUSED = [
  ...["plain.test:80@evil.com", "plain.test:evil.com", "plain.test:80:evil.com", "plain.test:", "plain.test:80x"],
  ...["u@plain.test", "plain.test@evil.com", "plain.test:80,evil.com", "plain.test,a.test", "plain.test a.test"],
  ...["plain.test..", "plain..test", ".w.test", "*.w.test", "*", ".", "-,-", ":80", "u@evil.com:1", "a%2eb.test"],
  ...[
    "x.r.test:1@y.r.test",
    "*.r.test",
    ".r.test",
    "[::1",
    "[::1]evil.com",
    "[::1]:80@evil.com",
    "[]",
    "[g::]",
    "[a]b]",
  ],
  ...["plain.test/evil", "plain.test\\evil", "plain.test?", "plain.test#", "<plain.test>", 'plain.test"', "plän.test"],
];
const SERVED = [
  ...["plain.test", "plain.test:80", "PLAIN.test:65535", "plain.test.", "plain.test.:80", "x.w.test", "x.w.test:8080"],
  ...[
    "unknown.test",
    "under_score.test",
    "unknown.test:1",
    "192.0.2.1:80",
    "[::1]",
    "[2001:db8::1]:80",
    "[::ffff:192.0.2.1]",
  ],
];

const SECURE: readonly (readonly [serverName: string, host: string, status: number])[] = [
  ["a.test", "a.test", 200],
  ["a.test", "A.test:8443", 200],
  ["a.test", "a.test.", 200],
  ["a.test", "plain.test", 421],
  ["a.test", "[::1]", 421],
  ["a.test", "a.test:443@evil.com", 400],
  ["a.test", "a.test:evil.com", 400],
  ["a.test", "a.test:1,evil", 400],
  ["a.test", "a.test:1,plain.test", 400],
  ["a.test", "a.test:", 400],
  ["a.test", "u@evil.com", 400],
  ["x.w.test", "x.w.test", 200],
  ["x.w.test", "x.w.test:1", 200],
  ["x.w.test", "y.w.test", 421],
  ["x.w.test", "x.w.test:1@y.w.test", 400],
  ["x.w.test", "*.w.test", 400],
];

describeWithEnvoy("what a Host may be", (binary) => {
  let world: World;
  beforeAll(async () => {
    world = await startWorld({ binary });
    await world.apply(objects(OBJECTS));
    await eventually(async () => (await world.get("plain.test", "/")).status === 200, SETTLE_MS);
  });
  afterAll(async () => {
    expect(await world.envoy().rejected()).toBe(0);
    await world.stop();
  });

  /** The status, over HTTP/1.1, that is sent letter by letter. */
  const ask = async (hosts: readonly string[], serverName?: string, target = "/"): Promise<number> => {
    const socket =
      serverName === undefined
        ? connectTcp(world.httpPort, "127.0.0.1")
        : await openTls({ port: world.httpsPort, sni: serverName, alpn: ["http/1.1"] });
    const answer = text(socket);
    const headers = hosts.map((host) => `Host: ${host}\r\n`).join("");
    socket.write(`GET ${target} HTTP/1.1\r\n${headers}Connection: close\r\n\r\n`);
    return Number(/^HTTP\/1.1 (\d+) /.exec(await answer)?.[1]);
  };
  const askH2 = async (host: string, serverName?: string): Promise<number> => {
    const socket =
      serverName === undefined
        ? connectTcp(world.httpPort, "127.0.0.1")
        : await openTls({ port: world.httpsPort, sni: serverName, alpn: ["h2"] });
    if (serverName === undefined) await once(socket, "connect");
    return (await requestH2(socket, { host })).status;
  };

  /** What the model of Envoy says. */
  const model = (request: Omit<HttpRequest, "path">): number => {
    const { resources } = world.running().controller.translator.current();
    const answer = matchRequest(resources, { ...request, path: "/" }, () => false);
    return answer.kind === "status" ? answer.status : 200;
  };

  /** Asked all at once: after a refusal Envoy keeps the connection for a second. */
  const answers = async <T>(asked: readonly T[], ask: (each: T) => Promise<number>) => {
    const statuses = await Promise.all(asked.map(async (each) => [String(each), await ask(each)] as const));
    return Object.fromEntries(statuses);
  };
  const all = (asked: readonly unknown[], status: number) =>
    Object.fromEntries(asked.map((each) => [String(each), status]));

  test("is refused on the insecure port unless it is a name or an address, and a port", async () => {
    expect(await answers(REFUSED, (host) => ask([host]))).toEqual(all(REFUSED, 400));
    expect(await answers(REFUSED, async (host) => model({ host }))).toEqual(all(REFUSED, 400));
  });

  test("is served on the insecure port, known or not", async () => {
    expect(await answers(SERVED, (host) => ask([host]))).toEqual(all(SERVED, 200));
    expect(await answers(SERVED, (host) => askH2(host))).toEqual(all(SERVED, 200));
    expect(await answers(SERVED, async (host) => model({ host }))).toEqual(all(SERVED, 200));
  });

  test("is the server name on the secure port", async () => {
    const expected = Object.fromEntries(SECURE.map((each) => [String(each), each[2]]));
    expect(await answers(SECURE, ([serverName, host]) => ask([host], serverName))).toEqual(expected);
    expect(await answers(SECURE, async ([serverName, host]) => model({ host, serverName }))).toEqual(expected);
    // Over HTTP/2, Envoy itself ends what asks for a user.
    const overH2 = SECURE.filter(([, host]) => !host.includes("@"));
    const expectedOverH2 = Object.fromEntries(overH2.map((each) => [String(each), each[2]]));
    expect(await answers(overH2, ([serverName, host]) => askH2(host, serverName))).toEqual(expectedOverH2);
  });

  test("is one, and not none", async () => {
    const none: readonly string[] = [];
    const several = [none, [""], ["plain.test", "a.test"], ["plain.test:1", "evil"], ["a.test:1", "plain.test"]];
    expect(await answers(several, (hosts) => ask(hosts))).toEqual(all(several, 400));
    expect(await answers(several, (hosts) => ask(hosts, "a.test"))).toEqual(all(several, 400));
  });

  test("may stand in the request line, where a user before it does not count", async () => {
    const targets = [
      "http://a.test:80/",
      "http://plain.test:80@a.test/",
      "http://a.test:443@evil.com/",
      "http://a.test,b/",
    ];
    const statuses = await answers(targets, (target) => ask(["a.test"], "a.test", target));
    expect(Object.values(statuses)).toEqual([200, 200, 421, 400]);
  });

  test("leads to a redirect to itself", async () => {
    const { status, headers } = await world.get("x.r.test:8080", "/z");
    expect({ status, location: headers.location }).toEqual({ status: 301, location: "https://x.r.test/z" });
  });
});
