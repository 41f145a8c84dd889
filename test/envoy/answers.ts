import { connect } from "node:net";
import type { SecureVersion } from "node:tls";
import { expect } from "vitest";
import type { Echo } from "../../src/cli/echo.ts";
import { type ExpectedRequest, splitRequest } from "../cases.ts";
import type { Seen } from "../parts/backends.ts";
import { NoUpgrade, openWebsocket, requestH2, requestHttps } from "../parts/clients.ts";
import { eventually, type Reply, request } from "./harness.ts";
import type { Isoline } from "./isoline.ts";

/** How often a request is sent whose answers are shared out by weight. */
const SAMPLES = 400;
/** By chance alone, one share in 1.7 million is further off than this many standard deviations. */
const DEVIATIONS = 5;
const SETTLE_MS = 2000;

type Ports = Pick<Isoline, "httpPort" | "httpsPort">;

/** Sends the request, as often as it takes, and expects the answer that the line of a requests.yaml says. */
export async function expectAnswer(ports: Ports, expected: ExpectedRequest): Promise<void> {
  const ask = async () => {
    const answer = await answerTo(ports, expected);
    if (expected.answerHeaders !== undefined) expect(answer.headers).toMatchObject(expected.answerHeaders);
    return answer;
  };
  if ("handshake" in expected) {
    await eventually(async () => expect(await ask()).toMatchObject({ who: "nobody, no handshake" }), SETTLE_MS);
    return;
  }
  if (expected.status !== undefined) {
    // Envoy acknowledges on its main thread; its workers follow a moment later.
    await eventually(async () => expect(await ask()).toMatchObject({ status: expected.status }), SETTLE_MS);
    return;
  }
  const shares = Object.entries(expected.weights).filter(([, weight]) => weight > 0);
  const sum = shares.reduce((total, [, weight]) => total + weight, 0);
  const wanted = new Map(
    shares.map(([who, weight]) => [who === "unavailable" ? "nobody, status 503" : who, weight / sum]),
  );
  await eventually(async () => expect([...wanted.keys()]).toContain((await ask()).who), SETTLE_MS);
  const samples = shares.length === 1 ? 1 : SAMPLES;
  const counts = new Map<string, number>();
  for (let i = 0; i < samples; i++) {
    const { who, seen } = await ask();
    if (seen !== undefined && expected.path !== undefined) expect(seen).toMatchObject({ path: expected.path });
    if (seen !== undefined && expected.seen !== undefined) expect(seen).toMatchObject(expected.seen);
    counts.set(who, (counts.get(who) ?? 0) + 1);
  }
  for (const [who, count] of counts) {
    const share = wanted.get(who) ?? 0;
    const allowed = DEVIATIONS * Math.sqrt(samples * share * (1 - share));
    expect(
      Math.abs(count - samples * share),
      `${expected.request}: ${who}, ${count} of ${samples}`,
    ).toBeLessThanOrEqual(allowed);
  }
}

/** `who` is `namespace/service/port` of the backend, and `seen` what that tells of the request. */
type Answer = {
  readonly status: number;
  readonly who: string;
  readonly headers?: Reply["headers"];
  readonly seen?: Partial<Seen>;
};

async function answerTo(ports: Ports, expected: ExpectedRequest): Promise<Answer> {
  if (expected.websocket === true) return upgrade(ports, expected);
  let reply: Reply;
  try {
    reply = await send(ports, expected);
  } catch (error) {
    if (splitRequest(expected).serverName === undefined) throw error;
    return { status: 0, who: "nobody, no handshake" };
  }
  const { status, headers, body } = reply;
  if (status !== 200) return { status, headers, who: `nobody, status ${status}` };
  // The backends of the cases, or those of `isoline dev --echo`.
  const seen: (Partial<Seen> & { readonly backend: string }) | Echo = JSON.parse(body);
  return { status, headers, who: "backend" in seen ? seen.backend : `${seen.service}/${seen.port}`, seen };
}

function send(ports: Ports, expected: ExpectedRequest): Promise<Reply> {
  const { host, path, serverName } = splitRequest(expected);
  const { method = "GET", headers = {}, http2 = false } = expected;
  if (serverName === undefined) {
    return http2
      ? requestH2(connect(ports.httpPort, "127.0.0.1"), { host, path, method, headers })
      : request({ port: ports.httpPort, host, path, method, headers });
  }
  const alpn = http2 ? ["h2"] : ["http/1.1"];
  return requestHttps({ ...tlsOf(ports, expected, serverName), alpn, host, path, method, headers });
}

async function upgrade(ports: Ports, expected: ExpectedRequest): Promise<Answer> {
  const { host, path, serverName } = splitRequest(expected);
  const where =
    serverName === undefined
      ? { port: ports.httpPort }
      : { port: ports.httpsPort, tls: tlsOf(ports, expected, serverName) };
  try {
    const socket = await openWebsocket({ ...where, host, path });
    socket.send("hello");
    expect(await socket.next()).toBe("hello");
    await socket.close();
    return { status: 101, who: String(socket.headers["x-backend"]) };
  } catch (error) {
    if (!(error instanceof NoUpgrade)) throw error;
    const { status, headers } = error;
    return { status, headers, who: `nobody, status ${status}` };
  }
}

function tlsOf({ httpsPort }: Ports, { tlsVersion }: ExpectedRequest, serverName: string) {
  const versions = tlsVersion === undefined ? {} : { minVersion: secure(tlsVersion), maxVersion: secure(tlsVersion) };
  return { port: httpsPort, sni: serverName, ...versions };
}

function secure(version: string): SecureVersion {
  const known = (["TLSv1", "TLSv1.1", "TLSv1.2", "TLSv1.3"] as const).find((name) =>
    [`TLSv${version}`, `TLSv${version.replace(/\.0$/, "")}`].includes(name),
  );
  if (known === undefined) throw new Error(`there is no TLS ${version}`);
  return known;
}
