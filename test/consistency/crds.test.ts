import { readFileSync } from "node:fs";
import { fileURLToPath } from "node:url";
import { describe, expect, test } from "vitest";
import { type ApiObject, KINDS } from "../../src/api/kinds.ts";
import { objectKey } from "../../src/api/object-key.ts";
import { selfProblems } from "../../src/compile/ingressroute/self-check.ts";
import { CLASS_OF, classOf } from "../../src/compile/problems.ts";
import { MAX_CONDITIONS } from "../../src/status/ingress-route-status.ts";
import { MAX_TEXT_LENGTH } from "../../src/status/wish.ts";
import { deployed } from "../parts/deploy.ts";

/** A part of a structural schema, as far as this looks at it. */
type Schema = {
  readonly type: string;
  readonly description?: string;
  readonly properties?: Readonly<Record<string, Schema>>;
  readonly items?: Schema;
  readonly nullable?: boolean;
  readonly enum?: readonly unknown[];
  readonly maxItems?: number;
  readonly maxLength?: number;
  readonly pattern?: string;
  readonly "x-kubernetes-preserve-unknown-fields"?: boolean;
};

/** A field of the schema; `path` is as in a note of a decoder, with lists at their first item. */
type Field = { readonly path: string; readonly schema: Schema };

const OURS = KINDS.filter(({ apiVersions }) => apiVersions[0] === "contour.heptio.com/v1beta1");

/** Values of each type of JSON, none of which stands for absent. */
const VALUES: readonly { readonly type: string; readonly value: unknown }[] = [
  { type: "string", value: "x" },
  { type: "integer", value: 7 },
  { type: "number", value: 7.5 },
  { type: "boolean", value: true },
  { type: "object", value: {} },
  { type: "array", value: [] },
];

/** The length of a host name, and of a namespace and a name with a slash: longer is wrong anyway. */
const BOUNDS_BY_NATURE = new Set([253, 317]);

test("every kind of our group has a definition, with its names and its status", () => {
  expect(OURS.map(({ kind }) => kind)).toEqual(["IngressRoute", "TLSCertificateDelegation"]);
  for (const { kind, plural } of OURS) {
    expect(deployed(`crds/${plural}.yaml`)).toMatchObject([
      {
        apiVersion: "apiextensions.k8s.io/v1",
        kind: "CustomResourceDefinition",
        metadata: { name: `${plural}.contour.heptio.com` },
        spec: {
          group: "contour.heptio.com",
          scope: "Namespaced",
          names: { plural, kind },
          versions: [{ name: "v1beta1", served: true, storage: true, subresources: { status: {} } }],
        },
      },
    ]);
  }
});

test("a list of IngressRoutes shows the host, its Secret and the status", () => {
  expect(deployed("crds/ingressroutes.yaml")).toMatchObject([
    {
      spec: {
        versions: [
          {
            additionalPrinterColumns: [
              { name: "FQDN", jsonPath: ".spec.virtualhost.fqdn" },
              { name: "TLS Secret", jsonPath: ".spec.virtualhost.tls.secretName" },
              { name: "Status", jsonPath: ".status.currentStatus" },
              { name: "Status Description", jsonPath: ".status.description" },
            ],
          },
        ],
      },
    },
  ]);
});

describe.each(OURS)("the schema of $kind and its decoder", ({ kind, plural, decode }) => {
  const schema = schemaOf(plural);
  const fields = fieldsOf(schema, "").filter(({ path }) => path === "spec" || path.startsWith("spec."));
  const sample = { ...Object(sampleOf(schema)), kind, metadata: { namespace: "default", name: "x" } };
  delete sample.status;

  test("the decoder knows every field of the schema", () => {
    const { faults, warnings } = decode(sample).notes;
    expect([...faults, ...warnings].filter(({ unknown }) => unknown === true)).toEqual([]);
    expect(faults).toEqual([]);
  });

  test("the schema has every field that the decoder asks for", () => {
    const asked = new Set<string>();
    decode(recording(sample, "", asked));
    const known = fields.map(({ path }) => path);
    expect([...asked].filter((path) => path.startsWith("spec") && !known.includes(path)).sort()).toEqual([]);
    expect(asked.size).toBeGreaterThan(known.length);
  });

  test("both take the same types", () => {
    for (const { path, schema: field } of fields) {
      const refused = VALUES.filter(({ value }) => faultsAt(decode(replaced(sample, path, value)), path));
      const others = VALUES.filter(({ type }) => type !== field.type);
      expect(
        refused.map(({ type }) => type),
        path,
      ).toEqual(others.map(({ type }) => type));
    }
  });

  test("an empty field counts as absent for both, or is kept for the decoder to refuse", () => {
    for (const { path, schema: field } of fields) {
      if (path.endsWith("]")) continue; // not a field
      const [empty, absent] = [null, undefined].map((value) => mistakes(decode(replaced(sample, path, value))));
      // The API server drops an empty field that is not nullable, before it looks whether a required one is there.
      if (field.nullable === true) expect(empty, path).not.toEqual(absent);
      else expect(empty, path).toEqual(absent);
    }
  });

  test("no field of a spec is lost before the decoder sees it", () => {
    const objects = [{ path: "", schema }, ...fields].filter(({ schema: { type } }) => type === "object");
    const pruned = objects.filter(({ schema: part }) => part["x-kubernetes-preserve-unknown-fields"] !== true);
    expect(pruned.map(({ path }) => path)).toEqual([]);
  });

  test("every field is described", () => {
    const silent = fieldsOf(schema, "").filter(({ path, schema: part }) => {
      return !path.endsWith("]") && !["apiVersion", "kind", "metadata"].includes(path) && !part.description;
    });
    expect(silent.map(({ path }) => path)).toEqual([]);
  });
});

