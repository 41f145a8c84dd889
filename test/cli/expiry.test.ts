import { expect, test } from "vitest";
import { objectKey } from "../../src/api/object-key.ts";
import { findingsOf } from "../../src/cli/findings.ts";
import { conditionsOf } from "../../src/compile/conditions.ts";
import { expiryWarning } from "../../src/compile/tls.ts";
import { translate } from "../../src/translate/translate.ts";
import { objects, serviceYaml } from "../objects.ts";
import { createAuthority } from "../parts/authority.ts";
import { testOptions } from "../settings.ts";

const DAY_MS = 24 * 60 * 60 * 1000;
const NOW_MS = Date.UTC(2026, 0, 1);

const yaml = (daysLeft: number): string => {
  const [notBefore, notAfter] = [new Date(NOW_MS - 90 * DAY_MS), new Date(NOW_MS + daysLeft * DAY_MS)];
  const { certPem, keyPem } = createAuthority("test").issue({ names: ["web.example.com"], notBefore, notAfter });
  return `${serviceYaml("web")}---
apiVersion: contour.heptio.com/v1beta1
kind: IngressRoute
metadata: { name: web }
spec:
  virtualhost: { fqdn: web.example.com, tls: { secretName: cert } }
  routes: [{ match: /, services: [{ name: web, port: 80 }] }]
---
apiVersion: v1
kind: Secret
metadata: { name: cert }
type: kubernetes.io/tls
stringData: ${JSON.stringify({ "tls.crt": certPem, "tls.key": keyPem })}
`;
};

test.each([
  [30, undefined],
  [13, "the certificate expires soon, on 2026-01-14T00:00:00.000Z"],
  [-1, "the certificate has expired on 2025-12-31T00:00:00.000Z, so clients refuse it; it is presented all the same"],
])("a certificate with %d days left is served, and told of: %s", (daysLeft, warning) => {
  const read = objects(yaml(daysLeft));
  const translation = translate(read, testOptions({}));
  const certificate = translation.hosts[0]?.tls?.certificate;
  if (certificate === undefined) throw new Error("not served");
  expect(expiryWarning(certificate, NOW_MS)).toBe(warning);

  const verdict = translation.verdicts.get(objectKey("IngressRoute", "default", "web"));
  if (verdict === undefined) throw new Error("no verdict");
  const warnings = conditionsOf(verdict, warning).filter(({ type }) => type === "Warnings");
  expect(warnings.map(({ reason, message }) => [reason, message])).toEqual(
    warning === undefined ? [] : [["CertificateExpiry", warning]],
  );
  const place = { file: "web.yaml", line: 7, column: 3 };
  const found = findingsOf(
    { objects: read, problems: [], fileCount: 1, missing: [], locate: () => place },
    translation,
    NOW_MS,
  );
  expect(found.map(({ severity, text }) => [severity, text])).toEqual(
    warning === undefined ? [] : [["warning", warning]],
  );
});
