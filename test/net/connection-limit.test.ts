import { once } from "node:events";
import { type AddressInfo, connect, createServer, type Server, type Socket } from "node:net";
import { afterEach, beforeEach, expect, test } from "vitest";
import { ConnectionLimit } from "../../src/net/connection-limit.ts";
import { eventually } from "../envoy/harness.ts";

const SOON_MS = 5_000;

let limit: ConnectionLimit;
let server: Server;
let clients: Map<string, Socket>;
/** The other ends, in the order in which they came. */
let admitted: Socket[];

beforeEach(async () => {
  limit = new ConnectionLimit({ max: 4, maxPerAddress: 3 });
  [clients, admitted] = [new Map(), []];
  server = createServer((socket) => {
    limit.admit(socket);
    admitted.push(socket.on("error", () => {}));
  }).listen(0, "127.0.0.1");
  await once(server, "listening");
});
afterEach(async () => {
  for (const client of clients.values()) client.destroy();
  await eventually(() => clients.size === 0, SOON_MS);
  server.close();
});

/** Resolves to the server's end. */
async function come(name: string, localAddress = "127.0.0.1"): Promise<Socket> {
  const { port } = server.address() as AddressInfo;
  const count = admitted.length;
  const client = connect({ port, host: "127.0.0.1", localAddress }).resume();
  clients.set(
    name,
    client.on("close", () => clients.delete(name)),
  );
  await eventually(() => admitted.length > count, SOON_MS);
  return admitted[count] ?? new Promise(() => {});
}

const stays = (...names: string[]) => eventually(() => expect([...clients.keys()]).toEqual(names), SOON_MS);

test("the longest idle makes room", async () => {
  for (const [i, name] of ["a", "b", "c", "d"].entries()) await come(name, `127.0.0.${i + 1}`);
  await stays("a", "b", "c", "d");
  await come("e", "127.0.0.5");
  await stays("b", "c", "d", "e");
});

test("of an address that has its share it is one of its own", async () => {
  await come("a", "127.0.0.1");
  for (const name of ["b", "c", "d", "e", "f"]) await come(name, "127.0.0.2");
  await stays("a", "d", "e", "f");
});

test("of several addresses it is the one with the most", async () => {
  await come("a", "127.0.0.1");
  await come("b", "127.0.0.2");
  await come("c", "127.0.0.3");
  for (const name of ["d", "e", "f", "g"]) await come(name, "127.0.0.3");
  await stays("a", "b", "f", "g");
  await come("h", "127.0.0.4");
  await stays("a", "b", "g", "h");
});

test("who is being answered does not make room, and counts as new afterwards", async () => {
  const done = limit.working(await come("a"));
  for (const name of ["b", "c", "d"]) await come(name);
  await stays("a", "c", "d");
  done();
  await come("e");
  await stays("a", "d", "e");
  await come("f");
  await stays("a", "e", "f");
});

test("when all are being answered, who came first makes room", async () => {
  for (const name of ["a", "b", "c"]) limit.working(await come(name));
  await come("d");
  await stays("b", "c", "d");
});

test("who leaves makes room, too", async () => {
  for (const name of ["a", "b", "c"]) await come(name);
  const [, left] = admitted;
  clients.get("b")?.destroy();
  await eventually(() => left?.destroyed, SOON_MS);
  await come("d");
  await stays("a", "c", "d");
});
