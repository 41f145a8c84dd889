import { writeFileSync } from "node:fs";
import { mkdtemp, rm } from "node:fs/promises";
import { createServer, type ServerResponse } from "node:http";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { inspect } from "node:util";
import { afterEach, beforeEach, describe, expect, test, vi } from "vitest";
import type { Access, Identity } from "../../src/kube/access.ts";
import { KubeClient } from "../../src/kube/client.ts";
import { bearer, DeclaredCredentials, FileText, fixedText } from "../../src/kube/credentials.ts";
import { ApiError, ConnectionError } from "../../src/kube/errors.ts";
import { createAuthority } from "../parts/authority.ts";
import { listening } from "../parts/listening.ts";
import {
  AUTHORITY,
  accessTo,
  type Heard,
  type HttpsServer,
  sendJson,
  sendStatus,
  startHttpsServer,
} from "./https-server.ts";

const TOKEN = "the-secret-token";

let server: HttpsServer;
let client: KubeClient;
let answer: (response: ServerResponse, heard: Heard) => void;
let folder: string;

beforeEach(async () => {
  folder = await mkdtemp(join(tmpdir(), "isoline-kube-"));
  answer = (response) => sendJson(response, {});
  server = await startHttpsServer((response, heard) => answer(response, heard));
  client = clientFor(accessTo(server, { credentials: new DeclaredCredentials({ token: fixedText(TOKEN) }) }));
});
afterEach(async () => {
  await client.close();
  await server.stop();
  await rm(folder, { recursive: true });
});

function clientFor(access: Access): KubeClient {
  return new KubeClient(access, { userAgent: "isoline/test" });
}

const get = (path: string) => client.request({ method: "GET", path });

async function failure(work: Promise<unknown>): Promise<ApiError | ConnectionError> {
  const error: unknown = await work.then(
    () => undefined,
    (reason: unknown) => reason,
  );
  if (!(error instanceof ApiError || error instanceof ConnectionError))
    throw new Error(`unexpected: ${inspect(error)}`);
  // However it is logged, nothing of it is secret.
  expect(inspect(error, { depth: 10, showHidden: true })).not.toContain(TOKEN);
  return error;
}

async function linesOf(watching: Promise<AsyncIterable<readonly unknown[]>>): Promise<unknown[]> {
  const lines: unknown[] = [];
  for await (const some of await watching) lines.push(...some);
  return lines;
}

