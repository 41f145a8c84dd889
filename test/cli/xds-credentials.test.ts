import { X509Certificate } from "node:crypto";
import { mkdir, mkdtemp, rename, rm, symlink, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { connect, type TLSSocket } from "node:tls";
import { afterEach, beforeEach, expect, test } from "vitest";
import { mutualTls } from "../../src/cli/xds-credentials.ts";
import { Cache } from "../../src/xds/cache.ts";
import { XdsServer } from "../../src/xds/server.ts";
import { logOfLines } from "../controller/log-lines.ts";
import { eventually } from "../envoy/harness.ts";
import { type Authority, createAuthority } from "../parts/authority.ts";
import { renameSecret } from "../xds/resources.ts";

const SOON_MS = 10_000;
const EVERY_MS = 20;
const NAMES = ["tls.crt", "tls.key", "ca.crt"] as const;
type Texts = Readonly<Record<(typeof NAMES)[number], string>>;

const [first, second] = [createAuthority("first"), createAuthority("second")];

let folder: string;
let server: XdsServer;
let port: number;
let lines: Record<string, unknown>[];
let sockets: TLSSocket[];
let tickets: Map<TLSSocket, Buffer>;
let generations: number;

beforeEach(async () => {
  folder = await mkdtemp(join(tmpdir(), "isoline-xds-"));
  [sockets, tickets, generations] = [[], new Map(), 0];
  await mount(textsOf(first));
  for (const name of NAMES) await symlink(join("..data", name), join(folder, name));
  const written = logOfLines();
  lines = written.lines;
  server = new XdsServer({
    cache: new Cache(),
    renameSecret,
    credentials: mutualTls(files(), written.log, EVERY_MS),
    now: () => 0,
    stopMs: 200,
    onReport: () => {},
  });
  port = await server.start("127.0.0.1", 0);
});
afterEach(async () => {
  for (const socket of sockets) socket.destroy();
  await server.stop();
  await rm(folder, { recursive: true });
});

function textsOf(authority: Authority, trusted: string = authority.rootPem): Texts {
  const { certPem, keyPem } = authority.issue({ names: ["127.0.0.1"] });
  return { "tls.crt": certPem, "tls.key": keyPem, "ca.crt": trusted };
}

function files() {
  const [certFile, keyFile, caFile] = NAMES.map((name) => join(folder, name));
  return { certFile: certFile ?? "", keyFile: keyFile ?? "", caFile: caFile ?? "" };
}

/** As a kubelet does it: all files at once, by a link that is replaced. */
async function mount(texts: Partial<Texts>): Promise<void> {
  const generation = `..${++generations}`;
  await mkdir(join(folder, generation));
  for (const [name, text] of Object.entries(texts)) await writeFile(join(folder, generation, name), text);
  await symlink(generation, join(folder, "..data_tmp"));
  await rename(join(folder, "..data_tmp"), join(folder, "..data"));
}

type Client = { readonly trusts: Authority; readonly shows?: Authority; readonly session?: Buffer };

/** Resolves when the server has let it in, and has said the first words of HTTP/2; to undefined if it does not. */
async function come({ trusts, shows, session }: Client): Promise<TLSSocket | undefined> {
  const own = shows?.issue({ names: ["envoy"] });
  const socket = connect({
    ...{ port, host: "127.0.0.1", ca: trusts.rootPem, ALPNProtocols: ["h2"] },
    ...(own && { cert: own.certPem, key: own.keyPem }),
    ...(session && { session }),
  });
  sockets.push(socket);
  socket.on("error", () => {}).on("session", (ticket) => tickets.set(socket, ticket));
  return (await hears(socket)) ? socket : undefined;
}

/** Whether it hears anything before it is closed. */
function hears(socket: TLSSocket): Promise<boolean> {
  return new Promise((resolve) => {
    socket.once("data", () => resolve(true)).once("close", () => resolve(false));
  });
}

/** Says the first words of the other side and a ping, and waits until that has come back. */
async function goOn(socket: TLSSocket | undefined): Promise<void> {
  if (socket === undefined) throw new Error("it was not let in");
  const [emptySettings, ping] = ["\0\0\0\x04\0\0\0\0\0", "\0\0\x08\x06\0\0\0\0\0still on"];
  let heard = "";
  socket.on("data", (bytes: Buffer) => {
    heard += bytes.toString("latin1");
  });
  socket.write(`PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n${emptySettings}${ping}`);
  await eventually(() => heard.includes("still on"), SOON_MS);
}

const told = (text: string) => eventually(() => lines.some(({ msg }) => String(msg).includes(text)), SOON_MS);

test("new connections use what the Secret has now, and those that are open stay", async () => {
  const old = { trusts: first, shows: first };
  const open = await come(old);
  expect(open).toBeDefined();
  expect(await come({ trusts: first, shows: second })).toBeUndefined();
  expect(await come({ trusts: first })).toBeUndefined();

  const texts = textsOf(second);
  await mount(texts);
  await told("xDS has other certificates");
  const next = await come({ trusts: second, shows: second });
  expect(next?.getPeerX509Certificate()?.raw).toEqual(new X509Certificate(texts["tls.crt"]).raw);
  expect(await come(old)).toBeUndefined();
  expect(await come({ trusts: second, shows: first })).toBeUndefined();
  expect(await come({ trusts: second })).toBeUndefined();
  await goOn(open);
  expect(lines).toHaveLength(1);
});

test("who resumes a session is looked at by what is trusted now", async () => {
  const open = await come({ trusts: first, shows: first });
  await eventually(() => open !== undefined && tickets.has(open), SOON_MS);
  const session = open && tickets.get(open);
  const again = await come({ trusts: first, shows: first, ...(session && { session }) });
  expect(again?.isSessionReused()).toBe(true);
  // The controller's own certificate is of the first authority as before.
  await mount(textsOf(first, second.rootPem));
  await told("xDS has other certificates");
  expect(await come({ trusts: first, shows: first, ...(session && { session }) })).toBeUndefined();
  expect(await come({ trusts: first, shows: second })).toBeDefined();
});

test("two authorities are trusted for as long as both are in the file", async () => {
  await mount(textsOf(second, first.rootPem + second.rootPem));
  await told("xDS has other certificates");
  expect(await come({ trusts: second, shows: first })).toBeDefined();
  expect(await come({ trusts: second, shows: second })).toBeDefined();
});

const whole = textsOf(second);

test.each([
  ["one is missing", { "tls.crt": whole["tls.crt"], "ca.crt": whole["ca.crt"] }, "ENOENT: no such file"],
  ["the certificate is cut off", { ...whole, "tls.crt": whole["tls.crt"].slice(0, 200) }, "tls.crt is cut off"],
  ["the authority is cut off", { ...whole, "ca.crt": whole["ca.crt"].slice(0, -40) }, "ca.crt is cut off"],
  ["the authority is empty", { ...whole, "ca.crt": "" }, "ca.crt holds no certificate"],
  ["the authority is damaged", { ...whole, "ca.crt": whole["ca.crt"].replace("MII", "AAA") }, "cannot be read"],
  ["the key is that of another", { ...whole, "tls.key": textsOf(second)["tls.key"] }, "do not make a pair"],
  ["the key is cut off", { ...whole, "tls.key": whole["tls.key"].slice(0, 100) }, "do not make a pair"],
])("when %s, those from before are used, and the log says so once", async (_, broken, reason) => {
  await mount(broken);
  await told("cannot be used as they are now");
  expect(lines).toMatchObject([{ reason: expect.stringContaining(reason) }]);
  expect(JSON.stringify(lines)).not.toContain("PRIVATE");
  expect(await come({ trusts: first, shows: first })).toBeDefined();
  expect(await come({ trusts: second, shows: second })).toBeUndefined();
  expect(lines).toHaveLength(1);
  await mount(whole);
  await told("xDS has other certificates");
  expect(await come({ trusts: second, shows: second })).toBeDefined();
});

test("files that are of no use from the start are told at once", async () => {
  const { log } = logOfLines();
  await mount({ ...whole, "ca.crt": "" });
  const attempt = () => mutualTls(files(), log, EVERY_MS);
  expect(attempt).toThrow(`the certificates of xDS cannot be used: ${join(folder, "ca.crt")} holds no certificate`);
});
