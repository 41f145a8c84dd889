import { expect } from "vitest";
import type { Echo } from "../../src/cli/echo.ts";
import { type ExpectedRequest, splitRequest } from "../cases.ts";
import { eventually } from "./harness.ts";
import { httpsRequest } from "./https.ts";
import type { World } from "./world.ts";

/** How often a request is sent whose answers are shared out by weight. */
const SAMPLES = 400;
/** By chance alone, one share in 1.7 million is further off than this many standard deviations. */
const DEVIATIONS = 5;
const SETTLE_MS = 2000;

/** Sends the request, as often as it takes, and expects the answer that the line of a requests.yaml says. */
export async function expectAnswer(world: World, expected: ExpectedRequest): Promise<void> {
  const { request } = expected;
  const ask = () => answerTo(world, expected);
  if ("handshake" in expected) {
    await eventually(async () => expect(await ask()).toMatchObject({ who: "nobody, no handshake" }), SETTLE_MS);
    return;
  }
  if ("status" in expected) {
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
    const { who, path } = await ask();
    if (path !== undefined && expected.path !== undefined) expect(path).toBe(expected.path);
    counts.set(who, (counts.get(who) ?? 0) + 1);
  }
  for (const [who, count] of counts) {
    const share = wanted.get(who) ?? 0;
    const allowed = DEVIATIONS * Math.sqrt(samples * share * (1 - share));
    expect(Math.abs(count - samples * share), `${request}: ${who}, ${count} of ${samples}`).toBeLessThanOrEqual(
      allowed,
    );
  }
}

type Answer = { readonly status: number; readonly who: string; readonly path?: string };

/** `who` is `namespace/service/port` of the backend, and `path` what it was asked for. */
async function answerTo(world: World, expected: ExpectedRequest): Promise<Answer> {
  const { host, path, serverName } = splitRequest(expected);
  try {
    const { status, body } =
      serverName === undefined
        ? await world.get(host, path)
        : await httpsRequest({ port: world.httpsPort, serverName, host, path, authority: undefined });
    if (status !== 200) return { status, who: `nobody, status ${status}` };
    const echo: Echo = JSON.parse(body);
    return { status, who: `${echo.service}/${echo.port}`, path: echo.path };
  } catch (error) {
    if (serverName === undefined || error instanceof SyntaxError) throw error;
    return { status: 0, who: "nobody, no handshake" };
  }
}
