import { rootCertificates } from "node:tls";
import { expect, test } from "vitest";
import { SecretText } from "../../src/api/secret-text.ts";
import { readCaBundle, readKeyPair } from "../../src/controller/key-pairs.ts";
import { createAuthority, ecKey, rsaKey } from "../parts/authority.ts";
import * as der from "../parts/der.ts";
import { oddBundles, oddPairs } from "../parts/odd-certificates.ts";
import { type Candidate, refusedByEnvoy } from "./certificate-refusals.ts";
import { describeWithEnvoy } from "./suite.ts";

const SEED = Number(process.env.SEED ?? 1);
const MUTANTS = 400;
const TEST_MS = 60_000;

type Pem = { readonly certPem: string; readonly keyPem: string };

const read = ({ certPem, keyPem }: Pem) => readKeyPair(new SecretText(certPem), new SecretText(keyPem));

/** What we would hand to Envoy, of those that pass. */
function passing(pairs: Iterable<readonly [string, Pem]>): ReadonlyMap<string, Candidate> {
  const candidates = new Map<string, Candidate>();
  for (const [name, pair] of pairs) {
    const reading = read(pair);
    if (reading.ok) candidates.set(name, { certPem: reading.chainPem, keyPem: reading.keyPem.reveal() });
  }
  return candidates;
}

describeWithEnvoy("certificates before a real Envoy", (binary) => {
  test("what passes here is taken, as it comes out", async () => {
    const candidates = passing(oddPairs());
    expect(candidates.size).toBeGreaterThan(20);
    expect([...(await refusedByEnvoy(binary, candidates))]).toEqual([]);
  });

  test("what Envoy refuses as it stands does not pass", async () => {
    const pairs = oddPairs();
    const refused = await refusedByEnvoy(binary, pairs);
    expect(refused.size).toBeGreaterThan(20);
    expect([...refused.keys()].filter((name) => pairs.get(name)?.refused === undefined)).toEqual([]);
  });

  test("so it is with authorities", async () => {
    const own = createAuthority("Own").issue({ names: ["own.example.com"] });
    const bundles = new Map(oddBundles()).set("of browsers", {
      caPem: rootCertificates.join("\n"),
      refused: undefined,
    });
    const candidates = new Map<string, Candidate>();
    const raw = new Map<string, Candidate>();
    for (const [name, { caPem }] of bundles) {
      raw.set(name, { trustedPem: caPem, own });
      const reading = readCaBundle(new SecretText(caPem));
      if (reading.ok) candidates.set(name, { trustedPem: reading.bundlePem, own });
    }
    expect(candidates.size).toBeGreaterThan(5);
    expect([...(await refusedByEnvoy(binary, candidates))]).toEqual([]);
    const refused = await refusedByEnvoy(binary, raw);
    expect([...refused.keys()].filter((name) => bundles.get(name)?.refused === undefined)).toEqual([]);
  });

  test(
    `law: however a certificate or key is damaged, what passes here is taken (SEED=${SEED})`,
    async () => {
      const random = mulberry(SEED);
      const authority = createAuthority("Test CA");
      const mutants = new Map<string, Pem>();
      for (const [kind, key] of Object.entries({ ec: ecKey(), rsa: rsaKey() })) {
        const { certPem, keyPem } = authority.issue({ names: ["web.example.com"], key });
        for (let i = 0; i < MUTANTS; i++) {
          mutants.set(`${kind} certificate ${i}`, { certPem: damaged(certPem, random), keyPem });
          mutants.set(`${kind} key ${i}`, { certPem, keyPem: damaged(keyPem, random) });
        }
      }
      const candidates = passing(mutants);
      // Damage to a signature or a name is seen by nobody but clients.
      expect(candidates.size).toBeGreaterThan(MUTANTS / 4);
      const refused = await refusedByEnvoy(binary, candidates);
      expect([...refused].map(([name, words]) => ({ words, ...mutants.get(name) }))).toEqual([]);
    },
    TEST_MS,
  );
});

/** The block with one byte changed, left out or doubled. */
function damaged(pem: string, random: () => number): string {
  const [first = "", ...rest] = pem.trimEnd().split("\n");
  const body = Buffer.from(rest.slice(0, -1).join(""), "base64");
  const at = Math.floor(random() * body.length);
  const byte = body.readUInt8(at);
  const parts = [Buffer.of(byte ^ (1 << Math.floor(random() * 8))), Buffer.of(), Buffer.of(byte, byte)];
  const part = parts[Math.floor(random() * 5)] ?? Buffer.of(Math.floor(random() * 256));
  const label = first.slice("-----BEGIN ".length, -"-----".length);
  return der.pem(label, Buffer.concat([body.subarray(0, at), part, body.subarray(at + 1)]));
}

/** Numbers from 0 to below 1 that look random, the same for the same seed. */
function mulberry(seed: number): () => number {
  let state = seed;
  return () => {
    state = (state + 0x6d2b79f5) | 0;
    let mixed = Math.imul(state ^ (state >>> 15), 1 | state);
    mixed = (mixed + Math.imul(mixed ^ (mixed >>> 7), 61 | mixed)) ^ mixed;
    return ((mixed ^ (mixed >>> 14)) >>> 0) / 2 ** 32;
  };
}
