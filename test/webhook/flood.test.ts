import { once } from "node:events";
import { connect as connectTcp, type Socket } from "node:net";
import { connect as connectTls, TLSSocket } from "node:tls";
import { afterEach, beforeEach, expect, test } from "vitest";
import { SecretText } from "../../src/api/secret-text.ts";
import { REAL_CLOCK } from "../../src/kube/clock.ts";
import { REVIEW_PATH } from "../../src/webhook/review-server.ts";
import { ReviewThread, type ThreadReport } from "../../src/webhook/review-thread.ts";
import { eventually } from "../envoy/harness.ts";
import { createAuthority } from "../parts/authority.ts";
import { post } from "./post.ts";

const BUILT = new URL("../../dist/cli/webhook-thread.js", import.meta.url);
/** More than there are places for one address, and for all. */
const [CROWD, STRANGERS] = [220, 450];
const REVIEWS = 20;
const SOON_MS = 10_000;
/** An API server waits no longer. */
const IN_TIME_MS = 2_000;

const authority = createAuthority("webhook");
const { certPem, keyPem } = authority.issue({ names: ["127.0.0.1"] });

let thread: ReviewThread;
let port: number;
let reports: ThreadReport[];
let strangers: Set<Socket>;
let turnedAway: number;
let isOver: boolean;

beforeEach(async () => {
  [reports, strangers, turnedAway, isOver] = [[], new Set(), 0, false];
  const compile = { rootNamespaces: [], ingressClass: "contour", minimumTlsVersion: "1.1" };
  const onReport = (report: ThreadReport) => reports.push(report);
  thread = new ReviewThread({ script: BUILT, settings: { compile, isWarnOnly: false }, clock: REAL_CLOCK, onReport });
  thread.use({ certPem, key: new SecretText(keyPem) });
  port = await thread.listen("127.0.0.1", 0);
});
afterEach(async () => {
  isOver = true;
  for (const socket of strangers) socket.destroy();
  await eventually(() => strangers.size === 0, SOON_MS);
  await thread.close();
});

type Come = (localAddress: string) => Socket;

/** Only connects. */
const overTcp: Come = (localAddress) => connectTcp({ port, host: "127.0.0.1", localAddress });

/** Asks for nothing. */
const overTls: Come = (localAddress) =>
  connectTls({ socket: overTcp(localAddress), ca: authority.rootPem, checkServerIdentity: () => undefined });

/** Takes a place and says nothing. */
function stay(come: Come, localAddress: string, whenTurnedAway = () => {}): void {
  const socket = come(localAddress).resume();
  strangers.add(socket);
  socket.on("error", () => {});
  socket.on("close", () => {
    strangers.delete(socket);
    turnedAway++;
    if (!isOver) whenTurnedAway();
  });
}

/** And comes back. */
function insist(come: Come, localAddress: string): void {
  stay(come, localAddress, () => insist(come, localAddress));
}

const isThere = (socket: Socket) => (socket instanceof TLSSocket ? socket.authorized : !socket.connecting);

async function review(): Promise<{ readonly status: number; readonly isInTime: boolean }> {
  const object = { spec: { virtualhost: { fqdn: "a.example.com" }, routes: [] } };
  const kind = { group: "contour.heptio.com", version: "v1beta1", kind: "IngressRoute" };
  const request = { uid: "1", operation: "CREATE", kind, namespace: "n", name: "a", object };
  const body = JSON.stringify({ apiVersion: "admission.k8s.io/v1", kind: "AdmissionReview", request });
  const startMs = performance.now();
  const { status } = await post({ port, path: REVIEW_PATH, ca: authority.rootPem, localAddress: "127.0.0.1" }, body);
  const ms = performance.now() - startMs;
  return { status, isInTime: ms < IN_TIME_MS };
}

async function expectReviews(): Promise<void> {
  const answers: unknown[] = [];
  for (let i = 0; i < REVIEWS; i++) answers.push(await review());
  expect(answers).toEqual(Array.from({ length: REVIEWS }, () => ({ status: 200, isInTime: true })));
  expect(reports.filter(({ kind }) => kind === "ended")).toEqual([]);
}

const oneAddress = () => "127.0.0.2";
const manyAddresses = (i: number) => `127.0.1.${1 + (i % 100)}`;
const itsOwn = () => "127.0.0.1";

test.each([
  ["connections", "one address", overTcp, oneAddress, CROWD, 200],
  ["connections", "many addresses", overTcp, manyAddresses, STRANGERS, 400],
  ["connections", "its own address", overTcp, itsOwn, CROWD, 200],
  ["TLS", "one address", overTls, oneAddress, CROWD, 200],
  ["TLS", "its own address", overTls, itsOwn, CROWD, 200],
])(
  "reviews are answered while strangers hold every place, with %s from %s",
  async (...[, , come, addressOf, count, places]) => {
    for (let i = 0; i < count; i++) stay(come, addressOf(i));
    await eventually(() => strangers.size === places && [...strangers].every(isThere), SOON_MS);
    await expectReviews();
  },
);

test("who has just been answered stays, and who says nothing goes", async () => {
  const socket = overTls("127.0.0.1");
  const ask = async () => {
    socket.write(`POST ${REVIEW_PATH} HTTP/1.1\r\nhost: x\r\ncontent-length: 2\r\n\r\n{}`);
    const [answer] = await Promise.race([once(socket, "data"), once(socket, "close")]);
    return String(answer).split("\r\n")[0];
  };
  await once(socket, "secureConnect");
  for (let i = 0; i < 149; i++) stay(overTcp, "127.0.0.1");
  // Connections are accepted in their order: when this one has its TLS, those before it have their places.
  stay(overTls, "127.0.0.1");
  await eventually(() => [...strangers].every(isThere), SOON_MS);
  expect(await ask()).toBe("HTTP/1.1 400 Bad Request");
  for (let i = 0; i < 100; i++) stay(overTcp, "127.0.0.1");
  await eventually(() => strangers.size === 199, SOON_MS);
  expect(await ask()).toBe("HTTP/1.1 400 Bad Request");
  socket.destroy();
});

test.each([
  ["one address", oneAddress, CROWD],
  ["many addresses", manyAddresses, STRANGERS],
])(
  "reviews are answered while strangers from %s come back as often as they are turned away",
  async (_, addressOf, count) => {
    for (let i = 0; i < count; i++) insist(overTcp, addressOf(i));
    await eventually(() => turnedAway >= 500, SOON_MS);
    await expectReviews();
  },
);
