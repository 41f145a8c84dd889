import { readFileSync } from "node:fs";
import { dirname, resolve } from "node:path";
import { parseDocument } from "yaml";
import { type Access, AccessError, type Credentials, type TextSource } from "./access.ts";
import { DeclaredCredentials, FileText, fixedText } from "./credentials.ts";
import { EXEC_API_VERSIONS, ExecPlugin } from "./exec-plugin.ts";

export type KubeconfigOptions = {
  /** The one to use; the file's `current-context` if not given. */
  readonly context?: string;
  /** What credential plugins get to see, beside what the file gives them. */
  readonly env: Readonly<Record<string, string | undefined>>;
};

/** The access that a kubeconfig describes. Throws an {@link AccessError}, which never holds a value of the file. */
export function loadKubeconfig(file: string, options: KubeconfigOptions): Access {
  const root = open(file);
  const contextName = options.context ?? root.string("current-context");
  if (contextName === undefined) throw root.wrong("current-context", "is not set");
  const context = entry(root, "contexts", contextName).object("context");
  const clusterName = context.string("cluster");
  if (clusterName === undefined) throw context.wrong("cluster", "is not set");
  const cluster = entry(root, "clusters", clusterName).object("cluster");
  const userName = context.string("user");
  const user = userName === undefined ? undefined : entry(root, "users", userName).object("user");

  const server = serverOf(cluster);
  const tls: Access["tls"] = {
    authority: cluster.text("certificate-authority"),
    serverName: cluster.string("tls-server-name"),
    isInsecure: cluster.boolean("insecure-skip-tls-verify") ?? false,
  };
  // The same contradiction as for kubectl: nobody should believe in an authority that is not looked at.
  if (tls.isInsecure && tls.authority !== undefined) {
    throw cluster.wrong("insecure-skip-tls-verify", "contradicts the certificate-authority");
  }
  if (cluster.string("proxy-url") !== undefined)
    throw cluster.wrong("proxy-url", "is not supported: proxies are not used");
  return {
    server,
    tls,
    credentials: user === undefined ? new DeclaredCredentials({}) : credentialsOf(user, cluster, server, options),
    namespace: context.string("namespace"),
  };
}

function serverOf(cluster: Fields): string {
  const text = cluster.string("server");
  if (text === undefined) throw cluster.wrong("server", "is not set");
  const url = URL.canParse(text) ? new URL(text) : undefined;
  if (url === undefined || (url.protocol !== "https:" && url.protocol !== "http:")) {
    throw cluster.wrong("server", "must be a URL with https or http");
  }
  if (url.username !== "" || url.password !== "" || url.search !== "" || url.hash !== "") {
    throw cluster.wrong("server", "must be a URL of nothing but scheme, host, port and path");
  }
  return `${url.origin}${url.pathname.replace(/\/+$/, "")}`;
}

function credentialsOf(user: Fields, cluster: Fields, server: string, options: KubeconfigOptions): Credentials {
  // Left out, these would make the requests somebody else's.
  for (const key of ["as", "as-uid", "as-groups", "as-user-extra"]) {
    if (user.has(key)) throw user.wrong(key, "is not supported: impersonation");
  }
  if (user.has("auth-provider")) throw user.wrong("auth-provider", "is not supported any more: use exec");
  const certPem = user.text("client-certificate");
  const keyPem = user.text("client-key");
  if ((certPem === undefined) !== (keyPem === undefined)) {
    throw user.wrong("", "needs a client-certificate and a client-key, or neither");
  }
  const certificate = certPem && keyPem && { certPem, keyPem };
  const username = user.string("username");
  const tokenFile = user.string("tokenFile");
  const token = user.string("token");
  const isHeader = user.has("exec") || username !== undefined || tokenFile !== undefined || token !== undefined;
  if (isHeader && server.startsWith("http:") && !isLoopback(server)) {
    throw cluster.wrong("server", "is http on another machine: credentials are not sent in clear text");
  }
  const declared = new DeclaredCredentials({
    certificate,
    token: tokenOf(user, token, tokenFile),
    basic: username === undefined ? undefined : { username, password: user.string("password") ?? "" },
  });
  if (!user.has("exec")) return declared;
  return execPlugin(user.object("exec"), cluster, options, async () => (await declared.identity()).certificate);
}

/** As for kubectl, the file goes first. */
function tokenOf(user: Fields, token: string | undefined, file: string | undefined): TextSource | undefined {
  if (file !== undefined) return new FileText(user.path(file));
  return token === undefined ? undefined : fixedText(token);
}

function execPlugin(
  exec: Fields,
  cluster: Fields,
  { env }: KubeconfigOptions,
  certificate: ConstructorParameters<typeof ExecPlugin>[0]["certificate"],
): ExecPlugin {
  const command = exec.string("command");
  if (command === undefined) throw exec.wrong("command", "is not set");
  const apiVersion = exec.string("apiVersion") ?? "";
  if (!EXEC_API_VERSIONS.includes(apiVersion)) {
    throw exec.wrong("apiVersion", `must be ${EXEC_API_VERSIONS.join(" or ")}`);
  }
  if (exec.string("interactiveMode") === "Always") {
    throw exec.wrong("interactiveMode", "is Always, and here is nobody to ask");
  }
  const own = exec.list("env").map((variable) => [variable.string("name") ?? "", variable.string("value") ?? ""]);
  return new ExecPlugin({
    apiVersion,
    command,
    args: exec.strings("args"),
    env: { ...env, ...Object.fromEntries(own) },
    installHint: exec.string("installHint"),
    cluster: exec.boolean("provideClusterInfo") === true ? clusterInfo(cluster) : undefined,
    file: exec.file,
    certificate,
  });
}

