import { afterAll, beforeAll, expect, test } from "vitest";
import { readRegex } from "../../src/controller/regexes.ts";
import { objects, serviceYaml } from "../objects.ts";
import { createAuthority } from "../parts/authority.ts";
import { startWebsocket } from "../parts/backends.ts";
import { NoUpgrade, openWebsocket, requestHttps } from "../parts/clients.ts";
import type { Listening } from "../parts/listening.ts";
import { eventually } from "./harness.ts";
import { describeWithEnvoy } from "./suite.ts";
import { startWorld, type World } from "./world.ts";

const SETTLE_MS = 5000;
const authority = createAuthority("test");

/** `spec` is YAML in flow style, and so are `annotations`. */
function ingressYaml(name: string, spec: string, annotations = "{}"): string {
  return `---
apiVersion: networking.k8s.io/v1
kind: Ingress
metadata: { name: ${name}, annotations: ${annotations} }
spec: ${spec}
`;
}

const WEB = "{ service: { name: web, port: { number: 80 } } }";
const ruleFor = (host: string, ...paths: readonly string[]): string =>
  `{ host: "${host}", http: { paths: [${paths.map((path) => `{ path: ${JSON.stringify(path)}, pathType: ImplementationSpecific, backend: ${WEB} }`).join(", ")}] } }`;

function secretYaml(name: string, ...names: readonly string[]): string {
  const { certPem, keyPem } = authority.issue({ names });
  return `---
apiVersion: v1
kind: Secret
metadata: { name: ${name} }
type: kubernetes.io/tls
stringData: ${JSON.stringify({ "tls.crt": certPem, "tls.key": keyPem })}
`;
}

describeWithEnvoy("Ingresses on a real Envoy", (binary) => {
  let world: World;
  beforeAll(async () => {
    world = await startWorld({ binary });
  });
  afterAll(async () => {
    expect(await world.envoy().rejected()).toBe(0);
    await world.stop();
  });
  const get = (serverName: string, minVersion: "TLSv1.2" | "TLSv1.3" = "TLSv1.2") => {
    const request = { port: world.httpsPort, sni: serverName, host: serverName, caPem: authority.rootPem };
    return requestHttps({ ...request, minVersion, maxVersion: minVersion });
  };

  test("Envoy takes every regular expression that is not refused, and the path beside it is served", async () => {
    const odd = [
      ...[
        "/[",
        "/(",
        "/)",
        "/a**",
        "/a++",
        "*",
        "+",
        "/[z-a]+",
        "/(?P<n>a)+(?P<n>b)",
        "/(?<n>a)*",
        "/\\\\1+",
        "/\\\\Z*",
      ],
      ...[
        "/a{2,1}+",
        "/a{1001}+",
        "/(a{100}){100}+",
        "/(?i)straSSe*",
        "/[^/]+",
        "/.*",
        "^/x$",
        "^^/y$$",
        "/(|a)*",
        "/()*",
      ],
      ...[
        "/(((((((((())))))))))*",
        "/(?:a?){50}a{50}+",
        "/[[:alpha:]]+",
        "/[[:nope:]]+",
        "/\\\\d+",
        "/\\\\Q+*\\\\E",
        "/\\\\Q+",
      ],
      ...[
        "/[\\\\w.-]{1,63}+",
        "/(?s).+",
        "/(?U)a+",
        "/(?z)a+",
        "/a\\\\",
        "/\\\\b+",
        "/[]a]+",
        "/[]+",
        "/[^]+",
        "/{,5}+",
        "/a{,5}+",
      ],
      ...[
        `/${"(a".repeat(200)}${")".repeat(200)}+`,
        `/${"(".repeat(1200)}`,
        `/${"[^/]{20}".repeat(40)}+`,
        "/(?=a)+",
        "/(?<!a)+",
      ],
      ...[
        "/.{900}",
        "/[^x]{99}",
        "/[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}",
        "/.{1000}+",
        "/[^x]{1000}",
        "/(.{10}){99}+",
        "/((){10}){100}+",
        "/%zz",
        "/a%20b",
        "/\\\\x41+",
        "/\\\\pL+",
      ],
    ].map((text) => JSON.parse(`"${text}"`) as string);
    const hosts = odd.map((path, i) => ruleFor(`r${i}.example.com`, path, "/ok"));
    await world.apply(objects(ingressYaml("odd", `{ rules: [${hosts.join(", ")}] }`) + serviceYaml("web")));
    for (const i of odd.keys()) {
      await eventually(async () => (await world.get(`r${i}.example.com`, "/ok")).status === 200, SETTLE_MS);
    }
    expect(await world.envoy().rejected()).toBe(0);
    const refused = odd.filter((path) => !readRegex(path).ok);
    expect(refused.length).toBeGreaterThan(15);
    expect(odd.length - refused.length).toBeGreaterThan(15);
  });

  test("the redirect is to the same host, path and query", async () => {
    const annotations = "{ ingress.kubernetes.io/force-ssl-redirect: 'true' }";
    await world.apply(
      objects(ingressYaml("redirect", `{ rules: [${ruleFor("*.redirect.example.com", "/")}] }`, annotations)),
    );
    await eventually(async () => {
      const { status, headers } = await world.get("A.redirect.example.com", "/x?y=%20");
      expect({ status, location: headers.location }).toEqual({
        status: 301,
        location: "https://a.redirect.example.com/x?y=%20",
      });
    }, SETTLE_MS);
  });

  test("a minimum version of TLS holds for the host", async () => {
    const spec = `{ tls: [{ hosts: [v.example.com], secretName: v }], rules: [${ruleFor("v.example.com", "/")}] }`;
    const annotations = "{ contour.heptio.com/tls-minimum-protocol-version: '1.3' }";
    await world.apply(objects(ingressYaml("v", spec, annotations) + secretYaml("v", "v.example.com")));
    await eventually(async () => (await get("v.example.com", "TLSv1.3")).status === 200, SETTLE_MS);
    await expect(get("v.example.com")).rejects.toThrow();
  });

  test("the certificate of a wildcard comes and goes at once, for every name that it stands for", async () => {
    const host = "*.wild.example.com";
    const spec = `{ tls: [{ hosts: ["${host}"], secretName: wild }], rules: [${ruleFor(host, "/")}] }`;
    await world.apply(objects(ingressYaml("wild", spec)));
    for (const name of ["a.wild.example.com", "B.Wild.example.com"]) {
      await expect(get(name)).rejects.toThrow();
      expect((await world.get(name, "/")).status).toBe(200);
    }
    const [secret] = objects(secretYaml("wild", host));
    if (secret === undefined) throw new Error("no Secret");
    await world.apply([secret]);
    for (const name of ["a.wild.example.com", "B.Wild.example.com", "c.wild.example.com"]) {
      await eventually(async () => (await get(name)).status === 200, SETTLE_MS);
    }
    await world.apply([{ kind: "deleted", key: secret.key }]);
    for (const name of ["a.wild.example.com", "c.wild.example.com"]) {
      await eventually(async () => {
        await expect(get(name)).rejects.toThrow();
      }, SETTLE_MS);
    }
  });
});

