import { expect, test } from "vitest";
import { decodeIngress } from "../../src/api/ingress.ts";
import { decodeIngressClass } from "../../src/api/ingress-class.ts";

const V1 = "networking.k8s.io/v1";
const ingress = (apiVersion: string, spec: unknown, annotations: unknown = {}) =>
  decodeIngress({
    apiVersion,
    kind: "Ingress",
    metadata: { namespace: "default", name: "web", annotations },
    spec,
    status: { loadBalancer: {} },
  });
/** The notes of one path of a rule. */
const pathNotes = (apiVersion: string, path: unknown) => {
  const { faults, warnings } = ingress(apiVersion, { rules: [{ http: { paths: [path] } }] }).notes;
  return [...faults, ...warnings].map(
    ({ at, reason }) => `${at.replace("spec.rules[0].http.paths[0]", "~")}: ${reason}`,
  );
};

test("an Ingress of networking.k8s.io/v1", () => {
  const decoded = ingress(V1, {
    ingressClassName: "contour",
    defaultBackend: { service: { name: "default", port: { name: "http" } } },
    tls: [{ hosts: ["a.example.com", "b.example.com"], secretName: "tls" }, {}],
    rules: [
      {
        host: "*.example.com",
        http: {
          paths: [
            { path: "/a", pathType: "Exact", backend: { service: { name: "a", port: { number: 80 } } } },
            { pathType: "ImplementationSpecific", backend: { service: { name: "b", port: { number: 8080 } } } },
          ],
        },
      },
      { host: "c.example.com" },
      { http: { paths: [] } },
    ],
  });
  expect(decoded).toMatchObject({
    metadata: { namespace: "default", name: "web" },
    ingressClass: { annotation: undefined, name: "contour" },
    defaultBackend: { service: "default", port: { kind: "name", name: "http" } },
    defaultBackendAt: "spec.defaultBackend",
    tls: [
      { hosts: ["a.example.com", "b.example.com"], secretName: "tls" },
      { hosts: [], secretName: undefined },
    ],
    rules: [
      {
        host: "*.example.com",
        paths: [
          { path: "/a", pathType: "Exact", backend: { service: "a", port: { kind: "number", number: 80 } } },
          {
            path: undefined,
            pathType: "ImplementationSpecific",
            backend: { service: "b", port: { kind: "number", number: 8080 } },
          },
        ],
      },
      { host: "c.example.com", paths: [] },
      { host: undefined, paths: [] },
    ],
    notes: { faults: [], warnings: [] },
  });
});

test.each(["networking.k8s.io/v1beta1", "extensions/v1beta1"])("an Ingress of %s becomes the same", (apiVersion) => {
  const decoded = ingress(apiVersion, {
    backend: { serviceName: "default", servicePort: "http" },
    rules: [
      {
        host: "a.example.com",
        http: {
          paths: [
            { path: "/a", backend: { serviceName: "a", servicePort: 80 } },
            { path: "/b", pathType: "Prefix", backend: { serviceName: "b", servicePort: "8080" } },
          ],
        },
      },
    ],
  });
  expect(decoded).toMatchObject({
    defaultBackend: { service: "default", port: { kind: "name", name: "http" } },
    defaultBackendAt: "spec.backend",
    rules: [
      {
        host: "a.example.com",
        paths: [
          {
            path: "/a",
            pathType: "ImplementationSpecific",
            backend: { service: "a", port: { kind: "number", number: 80 } },
          },
          { path: "/b", pathType: "Prefix", backend: { service: "b", port: { kind: "number", number: 8080 } } },
        ],
      },
    ],
    notes: { faults: [], warnings: [] },
  });
});

