import { expect, test } from "vitest";
import { ExecPlugin } from "../../src/kube/exec-plugin.ts";

const API = "client.authentication.k8s.io/v1";

/** A plugin that gives out its own process number, good for as long as the arguments say. */
function plugin(nowMs: () => number, expirationTimestamp: string | undefined): ExecPlugin {
  const expiry = expirationTimestamp === undefined ? "" : `,"expirationTimestamp":"${expirationTimestamp}"`;
  const script = `echo '{"kind":"ExecCredential","apiVersion":"${API}","status":{"token":"'$$'"${expiry}}}'`;
  return new ExecPlugin(
    {
      apiVersion: API,
      command: "sh",
      args: ["-c", script],
      env: { PATH: process.env.PATH },
      installHint: undefined,
      cluster: undefined,
      file: "/config",
      certificate: async () => undefined,
    },
    nowMs,
  );
}

test.each<[string, string | undefined, readonly boolean[]]>([
  ["a minute", "1970-01-01T00:01:00Z", [true, true, false]],
  ["for ever", undefined, [true, true, true]],
  ["less than nothing, but is not run for every request", "1969-12-31T00:00:00Z", [true, false, false]],
])("what a plugin gives out is used until shortly before it expires: %s", async (_, expiry, isKept) => {
  let nowMs = 0;
  const credentials = plugin(() => nowMs, expiry);
  const { authorization } = await credentials.identity();
  const kept: boolean[] = [];
  for (const ms of [9_000, 49_000, 50_000]) {
    nowMs = ms;
    kept.push((await credentials.identity()).authorization === authorization);
  }
  expect(kept).toEqual(isKept);
});
