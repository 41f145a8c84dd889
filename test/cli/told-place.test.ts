import { expect, test } from "vitest";
import { objectKey } from "../../src/api/object-key.ts";
import { findingsOf } from "../../src/cli/findings.ts";
import { Teller } from "../../src/cli/tell.ts";
import { conditionsOf } from "../../src/compile/conditions.ts";
import type { RunningController } from "../../src/controller/run.ts";
import { translate } from "../../src/translate/translate.ts";
import { Translator } from "../../src/translate/translator.ts";
import { applied } from "../laws/worlds.ts";
import { objects } from "../objects.ts";
import { testOptions } from "../settings.ts";

/** A Service that is not there comes first in the document, and a weight that makes the whole object ignored after it. */
const YAML = `apiVersion: contour.heptio.com/v1beta1
kind: IngressRoute
metadata: { name: web }
spec:
  virtualhost: { fqdn: web.example.com }
  healthCheck: { path: /, intervalSeconds: 9223372036854775807 }
  routes:
    - { match: /a, services: [{ name: gone, port: 80 }] }
    - { match: /b, services: [{ name: gone, port: 80, weight: -1 }] }
`;
const KEY = objectKey("IngressRoute", "default", "web");

function verdictOf(yaml: string) {
  const translator = new Translator(testOptions({}));
  const delta = translator.apply(objects(yaml));
  const verdict = translator.verdicts().get(KEY);
  if (verdict === undefined) throw new Error("no verdict");
  return { translator, delta, verdict };
}

test("the line of dev, and the reason of Valid, are those of the problem that the description tells", () => {
  const { translator, delta, verdict } = verdictOf(YAML.replace(/, intervalSeconds: \d+/, ""));
  expect(verdict.description).toBe('route "/b": service "gone": weight must be greater than or equal to zero');
  const lines: string[] = [];
  const ports = { httpPort: 8080, httpsPort: 8443 };
  const teller = new Teller({ write: (line) => lines.push(line), ports, remark: () => "", now: () => 0 });
  const running = {
    controller: { translator },
    source: { locate: (_: unknown, at: string) => ({ file: at, line: 1, column: 1 }) },
  } as unknown as RunningController;
  teller.changes(running, delta);
  expect(lines.at(-1)).toContain(`${verdict.description} (spec.routes[1].services[0].weight:1:1)`);
  expect(conditionsOf(verdict, undefined)[0]?.reason).toBe("WeightNegative");
});

test("a number that is too large is called that", () => {
  expect(verdictOf(YAML).verdict.description).toBe("spec.healthCheck.intervalSeconds: is too large for a number");
  expect(verdictOf(YAML.replace("9223372036854775807", "1.5")).verdict.description).toBe(
    "spec.healthCheck.intervalSeconds: must be a whole number, not a number with a fraction",
  );
});

test("of an object with 200,000 problems check tells 100, and that there are more", () => {
  const routes = Array.from({ length: 200_000 }, (_, i) => ({ match: `/${i}`, services: [{ name: "s", port: 0 }] }));
  const read = [applied({ kind: "IngressRoute", metadata: { namespace: "default", name: "web" }, spec: { routes } })];
  const place = { file: "web.yaml", line: 1, column: 1 };
  const found = findingsOf(
    { objects: read, problems: [], fileCount: 1, missing: [], locate: () => place },
    translate(read, testOptions({})),
    0,
  );
  expect(found).toHaveLength(101);
  // It is an orphan too, and told so.
  expect(found.map(({ text }) => text)).toContain("and 199901 more problems of this object");
});
