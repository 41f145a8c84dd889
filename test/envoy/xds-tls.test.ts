import { mkdtemp, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterAll, beforeAll, expect, test } from "vitest";
import { mutualTls } from "../../src/cli/xds-credentials.ts";
import { createLog } from "../../src/controller/log.ts";
import { type RunningController, runController } from "../../src/controller/run.ts";
import { createAuthority } from "../parts/authority.ts";
import { DEFAULT_SETTINGS } from "../settings.ts";
import { freePort, startEnvoy } from "./harness.ts";
import { describeWithEnvoy } from "./suite.ts";

describeWithEnvoy("xDS with mutual TLS", (binary) => {
  let folder: string;
  let running: RunningController;

  /** The files of one side: its certificate and key, and the authority of the other side. */
  const files = async (side: string, issuer = createAuthority(side), trusted = issuer) => {
    const { certPem, keyPem } = issuer.issue({ names: [`${side}.example.com`] });
    const contents = { certFile: certPem, keyFile: keyPem, caFile: trusted.rootPem };
    const paths = Object.keys(contents).map((name) => [name, join(folder, `${side}-${name}.pem`)] as const);
    const [certFile, keyFile, caFile] = [`${side}-certFile.pem`, `${side}-keyFile.pem`, `${side}-caFile.pem`];
    for (const [name, path] of paths) await writeFile(path, contents[name as keyof typeof contents]);
    return { certFile: join(folder, certFile), keyFile: join(folder, keyFile), caFile: join(folder, caFile) };
  };
  const authority = createAuthority("xds");

  const log = createLog({ level: "fatal", format: "text" }, () => {});

  beforeAll(async () => {
    folder = await mkdtemp(join(tmpdir(), "isoline-xds-"));
    const credentials = mutualTls(await files("controller", authority), log);
    const [httpPort, httpsPort] = [await freePort(), await freePort()];
    running = await runController({
      settings: { ...DEFAULT_SETTINGS, envoy: { ...DEFAULT_SETTINGS.envoy, httpPort, httpsPort } },
      xds: { address: "127.0.0.1", port: 0, credentials },
      http: { address: "127.0.0.1", port: 0 },
      source: (listener) => ({ start: () => listener.synced(), stop: async () => {}, locate: () => undefined }),
      log,
      now: Date.now,
    });
  });
  afterAll(async () => {
    await running.stop();
    await rm(folder, { recursive: true });
  });

  test("an Envoy with a certificate of the authority is served", async () => {
    const envoy = await startEnvoy({ binary, xdsPort: running.xdsPort, tls: await files("envoy", authority) });
    expect(running.xds.envoys()).toHaveLength(1);
    await envoy.stop();
  });

  test("nobody else learns anything: no certificate, one of another authority, a controller of another authority", async () => {
    const stranger = createAuthority("stranger");
    const served = running.xds.counters().responses;
    const certificates = [await files("stranger", stranger, authority), await files("misled", authority, stranger)];
    const attempts = [{}, ...certificates.map((tls) => ({ tls }))].map((tls) =>
      expect(startEnvoy({ binary, xdsPort: running.xdsPort, startMs: 1500, ...tls })).rejects.toThrow("did not start"),
    );
    await Promise.all(attempts);
    expect(running.xds.envoys()).toEqual([]);
    expect(running.xds.counters().responses).toBe(served);
  });
});