describe("a request", () => {
  test("carries its query, body and credentials, and gives the decoded answer", async () => {
    answer = (response) => sendJson(response, { kind: "Lease" });
    const request = { method: "PATCH", path: "/api/v1/x", query: { a: "1&2", b: "" }, body: { c: ["ä"] } } as const;
    const contentType = "application/merge-patch+json";
    expect(await client.request({ ...request, contentType })).toEqual({ kind: "Lease" });
    expect(server.heard).toMatchObject([
      {
        method: "PATCH",
        url: "/api/v1/x?a=1%262&b=",
        body: '{"c":["ä"]}',
        headers: {
          accept: "application/json",
          authorization: `Bearer ${TOKEN}`,
          "content-type": contentType,
          "user-agent": "isoline/test",
        },
      },
    ]);
  });

  test("goes below the path of the server, if it has one", async () => {
    await client.close();
    client = clientFor({ ...accessTo(server), server: `https://127.0.0.1:${server.port}/k8s/clusters/c-1` });
    await get("/api/v1/services");
    expect(server.heard[0]?.url).toBe("/k8s/clusters/c-1/api/v1/services");
  });

  test("can go in clear text to a proxy on this machine", async () => {
    await client.close();
    const proxy = await listening(createServer((_, response) => sendJson(response, { plain: true })));
    client = clientFor({ ...accessTo(proxy), server: `http://127.0.0.1:${proxy.port}` });
    expect(await get("/x")).toEqual({ plain: true });
    await proxy.stop();
  });

  test("that is refused tells what the Status says", async () => {
    answer = (response) => sendStatus(response, 409, "Conflict", "the object has been modified");
    expect(await failure(get("/x"))).toMatchObject({
      name: "ApiError",
      status: 409,
      reason: "Conflict",
      message: "409 Conflict: the object has been modified",
      retryAfterMs: undefined,
    });
  });

  test.each<[string, Record<string, string>, unknown]>([
    ["a header", { "retry-after": "7" }, { code: 429 }],
    ["the Status", {}, { code: 429, details: { retryAfterSeconds: 7 } }],
  ])("learns from %s how long to wait", async (_, headers, status) => {
    answer = (response) => sendJson(response, status, 429, headers);
    expect(await failure(get("/x"))).toMatchObject({ status: 429, retryAfterMs: 7000 });
  });

  test("survives answers that no API server gives", async () => {
    answer = (response) => response.writeHead(502).end("<html>Bad Gateway</html>");
    expect(await failure(get("/x"))).toMatchObject({ name: "ApiError", status: 502, message: "502 Bad Gateway" });
    answer = (response) => response.end(`{"token": "${TOKEN}`);
    expect(await failure(get("/x"))).toMatchObject({ name: "ConnectionError", fault: "garbled" });
    answer = (response) => response.end();
    expect(await get("/x")).toBeUndefined();
    answer = (response) => response.end(`"${"x".repeat(33 << 20)}"`);
    expect(await failure(get("/x"))).toMatchObject({ name: "ConnectionError", fault: "too large" });
    answer = (response) => response.end("[]");
    expect(await get("/x")).toEqual([]);
  });

  test.each<[string, (response: ServerResponse) => void]>([
    ["no answer", () => {}],
    ["an answer that does not end", (response) => void response.write('{"a":')],
  ])("has a deadline: %s", async (_, slow) => {
    answer = slow;
    const error = await failure(client.request({ method: "GET", path: "/x", timeoutMs: 50 }));
    expect(error).toMatchObject({ fault: "timeout", message: "no whole answer came within 0.05 s" });
    // What was asked in vain is not what the next one is answered with.
    answer = (response) => sendJson(response, { next: true });
    expect(await get("/next")).toEqual({ next: true });
  });

  test.each<[string, (response: ServerResponse) => void]>([
    ["before the answer", (response) => response.destroy()],
    [
      "in its middle",
      (response) => void response.writeHead(200, { "content-length": 9 }).write("{", () => response.destroy()),
    ],
    ["in the middle of a chunk", (response) => void response.write('{"a":1}', () => response.destroy())],
  ])("is cut off %s", async (_, cut) => {
    answer = cut;
    expect(await failure(get("/x"))).toMatchObject({ name: "ConnectionError", fault: "cut" });
  });

  test("that is not answered makes the next one go over a new connection: others may be dead as well", async () => {
    await Promise.all([get("/1"), get("/2"), get("/3")]);
    const before = server.connections.length;
    answer = () => {};
    await failure(client.request({ method: "GET", path: "/x", timeoutMs: 50 }));
    answer = (response) => sendJson(response, {});
    await get("/next");
    expect(server.connections).toHaveLength(before + 1);
  });

  test("can be given up", async () => {
    answer = () => controller.abort(new Error("enough"));
    const controller = new AbortController();
    await expect(client.request({ method: "GET", path: "/x", signal: controller.signal })).rejects.toThrow("enough");
  });

  test("finds nobody at home", async () => {
    await server.stop();
    expect(await failure(get("/x"))).toMatchObject({
      fault: "connect",
      message: expect.stringContaining("ECONNREFUSED"),
    });
    server = await startHttpsServer((response, heard) => answer(response, heard));
  });

  test("after another goes over the same connection, and over a new one when the server has closed that", async () => {
    for (let i = 0; i < 20; i++) await get(`/${i}`);
    // When the second is asked for, the connection of the first may not be free yet.
    expect(server.connections.length).toBeLessThanOrEqual(2);
    const before = server.connections.length;
    const closed = server.connections.map((socket) => new Promise((resolve) => socket.on("close", resolve)));
    for (const socket of server.connections) socket.end();
    await Promise.all(closed);
    await get("/again");
    expect(server.connections).toHaveLength(before + 1);
  });
});

