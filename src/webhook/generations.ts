import { createPrivateKey, X509Certificate } from "node:crypto";
import { isIP } from "node:net";
import { SecretText } from "../api/secret-text.ts";
import type { IssuedPair } from "./issue.ts";

/**
 * A certificate with an authority of its own is a generation. Renewal is a change of generations that nobody notices: the
 * next one is trusted beside the current one before anybody shows it, and the last one for as long after that.
 */
export type Generation = IssuedPair & {
  readonly authorityPem: string;
  readonly notBeforeMs: number;
  readonly notAfterMs: number;
  /** Whether its certificate is for this host name or address. */
  readonly covers: (name: string) => boolean;
};

/** What the replicas share in a Secret. */
export type Generations = {
  /** The one that is shown. */
  readonly current: Generation;
  readonly next: Generation | undefined;
  /** Certificates of the authorities that are to be trusted, one PEM block each. */
  readonly authorities: readonly string[];
};

/**
 * `replace`: begin anew, at once. `prepare`: have the next generation trusted. `promote`: show it. `forget`: trust only what
 * is shown.
 */
export type Step = "keep" | "replace" | "prepare" | "promote" | "forget";

export type RenewalPolicy = {
  readonly lifetimeMs: number;
  readonly renewBeforeMs: number;
  /** How long two generations are trusted, before and after the change: longer than anybody needs to hear of it. */
  readonly overlapMs: number;
};

/** What to do about them, one step at a time; undefined stands for none that could be read. */
export function nextStep(
  generations: Generations | undefined,
  facts: RenewalPolicy & {
    readonly nowMs: number;
    readonly names: readonly string[];
    /** How long it has been seen to be trusted by the API server. */
    readonly trustedForMs: (authorityPem: string) => number;
    /** How long the current generation has been seen to be that. */
    readonly currentForMs: number;
  },
): Step {
  if (generations === undefined) return "replace";
  const { current, next, authorities } = generations;
  const isUsable = ({ notBeforeMs, notAfterMs, covers }: Generation) =>
    notBeforeMs <= facts.nowMs && facts.nowMs < notAfterMs && facts.names.every(covers);
  if (!isUsable(current)) return next !== undefined && isUsable(next) ? "promote" : "replace";
  if (next !== undefined) {
    if (!isUsable(next)) return "prepare";
    return facts.trustedForMs(next.authorityPem) >= facts.overlapMs ? "promote" : "keep";
  }
  if (authorities.some((authority) => authority !== current.authorityPem)) {
    return facts.currentForMs >= facts.overlapMs ? "forget" : "keep";
  }
  return current.notAfterMs - facts.nowMs <= facts.renewBeforeMs ? "prepare" : "keep";
}

/** The generations after a step. `issued` is a new one, for the steps that need it. */
export function afterStep(
  step: Exclude<Step, "keep">,
  generations: Generations | undefined,
  issued: Generation,
  nowMs: number,
): Generations {
  switch (step) {
    case "replace": {
      // Others may go on showing what they have for a while.
      const { current } = generations ?? {};
      const last = current !== undefined && current.notAfterMs > nowMs ? [current.authorityPem] : [];
      return { current: issued, next: undefined, authorities: [issued.authorityPem, ...last] };
    }
    case "prepare":
      if (generations === undefined) throw new Error("there is no generation to prepare another for");
      return {
        current: generations.current,
        next: issued,
        authorities: [generations.current.authorityPem, issued.authorityPem],
      };
    case "promote":
      if (generations?.next === undefined) throw new Error("there is no next generation");
      return {
        current: generations.next,
        next: undefined,
        authorities: [generations.next.authorityPem, generations.current.authorityPem],
      };
    case "forget":
      if (generations === undefined) throw new Error("there is no generation");
      return { ...generations, authorities: [generations.current.authorityPem] };
  }
}

/** Undefined if these are not a certificate, that of its authority, and the key of the former. */
export function readGeneration(chainPem: string, keyPem: string): Generation | undefined {
  const [leafPem, authorityPem] = pemBlocks(chainPem);
  if (leafPem === undefined || authorityPem === undefined) return undefined;
  try {
    const leaf = new X509Certificate(leafPem);
    const authority = new X509Certificate(authorityPem);
    if (!leaf.checkPrivateKey(createPrivateKey(keyPem)) || !leaf.verify(authority.publicKey)) return undefined;
    return {
      chainPem,
      key: new SecretText(keyPem),
      authorityPem,
      notBeforeMs: Date.parse(leaf.validFrom),
      notAfterMs: Date.parse(leaf.validTo),
      covers: (name) => (isIP(name) === 0 ? leaf.checkHost(name) : leaf.checkIP(name)) !== undefined,
    };
  } catch (error) {
    // OpenSSL says what it cannot read by a code of its own.
    if (error instanceof Error && "code" in error) return undefined;
    throw error;
  }
}

const KEYS = { chain: "tls.crt", key: "tls.key", nextChain: "next.crt", nextKey: "next.key", authorities: "ca.crt" };

/** What a Secret's `data` holds; undefined if there is no generation to be read. */
export function readSecretData(data: unknown): Generations | undefined {
  const text = (key: string): string => {
    const value: unknown =
      typeof data === "object" && data !== null ? Object.entries(data).find(([name]) => name === key)?.[1] : undefined;
    return typeof value === "string" ? Buffer.from(value, "base64").toString("utf8") : "";
  };
  const current = readGeneration(text(KEYS.chain), text(KEYS.key));
  if (current === undefined) return undefined;
  const next = readGeneration(text(KEYS.nextChain), text(KEYS.nextKey));
  return { current, next, authorities: pemBlocks(text(KEYS.authorities)) };
}

/** What a Secret's `data` is to hold. */
export function secretData({ current, next, authorities }: Generations): Readonly<Record<string, string>> {
  const data: Record<string, string> = {
    [KEYS.chain]: base64(current.chainPem),
    [KEYS.key]: base64(current.key.reveal()),
    [KEYS.authorities]: base64(bundleOf(authorities)),
  };
  if (next === undefined) return data;
  return { ...data, [KEYS.nextChain]: base64(next.chainPem), [KEYS.nextKey]: base64(next.key.reveal()) };
}

/** As an API server wants it: a text with the certificates one after the other. */
export function bundleOf(authorities: readonly string[]): string {
  return authorities.map((pem) => `${pem}\n`).join("");
}

export function pemBlocks(text: string): readonly string[] {
  return text.match(/-----BEGIN CERTIFICATE-----[A-Za-z0-9+/=\s]+-----END CERTIFICATE-----/g) ?? [];
}

function base64(text: string): string {
  return Buffer.from(text).toString("base64");
}
