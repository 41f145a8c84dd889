import { rootCertificates } from "node:tls";
import { expect, test } from "vitest";
import { SecretText } from "../../src/api/secret-text.ts";
import { readCaBundle, readKeyPair } from "../../src/controller/key-pairs.ts";
import { createAuthority, ecKey, rsaKey } from "../parts/authority.ts";
import { damaged, reshaped } from "../parts/damage.ts";
import { oddBundles, oddPairs } from "../parts/odd-certificates.ts";
import { mulberry } from "../parts/random.ts";
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
      if (reading.ok) candidates.set(name, { trustedPem: reading.authorities.pem, own });
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
          const spoil = i % 2 === 0 ? damaged : reshaped;
          mutants.set(`${kind} certificate ${i}`, { certPem: spoil(certPem, random), keyPem });
          mutants.set(`${kind} key ${i}`, { certPem, keyPem: spoil(keyPem, random) });
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