describe("a watch", () => {
  const watch = (options = {}) => client.watch({ path: "/w", query: { watch: "1" }, ...options });

  test("gives the lines that arrive, however they are cut into pieces, and ends when the server ends it", async () => {
    const bytes = Buffer.from('{"a":"ä€😀"}\n{"b":2}\n\n{"c":3}\n');
    answer = async (response) => {
      for (const byte of bytes) await new Promise((resolve) => response.write(Buffer.of(byte), resolve));
      response.end('{"d":4}\n{"e":5}\n');
    };
    expect(await linesOf(watch())).toEqual([{ a: "ä€😀" }, { b: 2 }, { c: 3 }, { d: 4 }, { e: 5 }]);
    expect(server.heard[0]?.url).toBe("/w?watch=1");
  });

  test("that is refused is no watch", async () => {
    answer = (response) => sendStatus(response, 410, "Expired", "too old resource version: 1 (2)");
    expect(await failure(watch())).toMatchObject({ status: 410, reason: "Expired" });
  });

  test.each<[string, (response: ServerResponse) => void, object]>([
    ["cut off", (response) => void response.write("{}\n", () => response.destroy()), { fault: "cut" }],
    ["cut off in a line", (response) => response.end("{}\n{"), { fault: "cut" }],
    [
      "no JSON",
      (response) => response.end(`{}\n${TOKEN}\n`),
      { fault: "garbled", message: "a line that is no JSON came" },
    ],
    ["a line without end", (response) => response.end("x".repeat(17 << 20)), { fault: "garbled" }],
  ])("breaks off when it is %s", async (_, answered, expected) => {
    answer = answered;
    expect(await failure(linesOf(watch()))).toMatchObject({ name: "ConnectionError", ...expected });
  });

  test("that comes to something unreadable gives what came before that", async () => {
    answer = (response) => response.end('{"a":1}\n{"b":2}\n{"c":\n{"d":4}\n');
    const given: unknown[] = [];
    const reading = async () => {
      for await (const some of await watch()) given.push(...some);
    };
    expect(await failure(reading())).toMatchObject({ fault: "garbled" });
    expect(given).toEqual([{ a: 1 }, { b: 2 }]);
  });

  test("breaks off when nothing comes for long", async () => {
    answer = (response) => void response.write("{}\n");
    const error = await failure(linesOf(watch({ idleMs: 100 })));
    expect(error).toMatchObject({ fault: "timeout", message: "nothing came for 0.1 s" });
  });

  test("that is not answered breaks off as well", async () => {
    answer = () => {};
    expect(await failure(watch({ timeoutMs: 50 }))).toMatchObject({ fault: "timeout" });
  });

  test("lives as long as something comes", async () => {
    // In all longer than it may be idle, in parts far shorter: only time that passes can show the difference.
    answer = async (response) => {
      for (let i = 0; i < 10; i++) {
        response.write(" ");
        await new Promise((resolve) => setTimeout(resolve, 100));
      }
      response.end("\n{}\n");
    };
    expect(await linesOf(watch({ idleMs: 800 }))).toEqual([{}]);
  });

  test("that is silent while a request is not answered breaks off when another one is, over a new connection", async () => {
    const talking: ServerResponse[] = [];
    answer = (response, { url }) => {
      if (url === "/silent" || url === "/talking") response.write("{}\n");
      if (url === "/talking") talking.push(response);
      if (url === "/answered") sendJson(response, {});
    };
    const timeOut = async () =>
      expect(await failure(client.request({ method: "GET", path: "/never", timeoutMs: 50 }))).toMatchObject({
        fault: "timeout",
      });
    const follow = async (path: string, lines: unknown[]) => {
      for await (const some of await client.watch({ path })) lines.push(...some);
    };
    const heard: unknown[] = [];
    let isOver = false;
    const silent = failure(follow("/silent", heard)).finally(() => {
      isOver = true;
    });
    const lines: unknown[] = [];
    const reading = follow("/talking", lines);
    await vi.waitFor(() => expect([heard, lines]).toEqual([[{}], [{}]]));
    await timeOut();
    // That alone says only that the server is slow.
    await timeOut();
    expect(isOver).toBe(false);
    talking[0]?.write("{}\n");
    await vi.waitFor(() => expect(lines).toHaveLength(2));
    await get("/answered");
    const message = "nothing came, while new connections were answered";
    expect(await silent).toMatchObject({ fault: "timeout", message });
    talking[0]?.end("{}\n");
    await reading;
    expect(lines).toHaveLength(3);
  });

  test("can be given up, before it is answered and after", async () => {
    answer = (response, { url }) => void (url === "/w" && response.write("{}\n"));
    const unanswered = new AbortController();
    const pending = client.watch({ path: "/never", signal: unanswered.signal });
    unanswered.abort(new Error("enough"));
    await expect(pending).rejects.toThrow("enough");
    const controller = new AbortController();
    const lines = await client.watch({ path: "/w", signal: controller.signal });
    const reading = (async () => {
      for await (const some of lines) if (some.length > 0) controller.abort(new Error("enough"));
    })();
    await expect(reading).rejects.toThrow("enough");
  });

  test("holds up neither requests nor other watches", async () => {
    answer = (response, { method }) => (method === "GET" ? void response.write("{}\n") : sendJson(response, {}));
    const watches = await Promise.all(Array.from({ length: 20 }, (_, i) => client.watch({ path: `/w${i}` })));
    for (let i = 0; i < 50; i++) await client.request({ method: "PATCH", path: "/p", body: {} });
    for (const lines of watches) {
      expect(await lines[Symbol.asyncIterator]().next()).toEqual({ done: false, value: [{}] });
    }
    expect(server.connections.length).toBeLessThanOrEqual(22);
  });

  test("ends when the client is closed, and nothing begins after that", async () => {
    answer = (response) => void response.write("{}\n");
    const lines = linesOf(watch());
    await vi.waitFor(() => expect(server.heard).toHaveLength(1));
    await client.close();
    expect(await failure(lines)).toBeInstanceOf(ConnectionError);
    expect(await failure(get("/x"))).toMatchObject({ message: "the connection to the API server was closed" });
  });
});

