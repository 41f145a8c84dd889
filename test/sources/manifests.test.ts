import { describe, expect, test } from "vitest";
import { decodeText, type Manifests, readManifests } from "../../src/sources/manifests.ts";

const ROUTE = `apiVersion: contour.heptio.com/v1beta1
kind: IngressRoute
metadata:
  name: blog
  annotations:
    example.com/note: hello
spec:
  virtualhost:
    fqdn: blog.example.com
  routes:
    - match: /
      services:
        - name: web
          port: 80
        - { name: api }
    - match: /new
      colour: blue
`;

function keys(text: string): readonly string[] {
  return readManifests("f.yaml", text).documents.map(({ key }) => key);
}

function lines({ problems }: Manifests): readonly string[] {
  return problems.map(({ place, severity, text }) => `${place.line}:${place.column}: ${severity}: ${text}`);
}

function problems(text: string): readonly string[] {
  return lines(readManifests("f.yaml", text));
}

describe("objects", () => {
  test("every document of a kind that is read becomes an object; other kinds are left out in silence", () => {
    const text = `${ROUTE}---\n# nothing\n---\napiVersion: v1\nkind: ConfigMap\nmetadata: {name: x}\n---
apiVersion: v1\nkind: Service\nmetadata: {name: web, namespace: shop}\n--- \n[1, 2]\n`;
    expect(keys(text)).toEqual(["IngressRoute/default/blog", "Service/shop/web"]);
    expect(problems(text)).toEqual([]);
  });

  test("an object without a namespace is in default", () => {
    const [manifest] = readManifests("f.yaml", ROUTE).documents;
    expect(manifest?.object.metadata).toMatchObject({ namespace: "default", name: "blog" });
    expect(keys("apiVersion: v1\nkind: Service\nmetadata: {name: web, namespace: ~}")).toEqual(["Service/default/web"]);
  });

  test("JSON is read like YAML, with tabs", () => {
    const text = '{\n\t"apiVersion": "v1",\n\t"kind": "Service",\n\t"metadata": {"name": "web"}\n}';
    expect(keys(text)).toEqual(["Service/default/web"]);
  });

  test("lists are taken apart, also typed ones and lists in lists", () => {
    const item = '{apiVersion: v1, kind: Service, metadata: {name: "NAME"}}';
    const inner = `{apiVersion: v1, kind: List, items: [${item.replace("NAME", "b")}]}`;
    expect(keys(`apiVersion: v1\nkind: List\nitems:\n- ${item.replace("NAME", "a")}\n- ${inner}\n`)).toEqual([
      "Service/default/a",
      "Service/default/b",
    ]);
    expect(keys("apiVersion: v1\nkind: ServiceList\nitems: [{metadata: {name: c}}, 3]")).toEqual(["Service/default/c"]);
  });

  test("anchors, aliases and merge keys work: keys of a map go before merged ones, earlier before later", () => {
    const text = `apiVersion: v1
kind: Service
metadata: { name: web }
spec:
  ports:
    - &http { name: http, port: 80, protocol: TCP }
    - { <<: *http, name: alt }
    - <<: [{ port: 82 }, *http]
    - *http
`;
    const [manifest] = readManifests("f.yaml", text).documents;
    expect(manifest?.object).toMatchObject({
      ports: [
        { name: "http", port: 80 },
        { name: "alt", port: 80 },
        { name: "http", port: 82 },
        { name: "http", port: 80 },
      ],
    });
  });

  test("scalars are read as kubectl reads them", () => {
    const text = ROUTE.replace("/new", "/new\n      permitInsecure: yes").replace("port: 80", "port: 0120");
    const [manifest] = readManifests("f.yaml", text).documents;
    expect(manifest?.object).toMatchObject({
      routes: [{ services: [{ port: 80 }, {}] }, { permitInsecure: true }],
      notes: { faults: [] },
    });
    const time = ROUTE.replace("name: blog", "name: blog\n  creationTimestamp: 2018-07-05T19:26:54Z");
    expect(readManifests("f.yaml", time).documents[0]?.object.metadata.createdMs).toBe(
      Date.UTC(2018, 6, 5, 19, 26, 54),
    );
  });

  test("a key such as __proto__ is only a key", () => {
    const [manifest] = readManifests("f.yaml", ROUTE.replace("spec:", "__proto__: {polluted: yes}\nspec:")).documents;
    expect(manifest?.object.notes.warnings.map(({ at }) => at)).toContain("__proto__");
    expect("polluted" in {}).toBe(false);
  });
});

