import { rootCertificates } from "node:tls";
import { describe, expect, test } from "vitest";
import { SecretText } from "../../src/api/secret-text.ts";
import { readDer } from "../../src/controller/der.ts";
import { readAnyKeyPair, readCaBundle, readKeyPair } from "../../src/controller/key-pairs.ts";
import { readUsualKeyPair } from "../../src/controller/usual-key-pairs.ts";
import { createAuthority, ecKey, rsaKey } from "../parts/authority.ts";
import { damaged, reshaped } from "../parts/damage.ts";
import * as der from "../parts/der.ts";
import { oddBundles, oddPairs } from "../parts/odd-certificates.ts";
import { mulberry } from "../parts/random.ts";

type Pem = { readonly certPem: string; readonly keyPem: string };

const SEEDS = [1, 2, 3, ...(process.env.SEED === undefined ? [] : [Number(process.env.SEED)])];
const MUTANTS = 80;

const read = ({ certPem, keyPem }: Pem) => readKeyPair(new SecretText(certPem), new SecretText(keyPem));
const reasonOf = (reading: { readonly ok: true } | { readonly ok: false; readonly reason: string }) =>
  reading.ok ? undefined : reading.reason;

describe("a certificate and its key", () => {
  test.each([...oddPairs()])("%s", (_, pair) => {
    const reason = reasonOf(read(pair));
    if (pair.refused === undefined) expect(reason).toBeUndefined();
    else expect(reason).toMatch(pair.refused);
    // A line of base64 would be key material.
    expect(reason ?? "").not.toMatch(/[A-Za-z0-9+/=]{30}/);
  });

  test("come out as PEM blocks and nothing else, with names and times", () => {
    const notBefore = new Date("2020-02-29T12:00:00Z");
    const notAfter = new Date("2060-01-01T00:00:01Z");
    const authority = createAuthority("Test CA").intermediate("Below");
    const names = ["Web.example.com", "*.example.com", "127.0.0.1"];
    const { certPem, keyPem } = authority.issue({ names, notBefore, notAfter, key: rsaKey() });
    const reading = read({ certPem: `words\n${certPem}words`, keyPem: `words\n${keyPem}words` });
    if (!reading.ok) throw new Error(reading.reason);
    expect(reading.chainPem).toBe(certPem);
    expect(reading.keyPem.reveal()).toBe(keyPem);
    expect(reading).toMatchObject({
      dnsNames: ["web.example.com", "*.example.com"],
      notBeforeMs: notBefore.getTime(),
      notAfterMs: notAfter.getTime(),
    });
    expect(JSON.stringify(reading)).not.toContain("PRIVATE");
  });

  test("have equal readings when they are equal", () => {
    const [pair] = oddPairs().values();
    if (pair === undefined) throw new Error("no pair");
    expect(JSON.stringify(read(pair))).toBe(JSON.stringify(read(pair)));
  });

  test("texts made to take long do not", () => {
    const rsa = rsaKey();
    const begin = performance.now();
    for (const text of ["-----BEGIN A-----", "-----BEGIN ", "-----BEGIN A-----\n-----END B-----", "-----END A-----"]) {
      read({ certPem: text.repeat(60_000), keyPem: "" });
    }
    const { certPem } = createAuthority("Test CA").issue({ names: ["web.example.com"], key: rsa });
    const numbers = readDer(rsa.privateKey.export({ type: "pkcs1", format: "der" }))?.children ?? [];
    for (let i = 3; i < numbers.length; i++) {
      const parts = numbers.map(({ tag, body }, j) =>
        i === j ? der.integer((1n << 6_000_000n) - 1n) : der.tagged(tag, body),
      );
      expect(read({ certPem, keyPem: der.pem("RSA PRIVATE KEY", der.sequence(...parts)) }).ok).toBe(false);
    }
    expect(performance.now() - begin).toBeLessThan(5_000);
  });
});

