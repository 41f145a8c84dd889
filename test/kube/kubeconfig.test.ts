import { chmodSync, mkdirSync, writeFileSync } from "node:fs";
import { mkdtemp, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { inspect } from "node:util";
import { afterEach, beforeEach, describe, expect, test } from "vitest";
import { type Access, AccessError } from "../../src/kube/access.ts";
import { inClusterAccess, isInCluster } from "../../src/kube/in-cluster.ts";
import { loadKubeconfig } from "../../src/kube/kubeconfig.ts";

const SECRET = "c2VjcmV0";

let folder: string;
beforeEach(async () => {
  folder = await mkdtemp(join(tmpdir(), "isoline-kubeconfig-"));
});
afterEach(() => rm(folder, { recursive: true }));

function file(name: string, text: string): string {
  writeFileSync(join(folder, name), text);
  return join(folder, name);
}

function load(text: string, options: { readonly context?: string } = {}): Access {
  return loadKubeconfig(file("config", text), { env: { PATH: process.env.PATH }, ...options });
}

/** One cluster and one user, with these fields. */
function config(cluster: string, user = "{}"): string {
  return `
apiVersion: v1
kind: Config
current-context: here
contexts: [{ name: here, context: { cluster: c, user: u, namespace: ns } }]
clusters: [{ name: c, cluster: ${cluster} }]
users: [{ name: u, user: ${user} }]
`;
}

function refusal(work: () => unknown): string {
  try {
    work();
  } catch (error) {
    expect(inspect(error, { depth: 10 })).not.toContain(SECRET);
    if (error instanceof AccessError) return error.message.replaceAll(`${folder}/`, "");
    throw error;
  }
  return "";
}

async function failure(work: Promise<unknown>): Promise<string> {
  const error: unknown = await work.then(
    () => undefined,
    (reason: unknown) => reason,
  );
  expect(inspect(error, { depth: 10 })).not.toContain(SECRET);
  expect(error).toMatchObject({ name: "ConnectionError", fault: "credentials" });
  return (error as Error).message.replaceAll(`${folder}/`, "");
}

const identityOf = (access: Access) => access.credentials.identity();
const base64 = (text: string) => Buffer.from(text).toString("base64");

describe("a kubeconfig", () => {
  test("gives the server of its current context, with authority, certificate and namespace", async () => {
    file("key.pem", "KEY\n");
    const cluster = `{ server: "https://[2001:db8::1]:6443/", certificate-authority-data: ${base64("CA")}, tls-server-name: kube }`;
    const access = load(config(cluster, `{ client-certificate-data: ${base64("CERT")}, client-key: key.pem }`));
    expect(access).toMatchObject({
      server: "https://[2001:db8::1]:6443",
      tls: { serverName: "kube", isInsecure: false },
      namespace: "ns",
    });
    expect(await access.tls.authority?.read()).toBe("CA");
    expect(await identityOf(access)).toEqual({
      authorization: undefined,
      certificate: { certPem: "CERT", keyPem: "KEY" },
    });
  });

  test("can be JSON, and another of its contexts be asked for", () => {
    const text = JSON.stringify({
      "current-context": "a",
      contexts: [
        { name: "a", context: { cluster: "a" } },
        { name: "b", context: { cluster: "b" } },
      ],
      clusters: [
        { name: "a", cluster: { server: "https://a.example.com" } },
        { name: "b", cluster: { server: "https://b.example.com/k8s/b/", "insecure-skip-tls-verify": true } },
      ],
    });
    expect(load(text)).toMatchObject({ server: "https://a.example.com", namespace: undefined });
    expect(load(text, { context: "b" })).toMatchObject({
      server: "https://b.example.com/k8s/b",
      tls: { isInsecure: true, authority: undefined },
    });
    expect(refusal(() => load(text, { context: "c" }))).toBe('the kubeconfig config: contexts has no entry "c"');
  });

  test.each([
    ["{ token: one }", "Bearer one"],
    ["{ token: one, tokenFile: token }", "Bearer two"],
    [`{ token: "" , username: me, password: "" }`, `Basic ${base64("me:")}`],
    ["{}", undefined],
  ])("shows what it says: %s", async (user, authorization) => {
    file("token", "two\n");
    expect(await identityOf(load(config("{ server: https://a }", user)))).toEqual({
      authorization,
      certificate: undefined,
    });
  });

  test.each([
    ["{", "config:1:2 is not YAML"],
    [`users: [{ token: ${SECRET} }`, "config:1:28 is not YAML"],
    ["[]", "config must be an object"],
    ["{}", "config: current-context is not set"],
    ["current-context: x", 'config: contexts has no entry "x"'],
    [config("{}"), "config: clusters[0].cluster.server is not set"],
    [config("{ server: a.example.com }"), "config: clusters[0].cluster.server must be a URL with https or http"],
    [
      config(`{ server: "https://me:${SECRET}@a" }`),
      "config: clusters[0].cluster.server must be a URL of nothing but scheme, host, port and path",
    ],
    [
      config("{ server: https://a, proxy-url: http://proxy }"),
      "config: clusters[0].cluster.proxy-url is not supported: proxies are not used",
    ],
    [
      config("{ server: https://a, certificate-authority-data: -----BEGIN }"),
      "config: clusters[0].cluster.certificate-authority-data must be base64",
    ],
    [
      config(`{ server: https://a, insecure-skip-tls-verify: true, certificate-authority: ca }`),
      "config: clusters[0].cluster.insecure-skip-tls-verify contradicts the certificate-authority",
    ],
    [config("{ server: https://a }", "{ token: 12345 }"), "config: users[0].user.token must be a string"],
    [
      config("{ server: http://a.example.com }", `{ token: ${SECRET} }`),
      "config: clusters[0].cluster.server is http on another machine: credentials are not sent in clear text",
    ],
    [
      config("{ server: https://a }", `{ client-key-data: ${SECRET} }`),
      "config: users[0].user needs a client-certificate and a client-key, or neither",
    ],
    [
      config("{ server: https://a }", `{ token: ${SECRET}, as: admin }`),
      "config: users[0].user.as is not supported: impersonation",
    ],
    [
      config("{ server: https://a }", "{ auth-provider: { name: gcp } }"),
      "config: users[0].user.auth-provider is not supported any more: use exec",
    ],
    [config("{ server: https://a }", "{ exec: {} }"), "config: users[0].user.exec.command is not set"],
    [
      config("{ server: https://a }", "{ exec: { command: x, apiVersion: client.authentication.k8s.io/v1alpha1 } }"),
      "config: users[0].user.exec.apiVersion must be client.authentication.k8s.io/v1 or client.authentication.k8s.io/v1beta1",
    ],
    [
      config(
        "{ server: https://a }",
        "{ exec: { command: x, apiVersion: client.authentication.k8s.io/v1, interactiveMode: Always } }",
      ),
      "config: users[0].user.exec.interactiveMode is Always, and here is nobody to ask",
    ],
  ])("is refused with a reason: $1", (text, reason) => {
    expect(refusal(() => load(text))).toBe(`the kubeconfig ${reason}`);
  });

  test("that is not there is told", () => {
    const missing = join(folder, "missing");
    expect(refusal(() => loadKubeconfig(missing, { env: {} }))).toBe("the kubeconfig missing cannot be read (ENOENT)");
  });

  test("allows a proxy on this machine, as that of kubectl", async () => {
    const access = load(config("{ server: http://127.0.0.1:8001 }", "{ token: one }"));
    expect(await identityOf(access)).toMatchObject({ authorization: "Bearer one" });
  });
});

describe("a credential plugin", () => {
  const API = "client.authentication.k8s.io/v1";
  /** A program that notes each of its runs in a file and then does what the text says. */
  const plugin = (script: string, extra = "") => {
    mkdirSync(join(folder, "bin"), { recursive: true });
    const path = file("bin/plugin", `#!/bin/sh\necho run >> '${folder}/runs'\n${script}\n`);
    chmodSync(path, 0o755);
    const exec = `{ apiVersion: ${API}, command: ./bin/plugin, args: ["a b", "$(touch ${folder}/shell)"]${extra} }`;
    return load(config("{ server: https://a, tls-server-name: kube }", `{ exec: ${exec} }`));
  };
  const credential = (status: object, apiVersion = API) =>
    `cat <<'END'\n${JSON.stringify({ apiVersion, kind: "ExecCredential", status })}\nEND`;
  const runs = async () => (await import("node:fs/promises")).readFile(join(folder, "runs"), "utf8");

  test("gives a token, once for all who ask, and again when that is not believed", async () => {
    const access = plugin(credential({ token: "one" }));
    const all = await Promise.all([identityOf(access), identityOf(access), identityOf(access)]);
    expect(all.map(({ authorization }) => authorization)).toEqual(["Bearer one", "Bearer one", "Bearer one"]);
    expect(await runs()).toBe("run\n");
    access.credentials.forget();
    await identityOf(access);
    expect(await runs()).toBe("run\nrun\n");
  });

  test("gives a certificate", async () => {
    const access = plugin(credential({ clientCertificateData: "CERT", clientKeyData: "KEY" }));
    expect(await identityOf(access)).toEqual({
      authorization: undefined,
      certificate: { certPem: "CERT", keyPem: "KEY" },
    });
  });

  test("gets its arguments and environment as they are, without a shell", async () => {
    const access = plugin(
      `printf '%s|' "$@" "$OWN" "$KUBERNETES_EXEC_INFO" > '${folder}/seen'; ${credential({ token: "one" })}`,
      `, env: [{ name: OWN, value: "mine; exit" }], provideClusterInfo: true`,
    );
    await identityOf(access);
    const { readFileSync, existsSync } = await import("node:fs");
    const [first, second, own, info = ""] = readFileSync(join(folder, "seen"), "utf8").split("|");
    expect([first, second, own]).toEqual(["a b", `$(touch ${folder}/shell)`, "mine; exit"]);
    expect(existsSync(join(folder, "shell"))).toBe(false);
    expect(JSON.parse(info)).toEqual({
      apiVersion: API,
      kind: "ExecCredential",
      spec: { interactive: false, cluster: { server: "https://a", "tls-server-name": "kube" } },
    });
  });

  test.each([
    ["exit 3", 'the credential plugin "./bin/plugin" ended with 3'],
    [
      `echo '${SECRET}'; echo 'log in first' >&2; exit 1`,
      'the credential plugin "./bin/plugin" ended with 1: log in first',
    ],
    [`echo '${SECRET}'`, 'the credential plugin "./bin/plugin" printed something that is not JSON'],
    [
      credential({ token: SECRET }, "client.authentication.k8s.io/v1beta1"),
      `the credential plugin "./bin/plugin" printed something other than a ${API} ExecCredential`,
    ],
    [credential({}), 'the credential plugin "./bin/plugin" printed neither a token nor a client certificate'],
    [
      credential({ clientKeyData: SECRET }),
      'the credential plugin "./bin/plugin" printed only one of clientCertificateData and clientKeyData',
    ],
    [
      credential({ token: SECRET, expirationTimestamp: "soon" }),
      'the credential plugin "./bin/plugin" printed an expirationTimestamp that is no time',
    ],
    [
      credential({ token: `${SECRET} x` }),
      "the token for the API server holds blanks or other characters that no token has",
    ],
    [
      "while :; do echo xxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxx; done",
      'the credential plugin "./bin/plugin" printed too much',
    ],
  ])("that does not do its work is told, without what it printed: $1", async (script, message) => {
    expect(await failure(identityOf(plugin(script)))).toBe(message);
  });

  test("that is not there is told, with what its kubeconfig says of that", async () => {
    const exec = `{ apiVersion: ${API}, command: no-such-plugin, installHint: "get it\\nfrom there" }`;
    const access = load(config("{ server: https://a }", `{ exec: ${exec} }`));
    expect(await failure(identityOf(access))).toBe(
      'the credential plugin "no-such-plugin" is not there: get it from there',
    );
    file("data", "x");
    const data = load(config("{ server: https://a }", `{ exec: { apiVersion: ${API}, command: ./data } }`));
    expect(await failure(identityOf(data))).toBe('the credential plugin "./data" cannot be run (EACCES)');
  });
});

describe("in a cluster", () => {
  const env = { KUBERNETES_SERVICE_HOST: "10.96.0.1", KUBERNETES_SERVICE_PORT: "443" };

  test("the pod's ServiceAccount is used, at an IPv6 address too", async () => {
    for (const [name, text] of Object.entries({ token: "one\n", "ca.crt": "CA\n", namespace: "isoline\n" }))
      file(name, text);
    const access = inClusterAccess(env, folder);
    expect(access).toMatchObject({ server: "https://10.96.0.1:443", namespace: "isoline" });
    expect(await access.tls.authority?.read()).toBe("CA");
    expect(await identityOf(access)).toMatchObject({ authorization: "Bearer one" });
    const { server } = inClusterAccess({ ...env, KUBERNETES_SERVICE_HOST: "fd00::1" }, folder);
    expect(server).toBe("https://[fd00::1]:443");
  });

  test("what is missing is told", () => {
    expect(isInCluster({})).toBe(false);
    expect(isInCluster(env)).toBe(true);
    expect(refusal(() => inClusterAccess({}, folder))).toMatch(/^this is no pod: /);
    expect(refusal(() => inClusterAccess(env, folder))).toBe(
      "this pod has no ServiceAccount token: namespace cannot be read",
    );
  });
});
