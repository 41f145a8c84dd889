import { X509Certificate } from "node:crypto";
import { mkdtempSync, readFileSync, rmSync, statSync, writeFileSync } from "node:fs";
import type { AddressInfo } from "node:net";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { connect, createServer } from "node:tls";
import { afterAll, beforeAll, expect, test } from "vitest";
import { parseAllDocuments } from "yaml";
import { isoline } from "./run.ts";

type Files = Readonly<Record<"tls.crt" | "tls.key" | "ca.crt", string>>;

let folder = "";

beforeAll(() => {
  folder = mkdtempSync(join(tmpdir(), "isoline-certgen-"));
});
afterAll(() => rmSync(folder, { recursive: true }));

test("certgen writes the Secrets of both sides, for the Service of the controller", () => {
  const [controller, envoy, ...others] = secrets(run("-", "--namespace", "edge", "--days", "30").stdout);
  expect(others).toEqual([]);
  expect(controller).toMatchObject({ type: "Opaque", metadata: { name: "isoline-xds-controller", namespace: "edge" } });
  expect(envoy).toMatchObject({ type: "Opaque", metadata: { name: "isoline-xds-envoy", namespace: "edge" } });
  const certificate = new X509Certificate(controller?.stringData["tls.crt"] ?? "");
  for (const name of ["isoline-xds", "isoline-xds.edge", "isoline-xds.edge.svc"]) {
    expect(certificate.checkHost(name)).toBe(name);
  }
  const days = (Date.parse(certificate.validTo) - Date.now()) / 86_400_000;
  expect(days).toBeGreaterThan(29.9);
  expect(days).toBeLessThan(30);
});

test("certgen writes a file that only its owner reads", () => {
  const file = join(folder, "secrets.yaml");
  expect(run(file)).toEqual({ code: 0, stdout: "", stderr: "" });
  expect(statSync(file).mode & 0o777).toBe(0o600);
  expect(secrets(readFileSync(file, "utf8"))).toHaveLength(2);
});

test("certgen leaves a file alone that is there", () => {
  const file = join(folder, "in-use.yaml");
  writeFileSync(file, "in use", { mode: 0o644 });
  const message = `isoline: ${file} exists: move it away, or name another file\n`;
  expect(run(file)).toEqual({ code: 2, stdout: "", stderr: message });
  expect(readFileSync(file, "utf8")).toBe("in use");
});

test("each side trusts the other one, in its own part, and nobody else", async () => {
  const [controller, envoy] = secrets(run("-").stdout).map(({ stringData }) => stringData);
  const [stranger] = secrets(run("-").stdout).map(({ stringData }) => stringData);
  if (controller === undefined || envoy === undefined || stranger === undefined) throw new Error("no Secrets");
  expect(await shake(controller, envoy)).toBe("trusted");
  // Neither can pose as the other one.
  expect(await shake(envoy, envoy)).toBe("refused");
  expect(await shake(controller, controller)).toBe("refused");
  expect(await shake(stranger, envoy)).toBe("refused");
  expect(await shake(controller, { ...envoy, ...pick(stranger) })).toBe("refused");
});

test.each([
  [["--days", "36501"], "--days must be 36500 at most"],
  [["--namespace", "Edge"], "--namespace must be the name of a namespace"],
])("certgen %j is a mistake", (args, message) => {
  expect(run("-", ...args)).toEqual({ code: 2, stdout: "", stderr: `isoline: ${message}\n` });
});

function run(...args: readonly string[]): ReturnType<typeof isoline> {
  return isoline(["certgen", ...args]);
}

function secrets(yaml: string): readonly {
  readonly type: string;
  readonly metadata: unknown;
  readonly stringData: Files;
}[] {
  return parseAllDocuments(yaml).map((document) => document.toJS());
}

function pick({ "tls.crt": certificate, "tls.key": key }: Files): Partial<Files> {
  return { "tls.crt": certificate, "tls.key": key };
}

/** Whether a server and a client with these files speak to each other. */
async function shake(server: Files, client: Files): Promise<"trusted" | "refused"> {
  const options = (files: Files) => ({ cert: files["tls.crt"], key: files["tls.key"], ca: files["ca.crt"] });
  const listening = createServer({ ...options(server), requestCert: true, rejectUnauthorized: true }, (socket) =>
    socket.end("trusted"),
  ).on("tlsClientError", () => {}); // what the client sees of it counts
  await new Promise<void>((done) => listening.listen(0, "127.0.0.1", done));
  const { port } = listening.address() as AddressInfo;
  try {
    return await new Promise((resolve) => {
      connect({ ...options(client), host: "127.0.0.1", port, checkServerIdentity: () => undefined })
        .on("data", () => resolve("trusted"))
        .on("error", () => resolve("refused"))
        .on("close", () => resolve("refused"));
    });
  } finally {
    listening.close();
  }
}