test("what stands in several places of the schema is the same in all of them", () => {
  const fields = new Map(fieldsOf(schemaOf("ingressroutes"), "").map(({ path, schema }) => [path, schema]));
  const services = fields.get("spec.routes[0].services")?.items;
  expect(services).toBeDefined();
  expect(fields.get("spec.tcpproxy.services")?.items).toEqual(services);
  expect(bare(fields.get("spec.healthCheck"))).toEqual(bare(services?.properties?.healthCheck));
  expect(bare(fields.get("spec.tcpproxy.delegate"))).toEqual(bare(fields.get("spec.routes[0].delegate")));
});

test("whatever a status is to tell, there is room for it in the schema", () => {
  const fields = new Map(fieldsOf(schemaOf("ingressroutes"), "").map(({ path, schema }) => [path, schema]));
  expect(fields.get("status.conditions")?.maxItems).toBe(MAX_CONDITIONS);
  for (const path of ["status.description", "status.conditions[0].message"])
    expect(fields.get(path)?.maxLength).toBeGreaterThanOrEqual(MAX_TEXT_LENGTH);
  const { pattern = "", maxLength = 0 } = fields.get("status.conditions[0].reason") ?? {};
  const reasons = [...Object.keys(CLASS_OF), "Valid", "Orphaned", "CertificateExpiry"];
  expect(reasons.filter((reason) => !new RegExp(pattern).test(reason) || reason.length > maxLength)).toEqual([]);
});

test("the bounds that only the schema has are named at its head", () => {
  const text = readFileSync(fileURLToPath(new URL("../../deploy/crds/ingressroutes.yaml", import.meta.url)), "utf8");
  const [head = ""] = text.split("apiVersion: apiextensions");
  const bounds = fieldsOf(schemaOf("ingressroutes"), "").flatMap(({ schema }) => [schema.maxItems, schema.maxLength]);
  const numbers = new Set(bounds.filter((bound) => bound !== undefined && !BOUNDS_BY_NATURE.has(bound)));
  const [, named = ""] = head.split("Bounds that only the schema has:");
  expect(new Set((named.match(/\b\d+\b/g) ?? []).map(Number))).toEqual(numbers);
});

function schemaOf(plural: string): Schema {
  const [definition] = deployed(`crds/${plural}.yaml`);
  const { versions } = Object(definition?.spec);
  return versions[0].schema.openAPIV3Schema;
}

function fieldsOf(schema: Schema, path: string): readonly Field[] {
  const fields: Field[] = [];
  for (const [key, property] of Object.entries(schema.properties ?? {})) {
    const at = path === "" ? key : `${path}.${key}`;
    fields.push({ path: at, schema: property });
    fields.push(...fieldsOf(property, at));
  }
  const { items } = schema;
  if (items !== undefined) {
    fields.push({ path: `${path}[0]`, schema: items }, ...fieldsOf(items, `${path}[0]`));
  }
  return fields;
}

/** An object with every field of the schema in it. */
function sampleOf({ type, properties = {}, items, enum: words }: Schema): unknown {
  switch (type) {
    case "object":
      return Object.fromEntries(Object.entries(properties).map(([key, property]) => [key, sampleOf(property)]));
    case "array":
      return items === undefined ? [] : [sampleOf(items)];
    case "string":
      return words?.[0] ?? "/x";
    case "integer":
      return 1;
    case "boolean":
      return true;
    default:
      throw new Error(`a field of type ${type}`);
  }
}

/** The value, noting in `asked` the path of every field that somebody looks for in it. */
function recording(value: unknown, path: string, asked: Set<string>): unknown {
  if (Array.isArray(value)) return value.map((item, i) => recording(item, `${path}[${i}]`, asked));
  if (typeof value !== "object" || value === null) return value;
  const parts = Object.entries(value).map(([key, part]) => [key, recording(part, join(path, key), asked)]);
  return new Proxy(Object.fromEntries(parts), {
    getOwnPropertyDescriptor: (target, key) => {
      if (typeof key === "string") asked.add(join(path, key));
      return Reflect.getOwnPropertyDescriptor(target, key);
    },
  });
}

function join(path: string, key: string): string {
  return path === "" ? key : `${path}.${key}`;
}

/** A copy with another value at the path; undefined removes the field. */
function replaced(value: unknown, path: string, by: unknown): unknown {
  const copy = structuredClone(value);
  const keys = path.match(/[^.[\]]+/g) ?? [];
  const last = keys.pop() ?? "";
  const holder = keys.reduce((part, key) => Object(part)[key], copy);
  if (by === undefined) delete Object(holder)[last];
  else Object(holder)[last] = by;
  return copy;
}

function faultsAt({ notes }: ApiObject, path: string): boolean {
  return notes.faults.some(({ at, reason }) => at === path && reason.startsWith("must be"));
}

/** Everything of class A that the object shows by itself. */
function mistakes(object: ApiObject): readonly string[] {
  if (object.kind !== "IngressRoute") return object.notes.faults.map(({ at, reason }) => `${at} ${reason}`);
  const problems = selfProblems(objectKey("IngressRoute", "default", "x"), object);
  return problems.filter((problem) => classOf(problem) === "A").map((problem) => JSON.stringify(problem));
}

/** Without its own description. */
function bare(schema: Schema | undefined): unknown {
  return { ...schema, description: undefined };
}
