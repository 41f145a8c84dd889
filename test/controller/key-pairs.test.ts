import { rootCertificates } from "node:tls";
import { describe, expect, test } from "vitest";
import { SecretText } from "../../src/api/secret-text.ts";
import { readCaBundle, readKeyPair } from "../../src/controller/key-pairs.ts";
import { createAuthority, rsaKey } from "../parts/authority.ts";
import { oddBundles, oddPairs } from "../parts/odd-certificates.ts";

const read = ({ certPem, keyPem }: { readonly certPem: string; readonly keyPem: string }) =>
  readKeyPair(new SecretText(certPem), new SecretText(keyPem));
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
    const begin = performance.now();
    for (const text of ["-----BEGIN A-----", "-----BEGIN ", "-----BEGIN A-----\n-----END B-----", "-----END A-----"]) {
      read({ certPem: text.repeat(60_000), keyPem: "" });
    }
    expect(performance.now() - begin).toBeLessThan(5_000);
  });
});

describe("a bundle of authorities", () => {
  test.each([...oddBundles()])("%s", (_, { caPem, refused }) => {
    const reason = reasonOf(readCaBundle(new SecretText(caPem)));
    if (refused === undefined) expect(reason).toBeUndefined();
    else expect(reason).toMatch(refused);
  });

  test("holds what was in it, without the words and the keys", () => {
    const one = createAuthority("One");
    const { keyPem } = one.issue({ names: ["web.example.com"] });
    const reading = readCaBundle(new SecretText(`# one\n${one.rootPem}${keyPem}`));
    expect(reading).toEqual({ ok: true, bundlePem: one.rootPem });
  });

  test("may be all authorities that browsers know", () => {
    expect(reasonOf(readCaBundle(new SecretText(rootCertificates.join("\n"))))).toBeUndefined();
  });
});
