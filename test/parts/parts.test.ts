import { X509Certificate } from "node:crypto";
import { once } from "node:events";
import { connect as connectTcp } from "node:net";
import type { SecureVersion } from "node:tls";
import { afterEach, describe, expect, test } from "vitest";
import { request } from "../envoy/harness.ts";
import { createAuthority, rsaKey } from "./authority.ts";
import { type Seen, startH2c, startHttps, startScripted, startTcp, startTls, startWebsocket } from "./backends.ts";
import { NoUpgrade, openLines, openTls, openWebsocket, presentedNames, requestH2, requestHttps } from "./clients.ts";
import type { Listening } from "./listening.ts";

const NAME = "web.example.com";
const authority = createAuthority("Test CA");
const identity = authority.issue({ names: [NAME] });
const caPem = authority.rootPem;

const started: Listening[] = [];
afterEach(async () => {
  await Promise.all(started.splice(0).map(({ stop }) => stop()));
});
async function use<T extends Listening>(starting: Promise<T>): Promise<T> {
  const one = await starting;
  started.push(one);
  return one;
}
const seen = (reply: { readonly body: string }): Seen => JSON.parse(reply.body);

describe("the authority", () => {
  const handshake = async (pair: { readonly certPem: string; readonly keyPem: string }, sni: string) => {
    const { port } = await use(startTls({ name: "tls", identity: { ...identity, ...pair } }));
    const socket = await openTls({ port, sni, caPem });
    const names = presentedNames(socket);
    socket.destroy();
    return names;
  };

  test.each([
    ["EC", authority.issue({ names: [NAME] }), NAME],
    ["RSA", authority.issue({ names: [NAME], key: rsaKey() }), NAME],
    ["a wildcard", authority.issue({ names: ["*.example.com"] }), NAME],
    [
      "an intermediate",
      authority
        .intermediate("Below")
        .intermediate("Far below")
        .issue({ names: [NAME] }),
      NAME,
    ],
  ])("issues what clients trust: %s", async (_, pair, sni) => {
    expect(await handshake(pair, sni)).toHaveLength(1);
  });

  test.each([
    ["expired", authority.issue({ names: [NAME], notAfter: new Date(Date.now() - 1000) }), "CERT_HAS_EXPIRED"],
    ["another name", authority.issue({ names: ["other.example.com"] }), "ERR_TLS_CERT_ALTNAME_INVALID"],
    ["another authority", createAuthority("Test CA").issue({ names: [NAME] }), /CERT|UNABLE/],
  ])("issues what they do not: %s", async (_, pair, code) => {
    await expect(handshake(pair, NAME)).rejects.toMatchObject({ code: expect.stringMatching(code) });
  });

  test("issues a certificate with many names, for a given time", () => {
    const notBefore = new Date("2020-01-02T03:04:05Z");
    const notAfter = new Date("2055-01-02T03:04:05Z");
    const { certPem } = authority.issue({ names: [NAME, "*.example.com", "127.0.0.1"], notBefore, notAfter });
    const parsed = new X509Certificate(certPem);
    expect(parsed.subjectAltName).toBe(`DNS:${NAME}, DNS:*.example.com, IP Address:127.0.0.1`);
    expect([parsed.validFrom, parsed.validTo]).toEqual(["Jan  2 03:04:05 2020 GMT", "Jan  2 03:04:05 2055 GMT"]);
    expect(parsed.verify(new X509Certificate(caPem).publicKey)).toBe(true);
  });
});

describe("HTTPS", () => {
  test("tells what it was asked, over both protocols", async () => {
    const { port } = await use(startHttps({ name: "https", identity }));
    for (const protocol of ["h2", "http/1.1"] as const) {
      const headers = { "x-test": "1" };
      const reply = await requestHttps({
        ...{ port, sni: NAME, caPem, alpn: [protocol] },
        ...{ host: "other.example.com", path: "/a?b", method: "DELETE", headers },
      });
      expect(reply).toMatchObject({ status: 200, protocol, tlsVersion: "TLSv1.3" });
      expect(seen(reply)).toMatchObject({
        backend: "https",
        method: "DELETE",
        host: "other.example.com",
        path: "/a?b",
        headers,
        tls: { sni: NAME, version: "TLSv1.3", alpn: protocol },
      });
    }
  });

  test("takes HTTP/2 where both sides can", async () => {
    const both = await use(startHttps({ name: "both", identity }));
    expect((await requestHttps({ port: both.port, host: NAME })).protocol).toBe("h2");
    const old = await use(startHttps({ name: "old", identity, alpn: ["http/1.1"] }));
    expect((await requestHttps({ port: old.port, host: NAME })).protocol).toBe("http/1.1");
    const modern = await use(startHttps({ name: "modern", identity, alpn: ["h2"] }));
    expect((await requestHttps({ port: modern.port, host: NAME })).protocol).toBe("h2");
  });

  test("sees that no name was asked for", async () => {
    const { port } = await use(startHttps({ name: "https", identity }));
    expect(seen(await requestHttps({ port, host: NAME, caPem })).tls?.sni).toBe(false);
  });

  const VERSIONS: readonly SecureVersion[] = ["TLSv1", "TLSv1.1", "TLSv1.2", "TLSv1.3"];
  test.each(VERSIONS)("speaks %s", async (version) => {
    const { port } = await use(startHttps({ name: "https", identity, alpn: ["http/1.1"] }));
    const reply = await requestHttps({ port, sni: NAME, caPem, host: NAME, minVersion: version, maxVersion: version });
    expect(reply.tlsVersion).toBe(version);
    expect(seen(reply).tls?.version).toBe(version);
  });

  test("refuses a version that it does not speak", async () => {
    const { port } = await use(startHttps({ name: "https", identity, minVersion: "TLSv1.2" }));
    await expect(openTls({ port, sni: NAME, caPem, maxVersion: "TLSv1.1" })).rejects.toMatchObject({
      code: expect.stringContaining("PROTOCOL_VERSION"),
    });
  });

  test("listens on the address that it was given", async () => {
    const { address } = await use(startHttps({ name: "https", identity, address: "127.9.8.7" }));
    expect(address).toBe("127.9.8.7");
  });
});

