import { expect, test, vi } from "vitest";
import { SecretText } from "../../src/api/secret-text.ts";
import type { KeyPair } from "../../src/compile/key-pair.ts";
import { rememberedCertificates } from "../../src/controller/remembered-certificates.ts";

test("the same Secret is read once, and another key or certificate anew", () => {
  const keyPair = vi.fn((): KeyPair => ({ ok: false, reason: "not read here" }));
  const remembered = rememberedCertificates({ keyPair, caBundle: () => ({ ok: false, reason: "" }) });
  const [certificate, key] = [new SecretText("certificate"), new SecretText("key")];
  remembered.keyPair(certificate, key);
  remembered.keyPair(certificate, key);
  expect(keyPair).toHaveBeenCalledTimes(1);
  remembered.keyPair(certificate, new SecretText("another key"));
  expect(keyPair).toHaveBeenCalledTimes(2);
  remembered.keyPair(new SecretText("another certificate"), key);
  expect(keyPair).toHaveBeenCalledTimes(3);
});
