import { describe, expect, test } from "vitest";
import { readRegex } from "../../src/controller/regexes.ts";
import { type ReviewOptions, review } from "../../src/webhook/review.ts";

type Fields = Readonly<Record<string, unknown>>;

const OPTIONS: ReviewOptions = {
  isWarnOnly: false,
  compile: { rootNamespaces: [], ingressClass: "contour", minimumTlsVersion: "1.1", readRegex },
};
const S = [{ name: "home", port: 80 }];
const NEGATIVE = 'route "/foo": service "home": weight must be greater than or equal to zero';

const right = root({});
const negative = root({ match: "/foo", services: [{ name: "home", port: 80, weight: -1 }] });

describe("what is written", () => {
  test("goes through when nothing is wrong with it", () => {
    expect(reviewed(request("CREATE", right))).toEqual({ uid: "u", allowed: true });
  });

  test("is refused for what it shows to be wrong, in the words of a status", () => {
    expect(reviewed(request("CREATE", negative))).toEqual({
      uid: "u",
      allowed: false,
      status: { code: 422, reason: "Invalid", message: NEGATIVE },
    });
  });

  test("is refused for a field that asks for protection in vain, and for one that is empty", () => {
    const tls = root({ services: [{ name: "home", port: 80, tls: {} }] });
    expect(reviewed(request("CREATE", tls))).toMatchObject({
      allowed: false,
      status: { message: expect.stringContaining("could serve with less protection than it asks for") },
    });
    const { spec } = right;
    const empty = { ...right, spec: { ...Object(spec), virtualhost: { fqdn: "a.example.com", tls: null } } };
    expect(reviewed(request("CREATE", empty))).toMatchObject({
      allowed: false,
      status: { message: "spec.virtualhost.tls: is empty; remove it or fill it in" },
    });
  });

  test("is warned of what is served but probably not meant", () => {
    const typo = root({ prefixRewite: "/" });
    expect(reviewed(request("CREATE", typo))).toEqual({
      uid: "u",
      allowed: true,
      warnings: ['route "/": prefixRewite: unknown field, ignored: did you mean prefixRewrite?'],
    });
  });

  test("is told of by flags: root namespaces and the oldest version of TLS", () => {
    const elsewhere = { ...OPTIONS, compile: { ...OPTIONS.compile, rootNamespaces: ["roots"] } };
    expect(reviewed(request("CREATE", right), elsewhere)).toMatchObject({
      allowed: false,
      status: { message: expect.stringContaining('may not live in namespace "default"') },
    });
    const { spec } = right;
    const old = { fqdn: "a.example.com", tls: { secretName: "x", minimumProtocolVersion: "1.1" } };
    const floor = { ...OPTIONS, compile: { ...OPTIONS.compile, minimumTlsVersion: "1.2" } } as const;
    const body = request("CREATE", { ...right, spec: { ...Object(spec), virtualhost: old } });
    expect(reviewed(body, floor)).toMatchObject({ allowed: true, warnings: [expect.stringContaining("1.2 is used")] });
  });

  test("does not depend on anything else that exists", () => {
    const delegating = root({ services: undefined, delegate: { name: "nobody" } });
    expect(reviewed(request("CREATE", delegating))).toEqual({ uid: "u", allowed: true });
  });

  test("is none of our business when its class is another's, or its kind", () => {
    const annotations = { "kubernetes.io/ingress.class": "nginx" };
    const foreign = { ...negative, metadata: { name: "a", namespace: "default", annotations } };
    expect(reviewed(request("CREATE", foreign))).toEqual({ uid: "u", allowed: true });
    expect(reviewed(request("CREATE", { apiVersion: "v1", kind: "Pod", metadata: {} }))).toMatchObject({
      allowed: true,
    });
    const proxy = { ...negative, apiVersion: "projectcontour.io/v1" };
    expect(reviewed(request("CREATE", proxy))).toMatchObject({ allowed: true });
  });
});