describe("credentials", () => {
  const use = async (overrides: Partial<Access>) => {
    await client.close();
    client = clientFor(accessTo(server, overrides));
  };
  const file = (name: string, text: string) => {
    writeFileSync(join(folder, name), text);
    return join(folder, name);
  };

  test("a token file is read again after a minute, and when the token is not believed", async () => {
    let nowMs = 0;
    const path = file("token", "one\n");
    await use({ credentials: new DeclaredCredentials({ token: new FileText(path, () => nowMs) }) });
    const heard = () => server.heard.map(({ headers }) => headers.authorization).splice(0);
    await get("/");
    file("token", "two\n");
    nowMs = 59_999;
    await get("/");
    nowMs = 60_000;
    await get("/");
    expect(heard()).toEqual(["Bearer one", "Bearer one", "Bearer two"]);
    file("token", "three\n");
    answer = (response, { headers }) =>
      headers.authorization === "Bearer three"
        ? sendJson(response, { ok: true })
        : sendStatus(response, 401, "Unauthorized", "");
    expect(await get("/")).toEqual({ ok: true });
    expect(heard().slice(3)).toEqual(["Bearer two", "Bearer three"]);
    await rm(path);
    nowMs = 200_000;
    expect(await get("/"), "what was read last still counts").toEqual({ ok: true });
  });

  test("what is not believed and stays the same is not tried again", async () => {
    answer = (response) => sendStatus(response, 401, "Unauthorized", "Unauthorized");
    expect(await failure(get("/"))).toMatchObject({ status: 401, message: "401 Unauthorized: Unauthorized" });
    expect(server.heard).toHaveLength(1);
  });

  test("that are not there are told, without what they are", async () => {
    await use({ credentials: new DeclaredCredentials({ token: new FileText(join(folder, "token")) }) });
    expect(await failure(get("/"))).toMatchObject({
      fault: "credentials",
      message: `${folder}/token cannot be read (ENOENT)`,
    });
    for (const [token, message] of [
      ["", "the token for the API server is empty"],
      [`${TOKEN}\r\nx-evil: 1`, "the token for the API server holds blanks or other characters that no token has"],
    ] as const) {
      file("token", token);
      expect(await failure(get("/"))).toMatchObject({ fault: "credentials", message });
    }
  });

  test("basic", async () => {
    await use({ credentials: new DeclaredCredentials({ basic: { username: "me", password: "pä:ss" } }) });
    await get("/");
    const [, encoded = ""] = server.heard[0]?.headers.authorization?.split("Basic ") ?? [];
    expect(Buffer.from(encoded, "base64").toString()).toBe("me:pä:ss");
  });

  test("a client certificate is shown, and a renewed one on a new connection while what runs goes on", async () => {
    await server.stop();
    server = await startHttpsServer((response, heard) => answer(response, heard), {
      requestCert: true,
      ca: AUTHORITY.rootPem,
    });
    answer = (response, { url }) => (url === "/w" ? void response.write("{}\n") : sendJson(response, {}));
    const issue = (commonName: string) => {
      const { certPem, keyPem } = AUTHORITY.issue({ names: [], commonName });
      return { certPem, keyPem };
    };
    let identity: Identity = { authorization: undefined, certificate: issue("one") };
    await use({ credentials: { identity: async () => identity, forget: () => {} } });
    const lines = (await client.watch({ path: "/w" }))[Symbol.asyncIterator]();
    expect(await lines.next()).toMatchObject({ value: [{}] });
    await get("/1");
    identity = { authorization: undefined, certificate: issue("two") };
    await get("/2");
    await get("/3");
    expect(server.heard.map(({ url, client: name }) => `${url} ${name}`)).toEqual([
      "/w one",
      "/1 one",
      "/2 two",
      "/3 two",
    ]);
    const next = lines.next();
    await client.close();
    expect(await failure(next)).toBeInstanceOf(ConnectionError);
  });

  test("a certificate and a key that do not belong together are told, and read again", async () => {
    const [a, b] = [AUTHORITY.issue({ names: [], commonName: "a" }), AUTHORITY.issue({ names: [], commonName: "b" })];
    const certificate = {
      certPem: new FileText(file("tls.crt", a.certPem)),
      keyPem: new FileText(file("tls.key", b.keyPem)),
    };
    await use({ credentials: new DeclaredCredentials({ certificate }) });
    const error = await failure(get("/"));
    expect(error).toMatchObject({ fault: "credentials", message: expect.stringContaining("cannot be used") });
    expect(inspect(error, { depth: 10 })).not.toContain("PRIVATE");
    file("tls.key", a.keyPem);
    expect(await get("/")).toEqual({});
  });
});

