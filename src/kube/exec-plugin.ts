import { spawn } from "node:child_process";
import { dirname, isAbsolute, resolve } from "node:path";
import type { Credentials, Identity } from "./access.ts";
import { bearer } from "./credentials.ts";
import { ConnectionError, excerpt, fields } from "./errors.ts";

export const EXEC_API_VERSIONS: readonly string[] = [
  "client.authentication.k8s.io/v1",
  "client.authentication.k8s.io/v1beta1",
];

export type ExecPluginOptions = {
  readonly apiVersion: string;
  /** A relative path is relative to the folder of the kubeconfig; a bare name is looked up on the PATH. */
  readonly command: string;
  readonly args: readonly string[];
  /** The plugin's whole environment but for KUBERNETES_EXEC_INFO. */
  readonly env: Readonly<Record<string, string | undefined>>;
  /** What to say when the command is not there. */
  readonly installHint: string | undefined;
  /** `spec.cluster` of what the plugin is told, if it wants to know. */
  readonly cluster: unknown;
  /** The kubeconfig that names the plugin. */
  readonly file: string;
  /** Shown when the plugin gives no certificate. */
  readonly certificate: () => Promise<Identity["certificate"]>;
};

/** A plugin may ask a service far away, but it cannot ask a person. */
const RUN_MS = 60_000;
const MAX_OUTPUT_BYTES = 1 << 20;
/** What is about to expire is not used any more. */
const EARLY_MS = 10_000;
/** Even if what a plugin gives has expired already, it is not run for every request. */
const LEAST_USE_MS = 10_000;

type Issued = { readonly identity: Identity; readonly useUntilMs: number };

/** Credentials that a program gives out, as the kubeconfig's `exec` says: the ExecCredential protocol. */
export class ExecPlugin implements Credentials {
  readonly #options: ExecPluginOptions;
  /** Milliseconds since 1970, as expiry is given in. */
  readonly #nowMs: () => number;
  #issued: Issued | undefined;
  #running: Promise<Issued> | undefined;

  constructor(options: ExecPluginOptions, nowMs: () => number = Date.now) {
    this.#options = options;
    this.#nowMs = nowMs;
  }

  async identity(): Promise<Identity> {
    if (this.#issued === undefined || this.#nowMs() >= this.#issued.useUntilMs) {
      // Everybody who asks meanwhile gets the same answer.
      this.#running ??= this.#issue().finally(() => {
        this.#running = undefined;
      });
      this.#issued = await this.#running;
    }
    return this.#issued.identity;
  }

  forget(): void {
    this.#issued = undefined;
  }

  async #issue(): Promise<Issued> {
    const { apiVersion, cluster } = this.#options;
    const spec = { interactive: false, ...(cluster === undefined ? {} : { cluster }) };
    const output = await run(this.#options, JSON.stringify({ apiVersion, kind: "ExecCredential", spec }));
    const { token, certificate, expiresMs } = decodeExecCredential(output, this.#options);
    const useUntilMs = Math.max(this.#nowMs() + LEAST_USE_MS, (expiresMs ?? Number.POSITIVE_INFINITY) - EARLY_MS);
    const identity = {
      authorization: token === undefined ? undefined : bearer(token),
      certificate: certificate ?? (await this.#options.certificate()),
    };
    return { identity, useUntilMs };
  }
}

async function run({ command, args, env, file, installHint }: ExecPluginOptions, info: string): Promise<string> {
  const path = command.includes("/") && !isAbsolute(command) ? resolve(dirname(file), command) : command;
  return new Promise((done, fail) => {
    const failed = (what: string, cause?: unknown) =>
      fail(new ConnectionError("credentials", `the credential plugin ${JSON.stringify(command)} ${what}`, { cause }));
    const child = spawn(path, args, {
      env: { ...env, KUBERNETES_EXEC_INFO: info },
      stdio: ["ignore", "pipe", "pipe"],
      timeout: RUN_MS,
      killSignal: "SIGKILL",
    });
    let output = "";
    let complaint = "";
    child.stdout.setEncoding("utf8").on("data", (text: string) => {
      output += text;
      if (output.length > MAX_OUTPUT_BYTES) child.kill("SIGKILL");
    });
    child.stderr.setEncoding("utf8").on("data", (text: string) => {
      // What a program says last is why it ends.
      complaint = `${complaint}${text}`.slice(-MAX_OUTPUT_BYTES);
    });
    child.on("error", (error) => {
      const code = "code" in error ? error.code : undefined;
      const hint = installHint === undefined ? "" : `: ${excerpt(installHint)}`;
      failed(code === "ENOENT" ? `is not there${hint}` : `cannot be run (${String(code)})`, error);
    });
    child.on("close", (code, signal) => {
      if (code === 0 && output.length <= MAX_OUTPUT_BYTES) return done(output);
      const words = excerpt(complaint.trim().split("\n").slice(-3).join(" "));
      const how = output.length > MAX_OUTPUT_BYTES ? "printed too much" : `ended with ${code ?? signal}`;
      return failed(`${how}${words === "" ? "" : `: ${words}`}`);
    });
  });
}

type ExecCredential = {
  readonly token: string | undefined;
  readonly certificate: Identity["certificate"];
  readonly expiresMs: number | undefined;
};

/** What a plugin prints is secret: messages tell what is wrong with it and never what it is. */
function decodeExecCredential(output: string, { command, apiVersion: expected }: ExecPluginOptions): ExecCredential {
  const refuse = (what: string) => {
    return new ConnectionError("credentials", `the credential plugin ${JSON.stringify(command)} printed ${what}`);
  };
  const { apiVersion, kind, status } = fields(parse(output, () => refuse("something that is not JSON")));
  if (kind !== "ExecCredential" || apiVersion !== expected)
    throw refuse(`something other than a ${expected} ExecCredential`);
  const { token, clientCertificateData: certPem, clientKeyData: keyPem, expirationTimestamp } = fields(status);
  const expiresMs = typeof expirationTimestamp === "string" ? Date.parse(expirationTimestamp) : undefined;
  if (expiresMs !== undefined && Number.isNaN(expiresMs)) throw refuse("an expirationTimestamp that is no time");
  const hasCertificate = typeof certPem === "string" && typeof keyPem === "string";
  if (!hasCertificate && (certPem ?? keyPem ?? undefined) !== undefined) {
    throw refuse("only one of clientCertificateData and clientKeyData");
  }
  if (typeof token !== "string" && !hasCertificate) throw refuse("neither a token nor a client certificate");
  return {
    token: typeof token === "string" ? token : undefined,
    certificate: hasCertificate ? { certPem, keyPem } : undefined,
    expiresMs,
  };
}

function parse(text: string, refusal: () => Error): unknown {
  try {
    return JSON.parse(text);
  } catch {
    throw refusal();
  }
}