test("a TLSCertificateDelegation is refused for a field that may have been meant to narrow it", () => {
  const delegations = [{ secretName: "x", targetNamespaces: ["*"], targetSelector: {} }];
  const delegation = {
    apiVersion: "contour.heptio.com/v1beta1",
    kind: "TLSCertificateDelegation",
    metadata: { name: "a", namespace: "default" },
    spec: { delegations },
  };
  expect(reviewed(request("CREATE", delegation))).toMatchObject({
    allowed: false,
    status: { message: expect.stringContaining("spec.delegations[0].targetSelector: unknown field") },
  });
});

test("an Ingress is never refused", () => {
  const ingress = {
    apiVersion: "networking.k8s.io/v1",
    kind: "Ingress",
    metadata: { name: "a", namespace: "default", annotations: { "contour.heptio.com/request-timeout": "soon" } },
    spec: { rules: [{ host: "a b", http: { paths: [] } }] },
  };
  const { allowed, warnings } = reviewed(request("CREATE", ingress));
  expect(allowed).toBe(true);
  expect(warnings).toEqual([
    expect.stringContaining("annotation contour.heptio.com/request-timeout is ignored"),
    expect.stringContaining("has neither paths nor a default backend"),
    expect.stringContaining('host "a b" is not a host name'),
  ]);
  const annotated = { ...ingress, spec: { ...ingress.spec, ingressClassName: "nginx" } };
  expect(reviewed(request("CREATE", annotated))).toEqual({ uid: "u", allowed: true });
});

test("of an Ingress with too many regular expressions, those beyond are told of and not looked at", () => {
  const backend = { service: { name: "home", port: { number: 80 } } };
  const paths = Array.from({ length: 203 }, (_, i) => ({
    path: `/${i}[`,
    pathType: "ImplementationSpecific",
    backend,
  }));
  const spec = { rules: [{ host: "a.example.com", http: { paths } }] };
  const metadata = { name: "a", namespace: "default" };
  const ingress = { apiVersion: "networking.k8s.io/v1", kind: "Ingress", metadata, spec };
  const { allowed, warnings } = reviewed(request("CREATE", ingress));
  expect(allowed).toBe(true);
  expect(warnings?.slice(-2)).toEqual([
    "and 190 more",
    "Isoline has not looked at 3 of the regular expressions: they are too many for that before it is written",
  ]);
});

describe("an update", () => {
  const two = root(
    { match: "/foo", services: [{ name: "home", port: 80, weight: -1 }] },
    { match: "/bar", services: [{ name: "home", port: 0 }] },
  );

  test("is refused for what it makes wrong", () => {
    expect(reviewed(request("UPDATE", negative, right))).toMatchObject({ allowed: false });
    expect(reviewed(request("UPDATE", two, negative))).toMatchObject({
      allowed: false,
      status: { message: 'route "/bar": service "home": port 0 must be a number from 1 to 65535' },
      warnings: [NEGATIVE],
    });
  });

  test("goes through, with a warning, when it makes nothing worse", () => {
    const finalizers = { metadata: { name: "a", namespace: "default", finalizers: [] } };
    const allowed = { uid: "u", allowed: true, warnings: [NEGATIVE] };
    expect(reviewed(request("UPDATE", { ...negative, ...finalizers }, negative))).toEqual(allowed);
    expect(reviewed(request("UPDATE", negative, two))).toEqual(allowed);
    // The same mistake in another place.
    const moved = root({ match: "/bar" }, { match: "/foo", services: [{ name: "home", port: 80, weight: -2 }] });
    expect(reviewed(request("UPDATE", moved, negative))).toEqual(allowed);
  });

  test("is refused when a mistake is made once more", () => {
    const twice = root({ match: "/foo", services: Array(2).fill({ name: "home", port: 80, weight: -1 }) });
    expect(reviewed(request("UPDATE", twice, negative))).toMatchObject({ allowed: false, warnings: [NEGATIVE] });
  });

  test("of a status, or of an object that is going away, always goes through", () => {
    expect(reviewed({ ...request("UPDATE", two, right), subResource: "status" })).toEqual({ uid: "u", allowed: true });
    const metadata = { name: "a", namespace: "default", deletionTimestamp: "2026-01-01T00:00:00Z" };
    expect(reviewed(request("UPDATE", { ...two, metadata }, right))).toEqual({ uid: "u", allowed: true });
  });
});