test.each([
  [{}, ["~.backend: is required", "~.pathType: is required"]],
  [
    { pathType: "prefix", backend: backend({ number: 80 }) },
    ["~.pathType: must be one of Exact, Prefix, ImplementationSpecific"],
  ],
  [
    { path: 1, pathType: 2, backend: backend({ number: 80 }) },
    ["~.path: must be a string, not a whole number", "~.pathType: must be a string, not a whole number"],
  ],
  [{ pathType: "Exact", backend: {} }, ["~.backend.service: is required"]],
  [
    { pathType: "Exact", backend: { resource: {}, service: { name: "web", port: { number: 80 } } } },
    ["~.backend.resource: does not go together with a service"],
  ],
  [
    { pathType: "Exact", backend: { service: {} } },
    ["~.backend.service.port: is required", "~.backend.service.name: is required"],
  ],
  [{ pathType: "Exact", backend: backend({}) }, ["~.backend.service.port: needs number or name"]],
  [
    { pathType: "Exact", backend: backend({ number: 80, name: "http" }) },
    ["~.backend.service.port.name: does not go together with number"],
  ],
  [{ pathType: "Exact", backend: backend({ number: 0 }) }, ["~.backend.service.port.number: must be from 1 to 65535"]],
  [
    { pathType: "Exact", backend: backend({ number: "80" }) },
    ["~.backend.service.port.number: must be a whole number, not a string"],
  ],
  [
    { pathType: "Exact", backend: { serviceName: "web", servicePort: 80 } },
    [
      "~.backend.service: is required",
      "~.backend.serviceName: unknown field, ignored: networking.k8s.io/v1 has service: {name, port: {number}}",
      "~.backend.servicePort: unknown field, ignored: networking.k8s.io/v1 has service: {name, port: {number}}",
    ],
  ],
])("networking.k8s.io/v1: the path %j has notes", (path, notes) => {
  expect(pathNotes(V1, path)).toEqual(notes);
});

test.each([
  [{ backend: {} }, ["~.backend.servicePort: is required", "~.backend.serviceName: is required"]],
  [
    { backend: { serviceName: "", servicePort: "" } },
    ["~.backend.servicePort: is required", "~.backend.serviceName: is empty"],
  ],
  [{ backend: { serviceName: "web", servicePort: 65536 } }, ["~.backend.servicePort: must be from 1 to 65535"]],
  [
    { backend: { serviceName: "web", servicePort: 1.5 } },
    ["~.backend.servicePort: must be a string or a whole number, not a number with a fraction"],
  ],
  [
    { backend: { resource: {}, serviceName: "web", servicePort: 80 } },
    ["~.backend.resource: does not go together with a service"],
  ],
  [{ backend: { resource: "bucket" } }, ["~.backend.resource: must be an object, not a string"]],
  [
    { backend: backend({ number: 80 }) },
    [
      "~.backend.servicePort: is required",
      "~.backend.serviceName: is required",
      "~.backend.service: unknown field, ignored: only networking.k8s.io/v1 has it; here it is serviceName and servicePort",
    ],
  ],
])("networking.k8s.io/v1beta1: the path %j has notes", (path, notes) => {
  expect(pathNotes("networking.k8s.io/v1beta1", path)).toEqual(notes);
});

test("what cannot be read leaves the rest in its place", () => {
  const good = { path: "/", pathType: "Prefix", backend: backend({ number: 80 }) };
  const decoded = ingress(V1, { rules: ["nonsense", { host: "a.example.com", http: { paths: [1, good] } }], tls: 5 });
  expect(decoded.rules).toMatchObject([
    { host: undefined, paths: [] },
    { host: "a.example.com", paths: [{ backend: undefined }, { path: "/", backend: { service: "web" } }] },
  ]);
  expect(decoded.notes.faults).not.toEqual([]);
  expect(decodeIngress({}).notes.faults).toContainEqual({ at: "spec", reason: "is required" });
  expect(decodeIngress(null).notes.faults).toContainEqual({ at: "", reason: "must be an object, not empty" });
});

test("an unknown field is told, and is a fault where it asks for protection", () => {
  const { notes } = ingress(V1, { ingressClass: "contour", rules: [{ host: "a.example.com", tls: {} }] });
  expect(notes.warnings).toEqual([
    { at: "spec.ingressClass", unknown: true, reason: expect.stringContaining("unknown field, ignored") },
  ]);
  expect(notes.faults).toEqual([{ at: "spec.rules[0].tls", unknown: true, reason: expect.any(String) }]);
});