test("h2c speaks HTTP/2 without TLS", async () => {
  const { port } = await use(startH2c({ name: "h2c" }));
  const reply = await requestH2(connectTcp(port, "127.0.0.1"), { host: NAME, path: "/x" });
  expect(reply.status).toBe(200);
  expect(seen(reply)).toMatchObject({ backend: "h2c", host: NAME, path: "/x", httpVersion: "2.0" });
  expect(seen(reply).tls).toBeUndefined();
});

describe("websockets", () => {
  test("say again what they hear, however long", async () => {
    const { port } = await use(startWebsocket({ name: "ws" }));
    const socket = await openWebsocket({ port, host: NAME, path: "/chat" });
    expect(socket.headers["x-backend"]).toBe("ws");
    for (const text of ["", "hällo", "x".repeat(125), "y".repeat(126), "z".repeat(70_000)]) {
      socket.send(text);
      expect(await socket.next()).toBe(text);
    }
    expect(socket.isOpen()).toBe(true);
    await socket.close();
    expect(socket.isOpen()).toBe(false);
    await expect(socket.next()).rejects.toThrow("closed");
  });

  test("are not opened where the server does not switch", async () => {
    const { port } = await use(startScripted({ name: "http" }));
    const opening = openWebsocket({ port, host: NAME, path: "/chat" });
    await expect(opening).rejects.toBeInstanceOf(NoUpgrade);
    await expect(opening).rejects.toMatchObject({ status: 200 });
  });

  test("answer plain requests too", async () => {
    const { port } = await use(startWebsocket({ name: "ws" }));
    expect(seen(await request({ port, host: NAME, path: "/plain" }))).toMatchObject({ backend: "ws", path: "/plain" });
  });
});

describe("conversations by lines", () => {
  test("over TCP tell the backend's name", async () => {
    const { port } = await use(startTcp({ name: "tcp" }));
    const lines = await openLines({ port });
    expect(await lines.ask("one")).toBe("tcp one");
    expect(await lines.ask("two")).toBe("tcp two");
    lines.close();
    expect(lines.isOpen()).toBe(false);
  });

  test("over TLS come from whom the certificate says", async () => {
    const { port } = await use(startTls({ name: "tls", identity }));
    const lines = await openLines({ port, tls: { sni: NAME, caPem } });
    expect(await lines.ask("one")).toBe("tls one");
    lines.close();
    await expect(openLines({ port, tls: { sni: "other.example.com", caPem } })).rejects.toThrow();
  });

  test("end when the server is stopped", async () => {
    const server = await startTcp({ name: "tcp" });
    const lines = await openLines({ port: server.port });
    expect(await lines.ask("one")).toBe("tcp one");
    await server.stop();
    await expect(lines.ask("two")).rejects.toThrow();
    await expect(once(connectTcp(server.port, "127.0.0.1"), "connect")).rejects.toMatchObject({ code: "ECONNREFUSED" });
  });
});

describe("a scripted backend", () => {
  test("plays its answers, and then the last one again and again", async () => {
    const backend = await use(startScripted({ name: "scripted" }));
    const ask = async (path: string) => (await request({ port: backend.port, host: NAME, path })).status;
    expect(await ask("/first")).toBe(200);
    backend.play([{ status: 500 }, { status: 503 }, { status: 201 }]);
    const statuses: number[] = [];
    for (const path of ["/a", "/b", "/c", "/d"]) statuses.push(await ask(path));
    expect(statuses).toEqual([500, 503, 201, 201]);
    expect(backend.requests()).toEqual(["/first", "/a", "/b", "/c", "/d"]);
  });

  test("answers late, with headers", async () => {
    const backend = await use(startScripted({ name: "scripted" }));
    backend.play([{ status: 200, delayMs: 50, headers: { "x-late": "yes" } }]);
    const begin = performance.now();
    const { headers } = await request({ port: backend.port, host: NAME, path: "/" });
    expect(performance.now() - begin).toBeGreaterThanOrEqual(45);
    expect(headers["x-late"]).toBe("yes");
  });

  test("keeps health checks apart", async () => {
    const backend = await use(startScripted({ name: "scripted", healthPath: "/healthy" }));
    const ask = async (host: string, path: string) => (await request({ port: backend.port, host, path })).status;
    backend.play([{ status: 500 }, { status: 501 }]);
    expect(await ask("checker", "/healthy")).toBe(200);
    backend.playHealth({ status: 503 });
    expect(await ask("checker", "/healthy")).toBe(503);
    expect(await ask(NAME, "/")).toBe(500);
    expect(backend.healthChecks()).toEqual(["checker", "checker"]);
    expect(backend.requests()).toEqual(["/"]);
  });
});