describe("the server's certificate", () => {
  const tls = (overrides: Partial<Access["tls"]>) => {
    const { tls: declared } = accessTo(server);
    return { tls: { ...declared, ...overrides } };
  };
  const attempt = async (overrides: Partial<Access>) => {
    await client.close();
    client = clientFor(accessTo(server, overrides));
    return get("/");
  };

  test("must be of the authority", async () => {
    const other = fixedText(createAuthority("Cluster CA").rootPem);
    expect(await failure(attempt(tls({ authority: other })))).toMatchObject({ fault: "connect" });
    expect(await failure(attempt(tls({ authority: undefined })))).toMatchObject({ fault: "connect" });
    expect(server.heard).toEqual([]);
    expect(await attempt(tls({ authority: other, isInsecure: true }))).toEqual({});
  });

  test("must have the server's name, or the one that is asked for", async () => {
    await server.stop();
    const { certPem, keyPem } = AUTHORITY.issue({ names: ["kubernetes.default"] });
    server = await startHttpsServer((response) => sendJson(response, {}), {
      cert: certPem,
      key: keyPem,
      address: "::1",
    });
    const url = { server: `https://[::1]:${server.port}` };
    expect(await failure(attempt(url))).toMatchObject({
      fault: "connect",
      message: expect.stringContaining("altnames"),
    });
    expect(await attempt({ ...url, ...tls({ serverName: "kubernetes.default" }) })).toEqual({});
  });
});

test("a token is never part of a message", () => {
  expect(() => bearer(`${TOKEN} `)).toThrow(expect.not.stringContaining(TOKEN));
});
