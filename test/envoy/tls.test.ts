import { randomBytes } from "node:crypto";
import { connect } from "node:net";
import { buffer } from "node:stream/consumers";
import { afterAll, beforeAll, expect, test } from "vitest";
import { objects, serviceYaml } from "../objects.ts";
import { createAuthority, type Identity } from "../parts/authority.ts";
import { type HttpsRequest, openH2, requestHttps } from "../parts/clients.ts";
import { eventually } from "./harness.ts";
import { describeWithEnvoy } from "./suite.ts";
import { startWorld, type World } from "./world.ts";

const authority = createAuthority("test");
/** The first byte of a message that ends a handshake. */
const ALERT = 0x15;

function secretYaml(name: string, { certPem, keyPem }: Identity, namespace = "default"): string {
  const stringData = JSON.stringify({ "tls.crt": certPem, "tls.key": keyPem });
  return `---
apiVersion: v1
kind: Secret
metadata: { name: ${name}, namespace: ${namespace} }
type: kubernetes.io/tls
stringData: ${stringData}
`;
}

function tlsRootYaml(name: string, fqdn: string, tls: string, more = ""): string {
  return `---
apiVersion: contour.heptio.com/v1beta1
kind: IngressRoute
metadata: { name: ${name} }
spec:
  virtualhost: { fqdn: ${fqdn}, tls: ${tls} }
  routes:
    - { match: /, services: [{ name: web, port: 80 }] }
    - { match: /insecure, permitInsecure: true, services: [{ name: web, port: 80 }] }
    ${more}
`;
}