describe("what looks as if it were meant for us", () => {
  test.each([
    [
      "apiVersion: traefik.io/v1alpha1\nkind: IngressRoute",
      "this is Traefik's IngressRoute, another API of the same name: not read",
    ],
    [
      "apiVersion: traefik.containo.us/v1alpha1\nkind: IngressRoute",
      "this is Traefik's IngressRoute, another API of the same name: not read",
    ],
    [
      "apiVersion: contour.heptio.com/v2\nkind: IngressRoute",
      "IngressRoute of contour.heptio.com/v2 is not read, only that of contour.heptio.com/v1beta1",
    ],
    [
      "apiVersion: projectcontour.io/v1\nkind: HTTPProxy",
      "HTTPProxy is not read; Isoline implements the IngressRoute API",
    ],
    ["apiVersion: v1\nkind: Endpoints", "Endpoints are not read; write an EndpointSlice"],
  ])("is told once: %j", (text, expected) => {
    expect(problems(text)).toEqual([`1:1: note: ${expected}`]);
    expect(problems(`${text}\n---\n${text}\n`)).toEqual([`1:1: note: ${expected} (2 of them in this file)`]);
  });

  test.each([
    ["kind: IngressRoute", "1:1: error: apiVersion must be given for IngressRoute: contour.heptio.com/v1beta1"],
    [
      "apiVersion: contour.heptio.com/v1beta1",
      "1:1: error: kind must be given for contour.heptio.com/v1beta1: IngressRoute or TLSCertificateDelegation",
    ],
    [
      "apiVersion: contour.heptio.com/v1beta1\nkind: ingressroutes",
      '2:7: error: there is no kind "ingressroutes": did you mean IngressRoute?',
    ],
  ])("and cannot be read is a mistake: %j", (text, expected) => {
    expect(problems(text)).toEqual([expected]);
  });
});

describe("names that an API server would refuse", () => {
  test.each([
    ["{}", "3:11: error: Service without metadata.name"],
    ["{name: ~}", "3:12: error: Service without metadata.name"],
    ["[]", "3:11: error: Service without metadata.name"],
    ["{name: 1}", "3:18: error: metadata.name must be a string: put it in quotes"],
    [
      "{name: My_App}",
      '3:18: error: metadata.name "My_App" is no name for Kubernetes, which takes lower-case letters, digits, "-" and "."',
    ],
    ["{name: a, namespace: 1}", "3:32: error: metadata.namespace must be a string: put it in quotes"],
    [
      "{name: a, namespace: a.b}",
      '3:32: error: metadata.namespace "a.b" is no namespace for Kubernetes, which takes lower-case letters, digits and "-"',
    ],
  ])("metadata %s", (metadata, expected) => {
    const text = `apiVersion: v1\nkind: Service\nmetadata: ${metadata}\n---\n${ROUTE}`;
    expect(problems(text)).toEqual([expected]);
    expect(keys(text)).toEqual(["IngressRoute/default/blog"]);
  });
});