describeWithEnvoy("websockets of Ingresses on a real Envoy", (binary) => {
  let world: World;
  let backend: Listening;
  beforeAll(async () => {
    backend = await startWebsocket({ name: "web" });
    world = await startWorld({ binary, echo: false });
    const rules = ["chat.example.com", "*.wild.example.com"].map((host) => ruleFor(host, "/", "/chat"));
    const spec = `{ rules: [${rules.join(", ")}, { http: { paths: [{ path: /chat, pathType: Prefix, backend: ${WEB} }, { path: /other, pathType: Prefix, backend: ${WEB} }] } }] }`;
    const annotations = "{ projectcontour.io/websocket-routes: /chat }";
    await world.apply(objects(ingressYaml("chat", spec, annotations) + serviceYaml("web", backend.port)));
    await eventually(async () => (await world.get("chat.example.com", "/")).status === 200, SETTLE_MS);
  });
  afterAll(async () => {
    expect(await world.envoy().rejected()).toBe(0);
    await world.stop();
    await backend.stop();
  });
  const open = (host: string, path: string) => openWebsocket({ port: world.httpPort, host, path });

  test.each([
    "chat.example.com",
    "Chat.example.com",
    "a.wild.example.com",
    "A.wild.example.com",
    "any.example.com",
    "Any.example.com:8080",
    "localhost",
    "LOCALHOST",
  ])("go through at %s where the annotation says so", async (host) => {
    const socket = await open(host, "/chat/room");
    socket.send("hello");
    expect(await socket.next()).toBe("hello");
    await socket.close();
  });

  test.each([
    ["chat.example.com", "/other"],
    ["Chat.example.com", "/other"],
    ["a.wild.example.com", "/other"],
    ["A.wild.example.com", "/other"],
    ["any.example.com", "/other"],
    ["Any.example.com", "/other"],
  ])("are refused at %s%s", async (host, path) => {
    const opening = open(host, path);
    await expect(opening).rejects.toBeInstanceOf(NoUpgrade);
    await expect(opening).rejects.toMatchObject({ status: 403 });
  });
});
