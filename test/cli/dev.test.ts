import { type ChildProcess, spawn } from "node:child_process";
import { once } from "node:events";
import { existsSync } from "node:fs";
import { mkdtemp, readFile, rm, writeFile } from "node:fs/promises";
import { createServer } from "node:net";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterAll, beforeAll, expect, test } from "vitest";
import { withCertificates } from "../cases.ts";
import { eventually, freePort, request } from "../envoy/harness.ts";
import { describeWithEnvoy } from "../envoy/suite.ts";
import { rootYaml, serviceYaml } from "../objects.ts";
import { createAuthority } from "../parts/authority.ts";

const MAIN = new URL("../../dist/main.js", import.meta.url).pathname;
const START_MS = 20_000;
const CHANGE_MS = 5000;

const SECURE = withCertificates(`
apiVersion: contour.heptio.com/v1beta1
kind: IngressRoute
metadata: { name: secure }
spec:
  virtualhost: { fqdn: secure.example.com, tls: { secretName: secure } }
  routes: [{ match: /, services: [{ name: first, port: 80 }] }]
---
apiVersion: v1
kind: Secret
metadata: { name: secure }
type: kubernetes.io/tls
stringData: { tls.crt: <certificate secure.example.com>, tls.key: <key secure.example.com> }
`);

const TCP = withCertificates(`
apiVersion: contour.heptio.com/v1beta1
kind: IngressRoute
metadata: { name: tcp }
spec:
  virtualhost: { fqdn: tcp.example.com, tls: { secretName: tcp } }
  tcpproxy: { services: [{ name: first, port: 80 }] }
---
apiVersion: v1
kind: Secret
metadata: { name: tcp }
type: kubernetes.io/tls
stringData: { tls.crt: <certificate tcp.example.com>, tls.key: <key tcp.example.com> }
---
apiVersion: networking.k8s.io/v1
kind: Ingress
metadata: { name: acme }
spec:
  rules:
    - host: tcp.example.com
      http: { paths: [{ path: /acme, pathType: Prefix, backend: { service: { name: second, port: { number: 80 } } } }] }
`);

type Dev = { readonly child: ChildProcess; readonly output: () => string; readonly ended: Promise<unknown> };

function startDev(binary: string, args: readonly string[]): Dev {
  const child = spawn(process.execPath, [MAIN, "dev", "--envoy", binary, ...args], {
    stdio: ["ignore", "pipe", "pipe"],
  });
  let output = "";
  for (const stream of [child.stdout, child.stderr]) {
    stream?.setEncoding("utf8").on("data", (text: string) => {
      output += text;
    });
  }
  return { child, output: () => output, ended: once(child, "close") };
}