describeWithEnvoy("TLS on a real Envoy", (binary) => {
  let world: World;
  const identity = (...names: string[]) => authority.issue({ names });
  beforeAll(async () => {
    world = await startWorld({ binary });
    await world.apply(
      objects(
        serviceYaml("web") +
          tlsRootYaml("a", "a.example.com", "{ secretName: a }") +
          secretYaml("a", identity("a.example.com")) +
          tlsRootYaml("b", "B.example.com", "{ secretName: b, minimumProtocolVersion: '1.2' }") +
          secretYaml("b", identity("b.example.com")) +
          tlsRootYaml("c", "c.example.com", "{ secretName: c, minimumProtocolVersion: '1.3' }") +
          secretYaml("c", identity("c.example.com")),
      ),
    );
  });
  afterAll(async () => {
    expect(await world.envoy().rejected()).toBe(0);
    await world.stop();
  });

  const to = (serverName: string) => ({ port: world.httpsPort, sni: serverName, caPem: authority.rootPem });
  const get = (serverName: string, options: Partial<HttpsRequest> = {}) =>
    requestHttps({ ...to(serverName), host: serverName, ...options });

  test.each(["a.example.com", "A.Example.COM", "b.example.com", "c.example.com"])(
    "serves %s with its certificate",
    async (name) => {
      expect((await get(name)).status).toBe(200);
    },
  );

  test("answers a Host with a port, and one in another letter case", async () => {
    for (const host of ["a.example.com:8443", "A.example.com"])
      expect((await get("a.example.com", { host })).status).toBe(200);
  });

  test("answers 421 when the Host is not the server name, whatever is served there", async () => {
    for (const host of ["b.example.com", "unknown.example.com"])
      expect((await get("a.example.com", { host })).status).toBe(421);
  });

  test.each(["unknown.example.com", "", "|", "*.example.com"])("shows no certificate for %j", async (serverName) => {
    await expect(get(serverName, { host: "a.example.com" })).rejects.toThrow(
      /alert|socket hang up|ECONNRESET|disconnected/,
    );
  });

  test.each(["ff", "c328", "eda080", "00", "2f", "7c"])(
    "a server name of the bytes %s costs nobody else anything",
    async (bytes) => {
      const { xds } = world.running();
      const [before] = xds.envoys();
      const socket = connect(world.httpsPort, "127.0.0.1");
      socket.write(clientHello(Buffer.from(bytes, "hex")));
      // Closed without a word, or with an alert.
      const answer = await buffer(socket).catch((error: NodeJS.ErrnoException) => Buffer.from(error.code ?? ""));
      expect(answer[0] === ALERT || ["", "ECONNRESET"].includes(answer.toString())).toBe(true);
      expect((await get("a.example.com")).status).toBe(200);
      expect(xds.envoys()[0]?.address).toBe(before?.address);
      expect(world.log()).not.toContain("not an Envoy");
    },
  );

  test.each([
    ["a.example.com", "TLSv1.1", true],
    ["a.example.com", "TLSv1", false],
    ["b.example.com", "TLSv1.1", false],
    ["b.example.com", "TLSv1.2", true],
    ["c.example.com", "TLSv1.2", false],
    ["c.example.com", "TLSv1.3", true],
  ] as const)("serves %s to a client of %s: %s", async (name, version, served) => {
    const answer = get(name, { minVersion: version, maxVersion: version });
    if (served) expect((await answer).status).toBe(200);
    else await expect(answer).rejects.toThrow();
  });

  test("redirects the insecure port, with host, path and query", async () => {
    for (const [host, path] of [
      ["a.example.com", "/"],
      ["A.example.com", "/x?y=1&z=%20"],
      ["a.example.com", "/insecurely"],
      ["b.example.com", "//x"],
    ] as const) {
      const { status, headers } = await world.get(host, path);
      expect({ status, location: headers.location }).toEqual({
        status: 301,
        location: `https://${host.toLowerCase()}${path}`,
      });
    }
  });

  test("serves routes with permitInsecure on both ports", async () => {
    expect((await world.get("a.example.com", "/insecure/x")).status).toBe(200);
    expect((await get("a.example.com", { path: "/insecure/x" })).status).toBe(200);
  });

  test("serves neither port while the Secret is missing or broken, and both at once when it is mended", async () => {
    const fails = async () => {
      await expect(get("late.example.com")).rejects.toThrow();
      expect((await world.get("late.example.com", "/")).status).toBe(404);
      expect((await world.get("late.example.com", "/insecure")).status).toBe(404);
    };
    const good = identity("late.example.com");
    await world.apply(objects(tlsRootYaml("late", "late.example.com", "{ secretName: late }")));
    await fails();
    await world.apply(objects(secretYaml("late", { ...good, keyPem: identity("x").keyPem })));
    await fails();
    await world.apply(objects(secretYaml("late", good)));
    await eventually(async () => (await get("late.example.com")).status === 200, 5000);
    expect((await world.get("late.example.com", "/insecure")).status).toBe(200);
  });

  test("a certificate of another namespace needs a delegation, which counts at once both ways", async () => {
    const wildcard = secretYaml("wildcard", identity("*.shared.example.com"), "certs");
    const delegation = `---
apiVersion: contour.heptio.com/v1beta1
kind: TLSCertificateDelegation
metadata: { name: shared, namespace: certs }
spec: { delegations: [{ secretName: wildcard, targetNamespaces: [other, default] }] }
`;
    await world.apply(
      objects(tlsRootYaml("shared", "x.shared.example.com", "{ secretName: certs/wildcard }") + wildcard),
    );
    await expect(get("x.shared.example.com")).rejects.toThrow();
    const [applied] = objects(delegation);
    if (applied === undefined) throw new Error("no delegation");
    await world.apply([applied]);
    await eventually(async () => (await get("x.shared.example.com")).status === 200, 5000);
    await world.apply([{ kind: "deleted", key: applied.key }]);
    await eventually(async () => {
      await expect(get("x.shared.example.com")).rejects.toThrow();
    }, 5000);
  });

  test("a certificate is replaced under load and no request fails", async () => {
    let done = false;
    let served = 0;
    const ask = async () => {
      while (!done) {
        expect((await get("a.example.com")).status).toBe(200);
        served++;
      }
    };
    const clients = [ask(), ask()];
    for (let i = 0; i < 10; i++) await world.apply(objects(secretYaml("a", identity("a.example.com"))));
    done = true;
    await Promise.all(clients);
    expect(served).toBeGreaterThan(10);
  });

  test("a version that is raised holds for connections that are open, and those that are new enough go on", async () => {
    const root = (tls: string) => tlsRootYaml("raised", "raised.example.com", `{ secretName: raised${tls} }`);
    await world.apply(objects(root("") + secretYaml("raised", identity("raised.example.com"))));
    await eventually(async () => (await get("raised.example.com")).status === 200, 5000);
    const old = await openH2({ ...to("raised.example.com"), maxVersion: "TLSv1.2" });
    const recent = await openH2(to("raised.example.com"));
    const ask = async () => {
      const replies = [await old.ask({ host: "raised.example.com" }), await recent.ask({ host: "raised.example.com" })];
      return replies.map(({ status }) => status);
    };
    await eventually(async () => expect(await ask()).toEqual([200, 200]), 5000);
    await world.apply(objects(root(", minimumProtocolVersion: '1.3'")));
    await eventually(async () => expect(await ask()).toEqual([421, 200]), 5000);
    await world.apply(objects(root(", minimumProtocolVersion: '1.2'")));
    await eventually(async () => expect(await ask()).toEqual([200, 200]), 5000);
    expect([old.isOpen(), recent.isOpen()]).toEqual([true, true]);
    old.close();
    recent.close();
  });

  test("a host that is not ordinary comes and goes without a connection of another being cut", async () => {
    const kept = await openH2(to("a.example.com"));
    const ask = () => kept.ask({ host: "a.example.com" });
    expect((await ask()).status).toBe(200);
    const root = tlsRootYaml("d", "d.example.com", "{ secretName: d, minimumProtocolVersion: '1.3' }");
    const [added] = objects(root);
    await world.apply(objects(root + secretYaml("d", identity("d.example.com"))));
    await eventually(async () => (await get("d.example.com")).status === 200, 5000);
    await expect(get("d.example.com", { maxVersion: "TLSv1.2" })).rejects.toThrow();
    expect((await ask()).status).toBe(200);
    if (added !== undefined) await world.apply([{ kind: "deleted", key: added.key }]);
    await expect(get("d.example.com")).rejects.toThrow();
    expect((await ask()).status).toBe(200);
    expect(kept.isOpen()).toBe(true);
    kept.close();
  });
});

/** The first message of a TLS 1.2 client that asks for this server name. No library sends one that is no text. */
function clientHello(serverName: Buffer): Buffer {
  const sized = (bytes: number, ...parts: readonly Buffer[]): Buffer => {
    const body = Buffer.concat(parts);
    const length = Buffer.alloc(bytes);
    length.writeUIntBE(body.length, 0, bytes);
    return Buffer.concat([length, body]);
  };
  const hex = (text: string) => Buffer.from(text, "hex");
  const extension = (type: string, body: Buffer) => Buffer.concat([hex(type), sized(2, body)]);
  const extensions = [
    extension("0000", sized(2, hex("00"), sized(2, serverName))),
    extension("000a", sized(2, hex("0017001d"))),
    extension("000d", sized(2, hex("04030804"))),
  ];
  const hello = Buffer.concat([
    hex("0303"),
    randomBytes(32),
    sized(1),
    sized(2, hex("c02bc02f")),
    sized(1, hex("00")),
    sized(2, ...extensions),
  ]);
  return Buffer.concat([hex("160301"), sized(2, hex("01"), sized(3, hello))]);
}
