import { readFile } from "node:fs/promises";
import type { Credentials, Identity, TextSource } from "./access.ts";
import { ConnectionError } from "./errors.ts";

/** Tokens that the kubelet mounts are exchanged well before they expire, so a little age is no harm. */
const MAX_AGE_MS = 60_000;

export function fixedText(text: string): TextSource {
  return { read: async () => text, forget: () => {} };
}

/** A file that is read again when what was read is a minute old: whoever rotates it replaces the file. */
export class FileText implements TextSource {
  readonly #file: string;
  readonly #nowMs: () => number;
  #last: { readonly text: string; readonly readAtMs: number } | undefined;

  constructor(file: string, nowMs: () => number = () => performance.now()) {
    this.#file = file;
    this.#nowMs = nowMs;
  }

  async read(): Promise<string> {
    const nowMs = this.#nowMs();
    if (this.#last === undefined || nowMs - this.#last.readAtMs >= MAX_AGE_MS) {
      try {
        this.#last = { text: (await readFile(this.#file, "utf8")).trim(), readAtMs: nowMs };
      } catch (cause) {
        // What was read last may still be good, and if it is not, the API server will say so.
        if (this.#last !== undefined) return this.#last.text;
        const why = cause instanceof Error && "code" in cause ? ` (${cause.code})` : "";
        throw new ConnectionError("credentials", `${this.#file} cannot be read${why}`, { cause });
      }
    }
    return this.#last.text;
  }

  forget(): void {
    this.#last = undefined;
  }
}

export type DeclaredIdentity = {
  readonly token?: TextSource | undefined;
  readonly basic?: { readonly username: string; readonly password: string } | undefined;
  readonly certificate?: { readonly certPem: TextSource; readonly keyPem: TextSource } | undefined;
};

/** Credentials that stand in a configuration, or in files that it names. */
export class DeclaredCredentials implements Credentials {
  readonly #declared: DeclaredIdentity;

  constructor(declared: DeclaredIdentity) {
    this.#declared = declared;
  }

  async identity(): Promise<Identity> {
    const { certificate } = this.#declared;
    return {
      authorization: await this.#authorization(),
      certificate: certificate && {
        certPem: await certificate.certPem.read(),
        keyPem: await certificate.keyPem.read(),
      },
    };
  }

  forget(): void {
    this.#declared.token?.forget();
    this.#declared.certificate?.certPem.forget();
    this.#declared.certificate?.keyPem.forget();
  }

  async #authorization(): Promise<string | undefined> {
    const { token, basic } = this.#declared;
    if (token !== undefined) {
      try {
        return bearer(await token.read());
      } catch (error) {
        token.forget();
        throw error;
      }
    }
    if (basic === undefined) return undefined;
    return `Basic ${Buffer.from(`${basic.username}:${basic.password}`).toString("base64")}`;
  }
}

/** The value of an Authorization header. A token that does not fit into one is refused here, where no message shows it. */
export function bearer(token: string): string {
  if (!/^[\x21-\x7e]+$/.test(token)) {
    const fault = token === "" ? "is empty" : "holds blanks or other characters that no token has";
    throw new ConnectionError("credentials", `the token for the API server ${fault}`);
  }
  return `Bearer ${token}`;
}