describeWithEnvoy("isoline dev", (binary) => {
  let folder: string;
  let port: number;
  let httpsPort: number;
  let dev: Dev;
  const file = (name: string) => join(folder, name);
  const route = (service: string) => `[{ match: /, services: [{ name: ${service}, port: 80 }] }]`;
  const answer = async (host: string) => {
    const { status, body } = await request({ port, host, path: "/" });
    return status === 200 ? JSON.parse(body).service : status;
  };

  beforeAll(async () => {
    folder = await mkdtemp(join(tmpdir(), "isoline-dev-"));
    await writeFile(file("one.yaml"), rootYaml("one", "one.example.com", route("first")) + serviceYaml("first"));
    await writeFile(file("two.yaml"), rootYaml("two", "two.example.com", route("second")) + serviceYaml("second"));
    await writeFile(file("secure.yaml"), SECURE);
    await writeFile(file("tcp.yaml"), TCP);
    [port, httpsPort] = [await freePort(), await freePort()];
    const ports = ["--envoy-http-port", String(port), "--envoy-https-port", String(httpsPort), "--http-port", "0"];
    dev = startDev(binary, [folder, "--echo", ...ports]);
    await eventually(() => dev.output().includes("Ctrl-C ends it"), START_MS);
  });
  afterAll(async () => {
    dev.child.kill("SIGKILL");
    await dev.ended;
    await rm(folder, { recursive: true });
  });

  test("prints each URL and what answers there, and it does", async () => {
    expect(dev.output()).toContain(`http://one.example.com:${port}/  default/first:80 (echo)\n`);
    expect(await answer("one.example.com")).toBe("default/first");
    expect(await answer("two.example.com")).toBe("default/second");
  });

  test("redirects to the port where it serves https, and says so", async () => {
    expect(dev.output()).toMatch(new RegExp(`http://secure\\.example\\.com:${port}/ +301 to https\n`));
    const { status, headers } = await request({ port, host: `secure.example.com:${port}`, path: "/x?y" });
    expect([status, headers.location]).toEqual([301, `https://secure.example.com:${httpsPort}/x?y`]);
  });

  test("prints what Ingresses have on the insecure port of a host whose connections are forwarded", async () => {
    expect(dev.output()).toMatch(new RegExp(`tls://tcp\\.example\\.com:${httpsPort} +default/first:80 \\(echo\\)\n`));
    expect(dev.output()).toContain(`http://tcp.example.com:${port}/acme  default/second:80 (echo)\n`);
    const { status, body } = await request({ port, host: "tcp.example.com", path: "/acme" });
    expect([status, JSON.parse(body).service]).toEqual([200, "default/second"]);
  });

  test("serves an edited file without a restart, and says so", async () => {
    await writeFile(file("one.yaml"), rootYaml("one", "one.example.com", route("second")) + serviceYaml("first"));
    await eventually(async () => (await answer("one.example.com")) === "default/second", CHANGE_MS);
    expect(dev.output()).toContain(`http://one.example.com:${port}/  default/second:80 (echo)\n`);
  });

  test("tells of a certificate that has expired when it comes with an edit, once for each host", async () => {
    const [notBefore, notAfter] = [new Date("2020-01-01T00:00:00Z"), new Date("2020-02-01T00:00:00Z")];
    const { certPem, keyPem } = createAuthority("test").issue({ names: ["old.example.com"], notBefore, notAfter });
    const yaml = (service: string) => `
apiVersion: contour.heptio.com/v1beta1
kind: IngressRoute
metadata: { name: old }
spec: { virtualhost: { fqdn: old.example.com, tls: { secretName: old } }, routes: ${route(service)} }
---
apiVersion: v1
kind: Secret
metadata: { name: old }
type: kubernetes.io/tls
stringData: ${JSON.stringify({ "tls.crt": certPem, "tls.key": keyPem })}
`;
    const warning = "old.example.com: warning: the certificate has expired on 2020-02-01T00:00:00.000Z";
    const url = `https://old.example.com:${httpsPort}/`;
    await writeFile(file("old.yaml"), yaml("first"));
    await eventually(() => dev.output().includes(warning), CHANGE_MS);
    expect(dev.output()).toContain(`${url}  default/first:80 (echo)\n`);
    await writeFile(file("old.yaml"), yaml("second"));
    await eventually(() => dev.output().includes(`${url}  default/second:80 (echo)\n`), CHANGE_MS);
    expect(dev.output().split(warning)).toHaveLength(2);
  });

  test("tells a mistake with its place, and every other host answers as before", async () => {
    await writeFile(file("one.yaml"), rootYaml("one", "one.example.com", "[{ match: blog }]") + serviceYaml("first"));
    await eventually(async () => (await answer("one.example.com")) === 404, CHANGE_MS);
    const line = dev
      .output()
      .split("\n")
      .find((text) => text.startsWith("default/one: invalid: "));
    expect(line).toBe(
      `default/one: invalid: route "blog": needs either services or delegate (${file("one.yaml")}:5:58)`,
    );
    expect(await answer("two.example.com")).toBe("default/second");
  });

  test("keeps what a file said before a syntax error, and tells where the error is", async () => {
    await writeFile(file("two.yaml"), "kind: [");
    await eventually(() => dev.output().includes(`${file("two.yaml")}:1:`), CHANGE_MS);
    expect(await answer("two.example.com")).toBe("default/second");
  });

  test("stops on Ctrl-C and leaves no process", async () => {
    const { pid } = dev.child;
    const children = (await readFile(`/proc/${pid}/task/${pid}/children`, "utf8")).trim().split(" ");
    expect(children).toHaveLength(1);
    dev.child.kill("SIGINT");
    expect(await dev.ended).toEqual([0, null]);
    for (const child of children) expect(existsSync(`/proc/${child}`)).toBe(false);
    expect(dev.output().endsWith("stopping\n")).toBe(true);
  });
});

describeWithEnvoy("isoline dev with a port in use", (binary) => {
  test.each(["--envoy-http-port", "--http-port", "--xds-port"])("says so in one line: %s", async (flag) => {
    const holder = createServer().listen(0, "127.0.0.1");
    await once(holder, "listening");
    const address = holder.address();
    const taken = String(typeof address === "object" ? address?.port : "");
    const ports = new Map([
      ["--envoy-http-port", String(await freePort())],
      ["--http-port", "0"],
      ["--xds-port", "0"],
    ]).set(flag, taken);
    const folder = await mkdtemp(join(tmpdir(), "isoline-dev-"));
    const dev = startDev(binary, [folder, ...[...ports].flat()]);
    expect(await dev.ended).toEqual([1, null]);
    expect(dev.output()).toMatch(/^isoline: .*\n$/);
    expect(dev.output()).toContain(`${taken}`);
    expect(dev.output()).toContain("in use");
    holder.close();
    await rm(folder, { recursive: true });
  });
});
