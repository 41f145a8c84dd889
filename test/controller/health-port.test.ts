import { request, type Server } from "node:http";
import { type AddressInfo, connect, type Socket } from "node:net";
import { afterEach, beforeEach, expect, test } from "vitest";
import { Controller } from "../../src/controller/controller.ts";
import { close, createHealthServer, listen } from "../../src/controller/http.ts";
import { createLog } from "../../src/controller/log.ts";
import { translateOptions } from "../../src/controller/settings.ts";
import { Cache } from "../../src/xds/cache.ts";
import { eventually } from "../envoy/harness.ts";
import { DEFAULT_SETTINGS } from "../settings.ts";

/** More than the port has places. */
const STRANGERS = 1_100;
const PROBES = 20;

let server: Server;
let port: number;
let strangers: Set<Socket>;
let turnedAway: number;
let isOver: boolean;

beforeEach(async () => {
  const translate = translateOptions(DEFAULT_SETTINGS);
  const log = createLog({ level: "error", format: "json" }, () => {});
  const controller = new Controller({ log, translate, cache: new Cache(), now: () => 0 });
  server = createHealthServer({ controller, unread: () => [] });
  await listen(server, "127.0.0.1", 0);
  port = (server.address() as AddressInfo).port;
  [strangers, turnedAway, isOver] = [new Set(), 0, false];
});
afterEach(async () => {
  isOver = true;
  for (const socket of strangers) socket.destroy();
  await eventually(() => strangers.size === 0, 5_000);
  await close(server);
});

/** Takes a place, and another one when that is lost. */
function stay(localAddress: string): void {
  const socket = connect({ port, host: "127.0.0.1", localAddress });
  strangers.add(socket);
  // What it is told, and closed with, does not matter.
  socket.resume();
  socket.on("error", () => {});
  socket.on("close", () => {
    strangers.delete(socket);
    turnedAway++;
    if (!isOver) stay(localAddress);
  });
}

function probe(): Promise<number | string> {
  return new Promise((resolve) => {
    const asked = request({
      port,
      host: "127.0.0.1",
      localAddress: "127.0.0.1",
      path: "/healthz",
      agent: false,
      timeout: 5_000,
    });
    asked.on("response", (response) => response.resume().on("end", () => resolve(response.statusCode ?? 0)));
    asked.on("timeout", () => asked.destroy(new Error("timeout")));
    asked.on("error", (error) => resolve(error.message));
    asked.end();
  });
}

test.each([
  ["one address", () => "127.0.0.2"],
  ["many addresses", (i: number) => `127.0.1.${1 + (i % 250)}`],
  ["its own address", () => "127.0.0.1"],
])("a probe is answered while strangers take every place from %s", async (_, addressOf) => {
  for (let i = 0; i < STRANGERS; i++) stay(addressOf(i));
  await eventually(() => turnedAway >= 100, 10_000);
  const answers: (number | string)[] = [];
  for (let i = 0; i < PROBES; i++) answers.push(await probe());
  expect(answers).toEqual(Array.from({ length: PROBES }, () => 200));
});

test("a connection that asks for nothing ends by itself", async () => {
  stay("127.0.0.2");
  await eventually(() => turnedAway > 0, 5_000);
});