test("annotations are kept as they were written, under both prefixes", () => {
  const { annotations, notes } = ingress(
    V1,
    {},
    {
      "contour.heptio.com/request-timeout": "1m",
      "projectcontour.io/num-retries": "many",
      "projectcontour.io/websocket-routes": "/a,/b",
      "contour.heptio.com/websocket-routes": "/a",
      "ingress.kubernetes.io/force-ssl-redirect": "true",
      "kubernetes.io/ingress.allow-http": "false",
      "contour.heptio.com/retry-on": "",
      "contour.heptio.com/unknown": "x",
      "projectcontour.io/tls-minimum-protocol-version": "1.3",
      "contour.heptio.com/per-try-timeout": "1s",
    },
  );
  const as = (key: string, value: string) => ({ key, value });
  expect(annotations).toEqual({
    "request-timeout": as("contour.heptio.com/request-timeout", "1m"),
    "num-retries": as("projectcontour.io/num-retries", "many"),
    "websocket-routes": as("projectcontour.io/websocket-routes", "/a,/b"),
    "ingress.kubernetes.io/force-ssl-redirect": as("ingress.kubernetes.io/force-ssl-redirect", "true"),
    "kubernetes.io/ingress.allow-http": as("kubernetes.io/ingress.allow-http", "false"),
    "tls-minimum-protocol-version": as("projectcontour.io/tls-minimum-protocol-version", "1.3"),
    "per-try-timeout": as("contour.heptio.com/per-try-timeout", "1s"),
  });
  expect(notes).toEqual({
    faults: [],
    warnings: [
      {
        at: 'metadata.annotations["contour.heptio.com/unknown"]',
        reason: "is no annotation of an Ingress and does nothing",
      },
      {
        at: 'metadata.annotations["contour.heptio.com/websocket-routes"]',
        reason: "does nothing beside projectcontour.io/websocket-routes",
      },
    ],
  });
});

test("an annotation that is not a string is a fault, as for an API server", () => {
  expect(ingress(V1, {}, { "ingress.kubernetes.io/force-ssl-redirect": true }).notes.faults).toEqual([
    {
      at: 'metadata.annotations["ingress.kubernetes.io/force-ssl-redirect"]',
      reason: "must be a string, not true or false",
    },
  ]);
});

test("our class annotation wins over the general one, and an empty one counts for nothing", () => {
  const general = { "kubernetes.io/ingress.class": "nginx" };
  const classOf = (annotations: unknown) => ingress(V1, {}, annotations).ingressClass.annotation?.value;
  expect(classOf(general)).toBe("nginx");
  expect(classOf({ ...general, "contour.heptio.com/ingress.class": "contour" })).toBe("contour");
  expect(classOf({ ...general, "projectcontour.io/ingress.class": "contour" })).toBe("contour");
  expect(classOf({ ...general, "contour.heptio.com/ingress.class": "" })).toBe("nginx");
  expect(classOf({ "kubernetes.io/ingress.class": "" })).toBeUndefined();
  expect(ingress(V1, { ingressClassName: "" }).ingressClass.name).toBeUndefined();
});

test("an IngressClass names its controller, and may be the default", () => {
  const ingressClass = (spec: unknown, annotations: unknown = {}) =>
    decodeIngressClass({ apiVersion: V1, kind: "IngressClass", metadata: { name: "contour", annotations }, spec });
  expect(ingressClass({ controller: "example.com/one", parameters: {} })).toMatchObject({
    metadata: { name: "contour" },
    controller: "example.com/one",
    isDefault: false,
    notes: { faults: [], warnings: [] },
  });
  const isDefault = { "ingressclass.kubernetes.io/is-default-class": "true" };
  expect(ingressClass({}, isDefault)).toMatchObject({ controller: undefined, isDefault: true });
});

function backend(port: unknown): unknown {
  return { service: { name: "web", port } };
}
