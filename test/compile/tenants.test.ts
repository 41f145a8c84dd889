import { describe, expect, test } from "vitest";
import type { ObjectKey } from "../../src/api/object-key.ts";
import { describe as inWords, type Problem, withheld } from "../../src/compile/problems.ts";
import { translate } from "../../src/translate/translate.ts";
import { loadCases } from "../cases.ts";
import { objects, serviceYaml } from "../objects.ts";
import { testOptions } from "../settings.ts";

const cases = new Map(loadCases().map((each) => [each.name, each]));

/** All sentences about each object of a case. */
function told(name: string): ReadonlyMap<ObjectKey, readonly string[]> {
  const { changes = [], options } = cases.get(name) ?? {};
  const { verdicts } = translate(changes, testOptions(options ?? {}));
  return new Map([...verdicts].map(([key, { problems }]) => [key, problems.map(inWords)]));
}

describe("what a status tells of other namespaces", () => {
  test("of delegates it has names, and never what they lead to", () => {
    for (const [key, sentences] of told("tenants/delegates-of-others")) {
      if (key.startsWith("IngressRoute/others/")) continue;
      for (const sentence of sentences) expect(sentence).not.toContain("confidential");
    }
    const [parent = []] = told("tenants/delegates-of-others").values();
    expect(parent).toEqual([
      'route "/invalid": delegates to "others/invalid", which is invalid',
      'route "/missing": delegates to "others/missing", which does not exist',
      'route "/foreign": delegates to "others/foreign", which does not exist',
      'route "/root": delegates to "others/root", which has a virtualhost and so is a root itself; a delegated IngressRoute has none',
      'route "/misfit": delegates to "others/misfit", which is invalid',
    ]);
  });

  test("of Secrets, one sentence for all that can be wrong with them, and one for all that were not delegated", () => {
    const statuses = told("tenants/secrets-of-others");
    const shape = (name: string) => {
      const [sentence = ""] = statuses.get(`IngressRoute/default/${name}` as ObjectKey) ?? [];
      return sentence.replaceAll(`certs/${name}`, "certs/X");
    };
    const unusable = ["opaque", "mismatch", "keyless"].map(shape);
    expect(new Set(unusable).size).toBe(1);
    expect(unusable[0]).toContain("cannot be presented as it is");
    const undelegated = ["undelegated", "undelegated-opaque", "undelegated-missing"].map(shape);
    expect(new Set(undelegated).size).toBe(1);
    expect(shape("own-mismatch")).toContain("does not belong to the first certificate");
  });

  test("the same for Ingresses; whoever runs Isoline finds the reason in the log", () => {
    const yaml = `${serviceYaml("web")}---
apiVersion: networking.k8s.io/v1
kind: Ingress
metadata: { name: shop }
spec:
  tls: [{ hosts: [shop.example.com], secretName: certs/opaque }]
  rules:
    - host: shop.example.com
      http: { paths: [{ path: /, pathType: Prefix, backend: { service: { name: web, port: { number: 80 } } } }] }
---
apiVersion: v1
kind: Secret
metadata: { name: opaque, namespace: certs }
stringData: { tls.crt: x, tls.key: x }
---
apiVersion: contour.heptio.com/v1beta1
kind: TLSCertificateDelegation
metadata: { name: opaque, namespace: certs }
spec: { delegations: [{ secretName: opaque, targetNamespaces: ["*"] }] }
`;
    const [problems = []] = translate(objects(yaml), testOptions({})).ingresses.values();
    const [problem] = problems.filter(({ code }: Problem) => code === "IngressTlsUnusable");
    if (problem === undefined) throw new Error("no problem");
    expect(inWords(problem)).toBe(
      '"shop.example.com" is not served over https by this object, because of Secret "certs/opaque": cannot be presented as it is; its owners can find out why',
    );
    expect(withheld(problem)).toBe("must be of type kubernetes.io/tls");
  });
});
