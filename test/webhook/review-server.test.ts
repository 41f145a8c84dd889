import { once } from "node:events";
import type { RequestOptions } from "node:https";
import { connect } from "node:tls";
import { afterEach, beforeEach, describe, expect, test } from "vitest";
import { SecretText } from "../../src/api/secret-text.ts";
import { allowedUnseen, type Verdict } from "../../src/webhook/review.ts";
import { REVIEW_PATH, type ReviewReport, ReviewServer } from "../../src/webhook/review-server.ts";
import { createAuthority } from "../parts/authority.ts";
import { post } from "./post.ts";

const authority = createAuthority("webhook");
const first = authority.issue({ names: ["127.0.0.1"] });
const second = authority.issue({ names: ["127.0.0.1"] });

let reports: ReviewReport[] = [];
let server: ReviewServer;
let port = 0;

beforeEach(async () => {
  reports = [];
  server = new ReviewServer({
    review: (body) => {
      if (body === "bug") throw new Error("a bug with details");
      return body === "review" ? VERDICT : undefined;
    },
    allowedUnseen,
    monotonicMs: () => performance.now(),
    onReport: (report) => reports.push(report),
  });
  port = await server.listen("127.0.0.1", 0);
  server.use({ certPem: first.certPem, key: new SecretText(first.keyPem) });
});
afterEach(() => server.close());

const VERDICT: Verdict = { answer: { it: "is" }, kind: "IngressRoute", isAllowed: true, warnings: 0 };

describe("over HTTPS", () => {
  test("a review is answered", async () => {
    expect(await send({}, JSON.stringify("review"))).toEqual({ status: 200, body: '{"it":"is"}' });
    const verdict = { kind: "IngressRoute", isAllowed: true, warnings: 0 };
    expect(reports).toEqual([{ kind: "reviewed", verdict, ms: expect.any(Number) }]);
  });

  test("what is no review is answered 400, in one line", async () => {
    for (const body of ["", "{", "\ud800", JSON.stringify("else"), "[".repeat(1_000_000)]) {
      expect(await send({}, body)).toEqual({
        status: 400,
        body: "the body is no AdmissionReview of admission.k8s.io/v1",
      });
    }
    expect(reports).toHaveLength(5);
  });

  test.each([
    ["of too many bytes", `"${"x".repeat(9 << 20)}"`],
    ["of too many parts", `[${"{},".repeat(400_000)}{}]`],
    ["too deep", `${"[".repeat(200)}${"]".repeat(200)}`],
  ])(
    "an object %s is allowed without a look at it, which its author is told, and the next one is read",
    async (_, object) => {
      const start = `{"kind":"AdmissionReview","apiVersion":"admission.k8s.io/v1","request":{"uid":"0f-1",`;
      const answer = await send({}, `${start}"object":${object}}}`);
      expect(answer.status).toBe(200);
      const warnings = ["Isoline has not looked at this object: it is too large for that before it is written"];
      expect(JSON.parse(answer.body)).toMatchObject({ response: { uid: "0f-1", allowed: true, warnings } });
      expect(reports).toMatchObject([{ kind: "reviewed", verdict: { kind: "other", isAllowed: true, warnings: 1 } }]);
      expect(await send({}, JSON.stringify("review"))).toMatchObject({ status: 200 });
    },
  );

  test("bodies that never end take no more than their share of memory, and some seconds", async () => {
    const body = "x".repeat(7 << 20);
    const sockets = await Promise.all(Array.from({ length: 6 }, () => shake()));
    const answers = sockets.map(async (socket) => String((await once(socket, "data"))[0]));
    for (const socket of sockets) {
      // The server may have answered before all was sent.
      socket.on("error", () => socket.destroy());
      socket.write(`POST ${REVIEW_PATH} HTTP/1.1\r\nhost: x\r\ncontent-length: ${body.length + 1}\r\n\r\n${body}`);
    }
    const statuses = (await Promise.all(answers)).map((answer) => answer.slice(9, 12));
    expect(new Set(statuses), "too much at once, and then out of time").toEqual(new Set(["503", "408"]));
    expect(await send({}, JSON.stringify("review"))).toMatchObject({ status: 200 });
    for (const socket of sockets) socket.destroy();
  });

  test("other paths and methods lead nowhere", async () => {
    expect(await send({ path: "/" }, "{}")).toMatchObject({ status: 404 });
    expect(await send({ method: "PUT" }, "{}")).toMatchObject({ status: 405 });
    expect(await send({ path: `${REVIEW_PATH}?timeout=2s` }, JSON.stringify("review"))).toMatchObject({ status: 200 });
  });

  test("a bug is told to us, and nothing of it to others", async () => {
    expect(await send({}, JSON.stringify("bug"))).toEqual({ status: 500, body: "this is a bug in Isoline" });
    expect(reports).toEqual([{ kind: "bug", error: new Error("a bug with details") }]);
  });

  test("a connection that breaks off in the middle is nobody's bug", async () => {
    const socket = connect({ port, host: "127.0.0.1", ca: authority.rootPem });
    await once(socket, "secureConnect");
    socket.write(`POST ${REVIEW_PATH} HTTP/1.1\r\nhost: x\r\ncontent-length: 100\r\n\r\nabc`);
    socket.destroy();
    expect(await send({}, JSON.stringify("review"))).toMatchObject({ status: 200 });
    expect(reports.filter(({ kind }) => kind === "bug")).toEqual([]);
  });
});

test("another certificate is shown to new connections, and those that are open stay", async () => {
  const open = await shake();
  expect(open.getPeerX509Certificate()?.raw.equals(der(first.certPem))).toBe(true);
  server.use({ certPem: second.certPem, key: new SecretText(second.keyPem) });
  const later = await shake();
  expect(later.getPeerX509Certificate()?.raw.equals(der(second.certPem))).toBe(true);
  const body = JSON.stringify("review");
  open.write(`POST ${REVIEW_PATH} HTTP/1.1\r\nhost: x\r\ncontent-length: ${body.length}\r\n\r\n${body}`);
  const [answer] = await once(open, "data");
  expect(String(answer)).toMatch(/^HTTP\/1.1 200 /);
  open.destroy();
  later.destroy();
});

test("without a certificate nothing is answered, and nothing breaks", async () => {
  const bare = new ReviewServer({ review: () => VERDICT, allowedUnseen, monotonicMs: () => 0, onReport: () => {} });
  const barePort = await bare.listen("127.0.0.1", 0);
  await expect(send({ port: barePort }, JSON.stringify("review"))).rejects.toThrow();
  bare.use({ certPem: first.certPem, key: new SecretText(first.keyPem) });
  expect(await send({ port: barePort }, JSON.stringify("review"))).toMatchObject({ status: 200 });
  await bare.close();
});

async function shake() {
  const socket = connect({ port, host: "127.0.0.1", ca: authority.rootPem });
  await once(socket, "secureConnect");
  return socket;
}

function der(pem: string): Buffer {
  return Buffer.from(pem.replace(/-----[^-]+-----|\s/g, ""), "base64");
}

function send(options: RequestOptions, body: string): Promise<{ readonly status: number; readonly body: string }> {
  return post({ port, path: REVIEW_PATH, ca: authority.rootPem, ...options }, body);
}