test("a deletion always goes through", () => {
  expect(reviewed(request("DELETE", null, negative))).toEqual({ uid: "u", allowed: true });
});

test("nothing is refused when only warnings are asked for", () => {
  expect(reviewed(request("CREATE", negative), { ...OPTIONS, isWarnOnly: true })).toEqual({
    uid: "u",
    allowed: true,
    warnings: [NEGATIVE],
  });
});

test("neither words nor warnings grow with the object", () => {
  const many = root(
    ...Array.from({ length: 5_000 }, (_, i) => ({
      match: `/${i}${"é".repeat(500)}`,
      services: [{ name: "home", port: 0, what: 1 }],
    })),
  );
  const { status, warnings = [] } = reviewed(request("CREATE", many));
  expect(status?.message.length).toBeLessThan(10_000);
  // One of each route, and that not all unknown fields were looked at.
  expect(status?.message).toMatch(/; and 4991 more$/);
  expect(warnings).toHaveLength(11);
  for (const warning of warnings) expect([...warning].length).toBeLessThanOrEqual(256);
});

test("what is no AdmissionReview has no answer", () => {
  const review1 = { apiVersion: "admission.k8s.io/v1", kind: "AdmissionReview" };
  const beta = { ...review1, apiVersion: "admission.k8s.io/v1beta1", request: { uid: "u" } };
  for (const body of [undefined, null, 7, "x", [], {}, review1, { ...review1, request: {} }, beta]) {
    expect(review(body, OPTIONS)).toBeUndefined();
  }
});

test("garbage in the place of an object is told, not thrown", () => {
  for (const object of [null, 7, "x", [], {}, { metadata: 7 }, { spec: [] }]) {
    const kind = { group: "contour.heptio.com", version: "v1beta1", kind: "IngressRoute" };
    expect(reviewed({ ...request("CREATE", right), kind, object })).toMatchObject({ allowed: false });
  }
});

type Response = {
  readonly uid: string;
  readonly allowed: boolean;
  readonly status?: { readonly code: number; readonly reason: string; readonly message: string };
  readonly warnings?: readonly string[];
};

function reviewed(body: Fields, options: ReviewOptions = OPTIONS): Response {
  const raw = { apiVersion: "admission.k8s.io/v1", kind: "AdmissionReview", request: body };
  const found = review(JSON.parse(JSON.stringify(raw)), options);
  const { apiVersion, kind, response } = Object(found?.answer);
  expect({ apiVersion, kind }).toEqual({ apiVersion: "admission.k8s.io/v1", kind: "AdmissionReview" });
  expect(found).toMatchObject({ isAllowed: response.allowed, warnings: response.warnings?.length ?? 0 });
  return response;
}

function request(operation: string, object: unknown, oldObject: unknown = null): Fields {
  const { apiVersion = "", kind } = Object(object ?? oldObject);
  const [version = "", group = ""] = apiVersion.split("/").reverse();
  return { uid: "u", kind: { group, version, kind }, namespace: "default", name: "a", operation, object, oldObject };
}

function root(...routes: readonly Fields[]): Fields {
  return {
    apiVersion: "contour.heptio.com/v1beta1",
    kind: "IngressRoute",
    metadata: { name: "a", namespace: "default" },
    spec: {
      virtualhost: { fqdn: "a.example.com" },
      routes: routes.map((route) => ({ match: "/", services: S, ...route })),
    },
  };
}
