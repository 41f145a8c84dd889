import { expect, test } from "vitest";
import { decodeCertificateDelegation } from "../../src/api/certificate-delegation.ts";

const delegation = (spec: unknown, more: Readonly<Record<string, unknown>> = {}) =>
  decodeCertificateDelegation({
    apiVersion: "contour.heptio.com/v1beta1",
    kind: "TLSCertificateDelegation",
    metadata: { namespace: "certs", name: "wildcard", labels: { team: "a" } },
    spec,
    ...more,
  });
const faults = (spec: unknown, more: Readonly<Record<string, unknown>> = {}) =>
  delegation(spec, more).notes.faults.map(({ at, reason }) => `${at}: ${reason}`);

test("a delegation names a Secret and the namespaces that may use it", () => {
  const decoded = delegation({
    delegations: [
      { secretName: "wildcard", targetNamespaces: ["web", "*"] },
      { secretName: "other", targetNamespaces: [] },
    ],
  });
  expect(decoded.metadata).toMatchObject({ namespace: "certs", name: "wildcard" });
  expect(decoded.delegations).toEqual([
    { secretName: "wildcard", targetNamespaces: ["web", "*"] },
    { secretName: "other", targetNamespaces: [] },
  ]);
  expect(decoded.notes).toEqual({ faults: [], warnings: [] });
});

test("an unknown key inside is a fault, wherever it stands: it may have been meant as a restriction", () => {
  const item = { secretName: "wildcard", targetNamespaces: ["*"] };
  const REFUSED = "unknown field, and ignoring it could serve with less protection than it asks for";
  expect(faults({ delegations: [{ ...item, exceptNamespaces: ["evil"] }] })).toEqual([
    `spec.delegations[0].exceptNamespaces: ${REFUSED}`,
  ]);
  expect(faults({ delegations: [item], hosts: [] })).toEqual([`spec.hosts: ${REFUSED}`]);
  expect(faults({ delegations: [item] }, { until: "2030-01-01" })).toEqual([`until: ${REFUSED}`]);
  expect(faults({ delegations: [{ secretname: "wildcard", targetNamespaces: ["*"] }] })).toEqual([
    "spec.delegations[0].secretName: is required",
    `spec.delegations[0].secretname: ${REFUSED}: did you mean secretName?`,
  ]);
});

test("what is missing or of a wrong type is a fault, and delegates nothing", () => {
  expect(faults(undefined)).toEqual(["spec: is required"]);
  expect(faults({})).toEqual(["spec.delegations: is required"]);
  expect(faults({ delegations: {} })).toEqual(["spec.delegations: must be a list, not an object"]);
  expect(faults({ delegations: [{ secretName: 1, targetNamespaces: "*" }, "x"] })).toEqual([
    "spec.delegations[1]: must be an object, not a string",
    "spec.delegations[0].secretName: must be a string, not a whole number",
    "spec.delegations[0].targetNamespaces: must be a list of strings, not a string",
    "spec.delegations[1].secretName: is required",
    "spec.delegations[1].targetNamespaces: is required",
  ]);
  expect(delegation({ delegations: [{ targetNamespaces: ["a", 2] }] }).delegations).toEqual([
    { secretName: undefined, targetNamespaces: ["a"] },
  ]);
});
