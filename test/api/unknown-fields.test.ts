import { expect, test } from "vitest";
import { decodeCertificateDelegation } from "../../src/api/certificate-delegation.ts";
import { decodeIngressRoute } from "../../src/api/ingress-route.ts";
import { notesWithoutStatus } from "../../src/api/kinds.ts";
import { objectKey } from "../../src/api/object-key.ts";

function withUnknown(count: number): Record<string, unknown> {
  return Object.fromEntries(Array.from({ length: count }, (_, i) => [`rootes${i}`, 1]));
}

const metadata = { name: "web", namespace: "default" };

test("unknown fields are told one by one up to a bound, and beyond it the object is not trusted", () => {
  const { notes: few } = decodeIngressRoute({ metadata, spec: { routes: [], ...withUnknown(1000) } });
  expect(few.warnings).toHaveLength(1000);
  expect(few.faults).toEqual([]);
  const { notes: many } = decodeIngressRoute({ metadata, spec: { routes: [], ...withUnknown(60_000) } });
  expect(many.warnings).toHaveLength(1000);
  expect(many.faults).toEqual([
    { at: "spec.rootes1000", reason: "more than 1000 unknown fields; what follows was not looked at" },
  ]);
});

test("what cannot be read in an object without a status takes some lines of the log, not thousands", () => {
  const object = decodeCertificateDelegation({ metadata, spec: { delegations: [], ...withUnknown(60_000) } });
  const lines = notesWithoutStatus([
    { kind: "applied", key: objectKey("TLSCertificateDelegation", "default", "web"), object },
  ]);
  expect(lines).toHaveLength(11);
  expect(lines.at(-1)).toMatch(/web: and \d+ more$/);
});