describe("what cannot be read", () => {
  test.each([
    ["a: b: c", "1:4: error: a second `key: value` within a value: check the indentation, or put the value in quotes"],
    ["a:\n  b: 1\n c: 2", "3:1: error: wrong indentation: this does not line up with what stands above it"],
    ["a:\n\tb: 1", "2:1: error: a tab in the indentation: YAML takes only spaces there"],
    ["a: [1, 2", "1:9: error: a bracket is not closed, or what stands in it is not indented: ] expected"],
    ['a: "x', "1:6: error: a quotation mark is missing: the text in quotes does not end"],
    ["key\nb: 1", "1:1: error: neither a `key: value` nor part of the value above: a colon may be missing"],
    ["a: @b", "1:4: error: a value cannot start with @ unless it is put in quotes"],
    ["x: 1\nfqdn: {{ .Values.host }}", "2:8: error: {{ starts an unexpanded template; put it in quotes"],
    [
      "{{- if x }}\na: 1",
      "1:3: error: lines of `key: value` within brackets: a bracket may not be closed (an unexpanded template?)",
    ],
    ["a: 1\nb: 2\na: 3", '3:1: error: the key "a" is given twice in one map'],
    ["a: *b\nb: &b 1", "1:4: error: *b: no anchor &b stands before it"],
    ["a: &a [*a]", "1:7: error: nested more than 256 levels deep"],
  ])("%j is one mistake, with its place", (text, expected) => {
    const read = readManifests("f.yaml", text);
    expect(lines(read)).toEqual([expected]);
    expect(read.whole).toBe(false);
  });

  test("the other documents of the file are read all the same", () => {
    const text = `${ROUTE}---\na: b: c\n---\n${ROUTE.replace("name: blog", "name: shop")}`;
    expect(keys(text)).toEqual(["IngressRoute/default/blog", "IngressRoute/default/shop"]);
    expect(readManifests("f.yaml", text).whole).toBe(false);
  });

  test("aliases that stand for more than any memory holds are refused, and many honest ones are not", () => {
    const letters = [..."abcdefghijklmnopqrs"];
    const levels = letters.slice(1).map((letter, i) => `${letter}: &${letter} [*${letters[i]}, *${letters[i]}]`);
    expect(problems(["a: &a [x, x]", ...levels].join("\n"))).toEqual([
      expect.stringMatching(/: error: its aliases stand for more than 100000 values$/),
    ]);
    const many = Array.from({ length: 2000 }, (_, i) => `k${i}: *a`).join("\n");
    expect(problems(`a: &a {x: 1}\n${many}\n`)).toEqual([]);
  });

  test.each([
    ["brackets", "[".repeat(1_000_000)],
    ["maps in braces", "{a: ".repeat(500_000)],
    ["lists on one line", "- ".repeat(500_000)],
    ["indented maps", Array.from({ length: 1000 }, (_, i) => `${" ".repeat(i)}a:`).join("\n")],
  ])("deeply nested %s are refused at once", (_what, text) => {
    expect(problems(text)).toEqual([expect.stringMatching(/: error: nested more than 256 levels deep$/)]);
  });

  test("files that are not UTF-8 text are told apart", () => {
    expect(decodeText(Buffer.from("a: ü"))).toEqual({ ok: true, text: "a: ü" });
    expect(decodeText(Buffer.from("\ufeffa: 1"))).toEqual({ ok: true, text: "a: 1" });
    expect(decodeText(Buffer.from("a: ü", "latin1"))).toEqual({ ok: false, why: "is not valid UTF-8 text" });
    expect(decodeText(Buffer.from("\ufeffa: 1", "utf16le"))).toEqual({
      ok: false,
      why: "is UTF-16 text; save it as UTF-8",
    });
    expect(decodeText(Buffer.from([0x1f, 0x8b, 0, 0]))).toEqual({
      ok: false,
      why: "is a binary file, not YAML or JSON",
    });
  });
});

describe("places", () => {
  function placeOf(path: string, part?: "key" | "value", text = ROUTE): string {
    const place = readManifests("f.yaml", text).documents[0]?.locate(path, part);
    return `${place?.file}:${place?.line}:${place?.column}`;
  }

  test.each([
    ["", "f.yaml:1:1"],
    ["spec.virtualhost.fqdn", "f.yaml:9:11"],
    ["spec.routes[0].services[0].port", "f.yaml:14:17"],
    ['metadata.annotations["example.com/note"]', "f.yaml:6:23"],
    ["spec.routes[1]", "f.yaml:16:7"],
    // Absent: the nearest ancestor.
    ["spec.routes[0].services[1].port", "f.yaml:15:11"],
    ["spec.routes[7].services[0]", "f.yaml:11:5"],
    ['metadata.labels["a.b/c"].d', "f.yaml:4:3"],
    ["status", "f.yaml:1:1"],
  ])("of the value at %j", (path, expected) => {
    expect(placeOf(path)).toBe(expected);
  });

  test("of the key of an unknown field", () => {
    expect(placeOf("spec.routes[1].colour", "key")).toBe("f.yaml:17:7");
  });

  test("of the key where there is no value", () => {
    expect(
      placeOf("spec.virtualhost", "value", ROUTE.replace("virtualhost:\n    fqdn: blog.example.com", "virtualhost:")),
    ).toBe("f.yaml:8:3");
  });

  test("of what came by an alias, a merge or a list", () => {
    const text = `apiVersion: v1
kind: List
items:
  - apiVersion: v1
    kind: Service
    metadata: { name: web }
    spec:
      ports:
        - &http { name: http, port: 80 }
        - { <<: *http, name: alt }
        - *http
`;
    expect(placeOf("", "value", text)).toBe("f.yaml:4:5");
    expect(placeOf("spec.ports[1].port", "value", text)).toBe("f.yaml:9:37");
    expect(placeOf("spec.ports[1].name", "value", text)).toBe("f.yaml:10:30");
    expect(placeOf("spec.ports[2]", "value", text)).toBe("f.yaml:11:11");
  });

  test("agree with the paths that decoders give", () => {
    const text = ROUTE.replace("colour: blue", '"a.b/c": { x: 1 }');
    const { object, locate } = readManifests("f.yaml", text).documents[0] ?? {};
    const [warning] = object?.notes.warnings ?? [];
    expect(warning?.at).toBe('spec.routes[1]["a.b/c"]');
    expect(locate?.(warning?.at ?? "", "key")).toEqual({ file: "f.yaml", line: 17, column: 7 });
  });
});