/** The fields of the kubeconfig's cluster, which those of ExecCredential are named after. */
function clusterInfo(cluster: Fields): unknown {
  const config = cluster.list("extensions").find((each) => each.string("name") === "client.authentication.k8s.io/exec");
  const authorityFile = cluster.string("certificate-authority");
  return {
    server: cluster.string("server"),
    "tls-server-name": cluster.string("tls-server-name"),
    "insecure-skip-tls-verify": cluster.boolean("insecure-skip-tls-verify"),
    "certificate-authority-data":
      cluster.string("certificate-authority-data") ??
      (authorityFile === undefined ? undefined : readFileSync(cluster.path(authorityFile)).toString("base64")),
    config: config?.raw("extension"),
  };
}

function isLoopback(server: string): boolean {
  return /^http:\/\/(localhost|127\.\d+\.\d+\.\d+|\[::1\])(:|\/|$)/.test(server);
}

function open(file: string): Fields {
  let text: string;
  try {
    text = readFileSync(file, "utf8");
  } catch (cause) {
    const why = cause instanceof Error && "code" in cause ? ` (${cause.code})` : "";
    throw new AccessError(`the kubeconfig ${file} cannot be read${why}`, { cause });
  }
  // Pretty errors quote the source, which holds tokens and keys.
  const document = parseDocument(text, { version: "1.1", prettyErrors: false });
  const [error] = document.errors;
  if (error !== undefined) {
    const lines = text.slice(0, error.pos[0]).split("\n");
    const place = `${lines.length}:${(lines.at(-1)?.length ?? 0) + 1}`;
    throw new AccessError(`the kubeconfig ${file}:${place} is not YAML`);
  }
  return new Fields(document.toJS(), "", file);
}

/** The entry of that name in one of the three lists. */
function entry(root: Fields, list: string, name: string): Fields {
  const found = root.list(list).find((each) => each.string("name") === name);
  if (found === undefined) throw root.wrong(list, `has no entry ${JSON.stringify(name)}`);
  return found;
}

/** Reads fields of a kubeconfig; what is not as it should be throws, naming file and field and no value. */
class Fields {
  readonly file: string;
  readonly #at: string;
  readonly #raw: ReadonlyMap<string, unknown>;

  constructor(raw: unknown, at: string, file: string) {
    this.file = file;
    this.#at = at;
    if (typeof raw !== "object" || raw === null || Array.isArray(raw)) throw this.wrong("", "must be an object");
    this.#raw = new Map(Object.entries(raw));
  }

  wrong(key: string, what: string): AccessError {
    const field = this.#pathOf(key);
    return new AccessError(`the kubeconfig ${this.file}${field === "" ? "" : `: ${field}`} ${what}`);
  }

  raw(key: string): unknown {
    return this.#raw.get(key) ?? undefined;
  }

  has(key: string): boolean {
    return this.raw(key) !== undefined;
  }

  /** Undefined also for an empty one, which is how kubectl writes what is not set. */
  string(key: string): string | undefined {
    const value = this.raw(key);
    if (value !== undefined && typeof value !== "string") throw this.wrong(key, "must be a string");
    return value === "" ? undefined : value;
  }

  boolean(key: string): boolean | undefined {
    const value = this.raw(key);
    if (value !== undefined && typeof value !== "boolean") throw this.wrong(key, "must be true or false");
    return value;
  }

  object(key: string): Fields {
    return new Fields(this.raw(key), this.#pathOf(key), this.file);
  }

  list(key: string): readonly Fields[] {
    return this.#items(key).map((item, i) => new Fields(item, `${this.#pathOf(key)}[${i}]`, this.file));
  }

  strings(key: string): readonly string[] {
    return this.#items(key).map((item) => {
      if (typeof item !== "string") throw this.wrong(key, "must be a list of strings");
      return item;
    });
  }

  /** What is in the file of this name, or inline in base64 under the name with `-data`, which goes first. */
  text(key: string): TextSource | undefined {
    const data = this.string(`${key}-data`);
    if (data !== undefined) {
      if (!/^[A-Za-z0-9+/\s]+=*\s*$/.test(data)) throw this.wrong(`${key}-data`, "must be base64");
      return fixedText(Buffer.from(data, "base64").toString());
    }
    const path = this.string(key);
    return path === undefined ? undefined : new FileText(this.path(path));
  }

  /** Paths in a kubeconfig are relative to its folder. */
  path(path: string): string {
    return resolve(dirname(this.file), path);
  }

  #items(key: string): readonly unknown[] {
    const value = this.raw(key) ?? [];
    if (!Array.isArray(value)) throw this.wrong(key, "must be a list");
    return value;
  }

  #pathOf(key: string): string {
    if (key === "") return this.#at;
    return this.#at === "" ? key : `${this.#at}.${key}`;
  }
}
