import { spawnSync } from "node:child_process";
import { mkdirSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { parse } from "yaml";
import { isoline } from "./run.ts";

const SHOP = `apiVersion: contour.heptio.com/v1beta1
kind: IngressRoute
metadata: { name: shop }
spec:
  virtualhost: { fqdn: shop.example.com }
  routes:
    - match: /
      services: [{ name: web, port: 80 }]
---
apiVersion: v1
kind: Service
metadata: { name: web }
spec: { ports: [{ port: 80 }] }
`;

const WRONG = `apiVersion: contour.heptio.com/v1beta1
kind: IngressRoute
metadata: { name: wrong }
spec:
  virtualhost: { fqdn: wrong.example.com }
  routes:
    - match: /
      prefixRewite: /x
      services:
        - name: web
          port: 0
          weight: -1
        - { name: web, port: 81 }
---
apiVersion: contour.heptio.com/v1beta1
kind: IngressRoute
metadata: { name: orphan }
spec:
  routes:
    - match: /
      services: [{ name: web, port: 80 }]
---
apiVersion: v1
kind: Service
metadata: { name: typo }
spec: { ports: [{ port: "80" }] }
---
apiVersion: traefik.io/v1alpha1
kind: IngressRoute
`;

let folder: string;

beforeAll(() => {
  folder = mkdtempSync(join(tmpdir(), "isoline-cli-"));
  mkdirSync(join(folder, "empty"));
  writeFileSync(join(folder, "shop.yaml"), SHOP);
  mkdirSync(join(folder, "bad"));
  writeFileSync(join(folder, "bad/wrong.yaml"), WRONG);
  writeFileSync(join(folder, "bad/a.json"), '{"a": 1');
});

afterAll(() => rmSync(folder, { recursive: true, force: true }));

function run(args: readonly string[], input?: string, env?: Record<string, string>) {
  return isoline(args, {
    cwd: folder,
    ...(input === undefined ? {} : { input }),
    ...(env === undefined ? {} : { env }),
  });
}

describe("check", () => {
  test("says what was checked when nothing is wrong", () => {
    expect(run(["check", "shop.yaml"])).toEqual({
      code: 0,
      stdout: "checked 2 objects in 1 file: nothing wrong\n",
      stderr: "",
    });
    expect(run(["check", "empty"])).toMatchObject({ code: 0, stdout: "checked 0 objects in 0 files: nothing wrong\n" });
  });

  test("lists every problem by file and place", () => {
    const { code, stdout, stderr } = run(["check", "."]);
    expect({ code, stderr }).toEqual({ code: 1, stderr: "" });
    expect(stdout.split("\n")).toEqual([
      "bad/a.json:1:8: a bracket is not closed, or what stands in it is not indented: } expected",
      expect.stringMatching(/^bad\/wrong\.yaml:8:7: warning: route "\/": prefixRewite: unknown field.*prefixRewrite/),
      'bad/wrong.yaml:11:17: route "/": service "web": port 0 must be a number from 1 to 65535',
      'bad/wrong.yaml:12:19: route "/": service "web": weight must be greater than or equal to zero',
      'bad/wrong.yaml:13:11: route "/": service "web": the Service has no port 81, only 80',
      "bad/wrong.yaml:15:1: warning: no root IngressRoute delegates to this one, so nothing of it is served",
      "bad/wrong.yaml:26:25: spec.ports[0].port: must be a whole number, not a string",
      "bad/wrong.yaml:28:1: note: this is Traefik's IngressRoute, another API of the same name: not read",
      "",
    ]);
  });

  test("warnings and notes do not change the exit code", () => {
    const [, orphan = ""] = WRONG.split("---\n");
    expect(run(["check", "-"], orphan)).toEqual({
      code: 0,
      stdout: "(stdin):1:1: warning: no root IngressRoute delegates to this one, so nothing of it is served\n",
      stderr: "",
    });
  });

  test("warns of matches that are longer than a request may be", () => {
    const match = `/${"x".repeat(60 * 1024)}`;
    const path = `{ path: ${match}, pathType: Exact, backend: { service: { name: web, port: { number: 80 } } } }`;
    const ingress = `apiVersion: networking.k8s.io/v1
kind: Ingress
metadata: { name: long }
spec: { rules: [{ host: long.example.com, http: { paths: [${path}] } }] }
`;
    const { code, stdout } = run(["check", "-"], `${SHOP.replace("match: /", `match: ${match}`)}---\n${ingress}`);
    const warning =
      /^\(stdin\):\d+:\d+: warning: route ".*…": no request can match it: requests of more than 60 KiB are refused$/;
    expect({ code, lines: stdout.trimEnd().split("\n") }).toEqual({
      code: 0,
      lines: [expect.stringMatching(warning), expect.stringMatching(warning)],
    });
  });

  test("reads standard input beside files", () => {
    const { code, stdout } = run(["check", "shop.yaml", "-"], "a: b: c\n");
    expect({ code, stdout }).toEqual({
      code: 1,
      stdout: "(stdin):1:4: a second `key: value` within a value: check the indentation, or put the value in quotes\n",
    });
  });

  test("-o json gives the same as data, and an empty list when nothing is wrong", () => {
    const { code, stdout } = run(["check", "bad", "-o", "json"]);
    expect(code).toBe(1);
    expect(JSON.parse(stdout)[3]).toEqual({
      file: "bad/wrong.yaml",
      line: 12,
      column: 19,
      severity: "error",
      text: 'route "/": service "web": weight must be greater than or equal to zero',
      object: "IngressRoute/default/wrong",
      field: "spec.routes[0].services[0].weight",
      code: "WeightNegative",
    });
    expect(run(["check", "shop.yaml", "--output=json"])).toEqual({ code: 0, stdout: "[]\n", stderr: "" });
  });

  test("knows the flags and variables that decide what is right", () => {
    const namespaces = "--ingressroute-root-namespaces= roots , more";
    expect(run(["check", namespaces, "shop.yaml"])).toMatchObject({
      code: 1,
      stdout: expect.stringMatching(/^shop\.yaml:\d+:\d+: a root IngressRoute may not live in namespace "default"/),
    });
    const env = { ISOLINE_INGRESSROUTE_ROOT_NAMESPACES: "roots, default" };
    expect(run(["check", "shop.yaml"], undefined, env)).toMatchObject({ code: 0 });
    expect(run(["check", namespaces, "shop.yaml"], undefined, env)).toMatchObject({ code: 1 });
  });

  test("an object of another class is noted", () => {
    const other = SHOP.replace("name: shop", "name: shop, annotations: { kubernetes.io/ingress.class: nginx }");
    expect(run(["check", "-"], other)).toEqual({
      code: 0,
      stdout: '(stdin):1:1: note: default/shop is of ingress class "nginx": not served\n',
      stderr: "",
    });
    expect(run(["check", "--ingress-class-name", "nginx", "-"], other)).toMatchObject({ code: 0 });
  });

  test("what an object says never makes a second line", () => {
    const { stdout } = run(
      ["check", "-"],
      SHOP.replace("match: /", 'match: "x\\ny\\x1b"').replace("shop.ex", '"a\\nb'),
    );
    for (const line of stdout.trimEnd().split("\n")) expect(line).toMatch(/^\(stdin\):\d+:\d+: /);
    expect(stdout).not.toContain("\u001b");
  });

  test("a path that is not there is a usage error", () => {
    expect(run(["check", "shop.yaml", "nope"])).toEqual({
      code: 2,
      stdout: "",
      stderr: "isoline: nope does not exist\n",
    });
  });
});

describe("translate", () => {
  test("prints the resources by type in Envoy's own form", () => {
    const { code, stdout, stderr } = run(["translate", "shop.yaml", "--envoy-http-port", "8123"]);
    expect({ code, stderr }).toEqual({ code: 0, stderr: "" });
    const resources = parse(stdout);
    expect(Object.keys(resources)).toEqual(["cluster", "loadAssignment", "listener", "scopedRoute"]);
    expect(resources.listener[0].address.socket_address).toEqual({ address: "0.0.0.0", port_value: 8123 });
    expect(resources.scopedRoute).toEqual([expect.objectContaining({ name: "h|shop.example.com" })]);
    expect(resources.loadAssignment).toEqual([expect.objectContaining({ cluster_name: "default/web/" })]);
  });

  test("problems go to standard error; only what could not be read is a failure", () => {
    const wrong = run(["translate", "bad/wrong.yaml"]);
    expect(wrong.code).toBe(0);
    expect(wrong.stderr).toContain('bad/wrong.yaml:12:19: route "/": service "web": weight must be');
    // The host is known, so it is refused rather than left to wildcards.
    expect(Object.keys(parse(wrong.stdout))).toEqual(["listener", "scopedRoute"]);
    expect(run(["translate", "bad"])).toMatchObject({ code: 1, stderr: expect.stringMatching(/^bad\/a\.json:1:8: /) });
  });

  test("a reader that stops early is no failure", () => {
    const main = fileURLToPath(new URL("../../dist/main.js", import.meta.url));
    const examples = fileURLToPath(new URL("../../examples", import.meta.url));
    const command = `"$0" "$1" translate "$2" 2>&1 >&3 3>&- | cat >&2`;
    const { stderr } = spawnSync("bash", ["-c", `{ ${command}; } 3>&1 | head -c 1`, process.execPath, main, examples], {
      encoding: "utf8",
    });
    expect(stderr).not.toMatch(/EPIPE|^\s+at /m);
  });
});

describe("bootstrap", () => {
  test("writes YAML, or JSON by the name of the file", () => {
    const printed = run(["bootstrap", "-", "--xds-address", "isoline.example.com", "--insecure", "--node-id", "one"]);
    expect(printed).toMatchObject({ code: 0, stderr: "" });
    expect(parse(printed.stdout)).toMatchObject({
      node: { id: "one" },
      admin: { address: { pipe: { path: "@isoline-envoy-admin" } } },
    });
    for (const file of ["envoy.json", "envoy.yaml"]) {
      expect(run(["bootstrap", file, "--xds-port", "9001"])).toEqual({ code: 0, stdout: "", stderr: "" });
      const text = readFileSync(join(folder, file), "utf8");
      const config = file.endsWith(".json") ? JSON.parse(text) : parse(text);
      expect(JSON.stringify(config)).toContain('"socket_address":{"address":"127.0.0.1","port_value":9001}');
      rmSync(join(folder, file));
    }
  });

  test("a file that cannot be written is told in one line", () => {
    expect(run(["bootstrap", "nowhere/envoy.yaml"])).toEqual({
      code: 1,
      stdout: "",
      stderr: "isoline: ENOENT: no such file or directory, open 'nowhere/envoy.yaml'\n",
    });
  });
});

test.each<[string[], string]>([
  [[], "which command? See isoline --help"],
  [["chekc", "."], "unknown command 'chekc' (Did you mean check?)"],
  [["check"], "missing required argument 'paths'"],
  [["check", ".", "--otput", "json"], "unknown option '--otput' (Did you mean --output?)"],
  [["check", ".", "-o", "xml"], '--output must be one of text, json, not "xml"'],
  [["check", ".", "--kubeconfig", "x"], "unknown option '--kubeconfig'"],
  [["serve"], "serve needs --files, a folder, or --kubeconfig, to read objects from; or to run in a pod"],
  [["serve", "--files"], "option '--files <folder>' argument missing"],
  [
    ["serve", "--files", "x", "--envoy-htttp-port", "8443"],
    "unknown option '--envoy-htttp-port' (Did you mean --envoy-http-port?)",
  ],
])("isoline %j is a usage error of one line", (args, message) => {
  expect(run(args)).toEqual({ code: 2, stdout: "", stderr: `isoline: ${message}\n` });
});

test("--help and --version are no errors", () => {
  expect(run(["--version"])).toMatchObject({ code: 0, stderr: "" });
  expect(run(["serve", "--help"])).toMatchObject({
    code: 0,
    stdout: expect.stringContaining("--xds-port <port>"),
    stderr: "",
  });
});