describe("the short way for usual certificates and keys", () => {
  const readBothWays = ({ certPem, keyPem }: Pem) => {
    const texts = [new SecretText(certPem), new SecretText(keyPem)] as const;
    const [usual, any] = [readUsualKeyPair(...texts), readAnyKeyPair(...texts)];
    return { usual: usual && plain(usual), any: plain(any) };
  };
  const plain = (reading: ReturnType<typeof readKeyPair>) =>
    reading.ok ? { ...reading, keyPem: reading.keyPem.reveal() } : reading;

  const authority = createAuthority("Test CA");
  const below = authority.intermediate("Below");
  const forms = new Map<string, Pem>();
  const sorts = {
    "P-256": ecKey(),
    "P-384": ecKey("P-384"),
    "P-521": ecKey("P-521"),
    RSA: rsaKey(),
    "RSA-3072": rsaKey(3072),
  };
  for (const [sort, key] of Object.entries(sorts)) {
    const { certPem, keyPem } = below.issue({ names: ["web.example.com", "*.example.com", "127.0.0.1"], key });
    forms.set(`${sort} in PKCS#8`, { certPem, keyPem });
    const isEc = sort.startsWith("P-");
    const older = key.privateKey.export({ type: isEc ? "sec1" : "pkcs1", format: "pem" }).toString();
    forms.set(`${sort} in ${isEc ? "SEC1" : "PKCS#1"}`, { certPem, keyPem: older });
  }

  test.each([...forms])("takes %s", (_, pair) => {
    const { usual, any } = readBothWays(pair);
    expect(any.ok).toBe(true);
    expect(usual).toEqual(any);
  });

  test.each([...oddPairs()])("finds nothing else than the long one, or leaves it to that: %s", (_, pair) => {
    const { usual, any } = readBothWays(pair);
    expect([undefined, any]).toContainEqual(usual);
  });

  test.each(SEEDS)("law: the same however a certificate or key is spoilt (SEED=%d)", (seed) => {
    const random = mulberry(seed);
    let taken = 0;
    for (const pair of forms.values()) {
      for (let i = 0; i < MUTANTS / 2; i++) {
        const spoil = i % 3 === 0 ? damaged : reshaped;
        const [leaf = "", ...rest] = pair.certPem.split(/(?<=-----END CERTIFICATE-----\n)/);
        const mutants = [
          { ...pair, certPem: [spoil(leaf, random), ...rest].join("") },
          { ...pair, keyPem: spoil(pair.keyPem, random) },
        ];
        for (const mutant of mutants) {
          const { usual, any } = readBothWays(mutant);
          if (usual === undefined) continue;
          taken++;
          expect(usual, JSON.stringify(mutant)).toEqual(any);
        }
      }
    }
    // Damage to a name, a date or a signature is seen by nobody but clients.
    expect(taken).toBeGreaterThan(forms.size * MUTANTS * 0.05);
  });
});

describe("a bundle of authorities", () => {
  test.each([...oddBundles()])("%s", (_, { caPem, refused }) => {
    const reason = reasonOf(readCaBundle(new SecretText(caPem)));
    if (refused === undefined) expect(reason).toBeUndefined();
    else expect(reason).toMatch(refused);
  });

  test("holds what was in it once, without the words and the keys", () => {
    const one = createAuthority("One");
    const { keyPem } = one.issue({ names: ["web.example.com"] });
    const reading = readCaBundle(new SecretText(`${"# one\n".repeat(100_000)}${one.rootPem}${keyPem}${one.rootPem}`));
    expect(reading).toMatchObject({ ok: true, authorities: { pem: one.rootPem } });
    expect(readCaBundle(new SecretText(one.rootPem))).toEqual(reading);
    expect(readCaBundle(new SecretText(createAuthority("One").rootPem))).not.toEqual(reading);
  });

  test("may be all authorities that browsers know", () => {
    expect(reasonOf(readCaBundle(new SecretText(rootCertificates.join("\n"))))).toBeUndefined();
  });
});
