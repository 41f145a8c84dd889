import { type ChildProcess, spawn } from "node:child_process";
import { createPrivateKey, createPublicKey, sign } from "node:crypto";
import { mkdtemp, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { eventually, freePort } from "../envoy/harness.ts";
import { createAuthority, ecKey } from "./authority.ts";
import { KubeAdmin } from "./kube-admin.ts";

const LOOPBACK = "127.0.0.1";
/** Where pods find it: the first address of Services. */
const IN_CLUSTER = "10.96.0.1";
const ISSUER = "https://kubernetes.default.svc";
const ADMIN_TOKEN = "admin";
const NOBODY_TOKEN = "nobody";
const READYZ = { method: "GET", path: "/readyz" } as const;
const READY_MS = 30_000;
const HOUR_SECONDS = 3_600;
/** For clocks that disagree, an API server takes a token for so long after its end. */
const LEEWAY_SECONDS = 60;
/** Of what a process wrote, for the message when it ends early. */
const LOG_TAIL = 8_000;

export type ApiServerOptions = {
  /** The folder of kube-apiserver and etcd; that of `$KUBEBUILDER_ASSETS` if not given. */
  readonly binaries?: string;
  /** Turns API priority and fairness on, which is off otherwise. Administrators are never turned away. */
  readonly fairness?: boolean;
  /** More flags, or others in place of ours: the last one counts. */
  readonly flags?: readonly string[];
};

/** What may be told of a server to another process: plain data. */
export type ApiServerAddress = {
  readonly url: string;
  readonly caPem: string;
  /** Of a user who may do everything. */
  readonly adminToken: string;
  /** Of a user without any rights but those of everybody who is authenticated. */
  readonly nobodyToken: string;
  /** The key that signs the tokens of service accounts. */
  readonly serviceAccountKeyPem: string;
};

export type ApiServer = ApiServerAddress & {
  readonly pid: () => number;
  /** What the API server wrote last. */
  readonly log: () => string;
  /** Ends the API server at once; etcd goes on. */
  readonly kill: () => Promise<void>;
  /** Starts it again on the same port and data; resolves when it is ready. */
  readonly start: () => Promise<void>;
  /** {@link kill}, then {@link start}. A resource version from before is then too old for a watch. */
  readonly restart: () => Promise<void>;
  /** Ends both and removes their data. */
  readonly stop: () => Promise<void>;
};

/** Starts etcd and kube-apiserver on the loopback; resolves when the API server is ready. */
export async function startApiServer(options: ApiServerOptions = {}): Promise<ApiServer> {
  const binaries = options.binaries ?? process.env.KUBEBUILDER_ASSETS;
  if (binaries === undefined) throw new Error("KUBEBUILDER_ASSETS is not set: run this test by npm test");
  const folder = await mkdtemp(join(tmpdir(), "isoline-api-"));
  const [etcdPort, peerPort, port] = [await freePort(), await freePort(), await freePort()];

  const authority = createAuthority("test cluster");
  const { certPem, keyPem } = authority.issue({ names: [LOOPBACK, "localhost", IN_CLUSTER] });
  const serviceAccountKeyPem = ecKey().privateKey.export({ type: "pkcs8", format: "pem" }).toString();
  const file = async (name: string, text: string) => {
    const path = join(folder, name);
    await writeFile(path, text, { mode: 0o600 });
    return path;
  };
  const address: ApiServerAddress = {
    url: `https://${LOOPBACK}:${port}`,
    caPem: authority.rootPem,
    adminToken: ADMIN_TOKEN,
    nobodyToken: NOBODY_TOKEN,
    serviceAccountKeyPem,
  };

  const etcdUrl = `http://${LOOPBACK}:${etcdPort}`;
  const peerUrl = `http://${LOOPBACK}:${peerPort}`;
  const etcdFlags = [
    `--data-dir=${join(folder, "etcd")}`,
    `--listen-client-urls=${etcdUrl}`,
    `--advertise-client-urls=${etcdUrl}`,
    `--listen-peer-urls=${peerUrl}`,
    `--initial-advertise-peer-urls=${peerUrl}`,
    `--initial-cluster=default=${peerUrl}`,
    "--unsafe-no-fsync",
    "--log-level=error",
  ];
  const tokens = `${ADMIN_TOKEN},admin,admin,"system:masters"\n${NOBODY_TOKEN},nobody,nobody\n`;
  const apiFlags = [
    `--etcd-servers=${etcdUrl}`,
    `--bind-address=${LOOPBACK}`,
    `--secure-port=${port}`,
    `--tls-cert-file=${await file("server.pem", certPem)}`,
    `--tls-private-key-file=${await file("server.key", keyPem)}`,
    `--client-ca-file=${await file("ca.pem", authority.rootPem)}`,
    `--token-auth-file=${await file("tokens.csv", tokens)}`,
    "--authorization-mode=RBAC",
    `--service-account-issuer=${ISSUER}`,
    `--service-account-key-file=${await file("service-accounts.pub", publicPem(serviceAccountKeyPem))}`,
    `--service-account-signing-key-file=${await file("service-accounts.key", serviceAccountKeyPem)}`,
    // It wants a controller that makes the default account of each namespace.
    "--disable-admission-plugins=ServiceAccount",
    "--service-cluster-ip-range=10.96.0.0/16",
    // Else it looks for an interface other than the loopback, and does not start without one.
    "--endpoint-reconciler-type=none",
    `--advertise-address=${LOOPBACK}`,
    `--enable-priority-and-fairness=${options.fairness ?? false}`,
    ...(options.flags ?? []),
  ];

  const etcd = run(join(binaries, "etcd"), etcdFlags);
  const admin = adminOf(address);
  let api: Running | undefined;

  const kill = async () => {
    await api?.kill();
    api = undefined;
  };
  const start = async () => {
    if (api !== undefined) throw new Error("the API server is running");
    const started = run(join(binaries, "kube-apiserver"), apiFlags);
    api = started;
    // A dead process ends the wait at once.
    const isReady = async () => !started.isAlive() || !etcd.isAlive() || (await admin.text(READYZ)) === "ok";
    await eventually(isReady, READY_MS).catch((error: unknown) => {
      throw new Error(`the API server did not become ready: ${error}\n${started.log()}`);
    });
    for (const [name, { isAlive, log }] of Object.entries({ etcd, "kube-apiserver": started })) {
      if (!isAlive()) throw new Error(`${name} ended: ${log()}`);
    }
  };
  const stop = async () => {
    await admin.close();
    // SIGTERM would drain for seconds, and leaves an API server without its etcd running.
    await kill();
    await etcd.kill();
    await rm(folder, { recursive: true, force: true });
  };
  try {
    await start();
  } catch (error) {
    await stop();
    throw error;
  }
  return {
    ...address,
    pid: () => api?.process.pid ?? 0,
    log: () => api?.log() ?? "",
    kill,
    start,
    restart: async () => {
      await kill();
      await start();
    },
    stop,
  };
}

/** A client who may do everything. */
export function adminOf(server: ApiServerAddress): KubeAdmin {
  return new KubeAdmin({ url: server.url, caPem: server.caPem, token: server.adminToken });
}

/** A kubeconfig for whoever has the token, in JSON, which is YAML. */
export function kubeconfig({ url, caPem }: Pick<ApiServerAddress, "url" | "caPem">, token: string): string {
  const name = "test";
  return JSON.stringify({
    apiVersion: "v1",
    kind: "Config",
    "current-context": name,
    clusters: [{ name, cluster: { server: url, "certificate-authority-data": base64(caPem) } }],
    users: [{ name, user: { token } }],
    contexts: [{ name, context: { cluster: name, user: name } }],
  });
}

export type ServiceAccountRef = { readonly namespace: string; readonly name: string };

/** A token of a service account, which is made if it does not exist. The API server issues it, for an hour. */
export async function serviceAccountToken(admin: KubeAdmin, { namespace, name }: ServiceAccountRef): Promise<string> {
  await admin.apply({ apiVersion: "v1", kind: "ServiceAccount", metadata: { namespace, name } });
  const { status } = await admin.request<{ readonly status: { readonly token: string } }>({
    method: "POST",
    path: `/api/v1/namespaces/${namespace}/serviceaccounts/${name}/token`,
    body: {
      apiVersion: "authentication.k8s.io/v1",
      kind: "TokenRequest",
      spec: { audiences: [ISSUER], expirationSeconds: HOUR_SECONDS },
    },
  });
  return status.token;
}

/**
 * A token of a service account that the API server takes for some seconds; it issues none for less than ten minutes. A
 * token that it has seen in time stays good for some ten seconds more.
 */
export async function shortToken(
  server: ApiServerAddress,
  admin: KubeAdmin,
  { namespace, name }: ServiceAccountRef,
  seconds: number,
): Promise<string> {
  const { metadata } = await admin.apply({ apiVersion: "v1", kind: "ServiceAccount", metadata: { namespace, name } });
  const now = Math.floor(Date.now() / 1_000);
  const part = (value: unknown) => Buffer.from(JSON.stringify(value)).toString("base64url");
  const claims = {
    iss: ISSUER,
    aud: [ISSUER],
    sub: `system:serviceaccount:${namespace}:${name}`,
    iat: now - HOUR_SECONDS,
    nbf: now - HOUR_SECONDS,
    exp: now + seconds - LEEWAY_SECONDS,
    "kubernetes.io": { namespace, serviceaccount: { name, uid: metadata.uid } },
  };
  const signed = `${part({ alg: "ES256", typ: "JWT" })}.${part(claims)}`;
  const key = { key: createPrivateKey(server.serviceAccountKeyPem), dsaEncoding: "ieee-p1363" } as const;
  return `${signed}.${sign("sha256", Buffer.from(signed), key).toString("base64url")}`;
}

export type RoleRef = { readonly kind: "ClusterRole" | "Role"; readonly name: string };

/**
 * A token whose user may do what these roles say and nothing more: that of a new service account in the namespace. A
 * ClusterRole is bound everywhere, a Role in its own namespace, which is this one.
 */
export async function tokenBoundTo(admin: KubeAdmin, namespace: string, roles: readonly RoleRef[]): Promise<string> {
  const { metadata } = await admin.request({
    method: "POST",
    path: `/api/v1/namespaces/${namespace}/serviceaccounts`,
    body: { apiVersion: "v1", kind: "ServiceAccount", metadata: { generateName: "bound-" } },
  });
  for (const [at, { kind, name }] of roles.entries()) {
    const binding = `${namespace}-${metadata.name}-${at}`;
    await admin.create({
      apiVersion: "rbac.authorization.k8s.io/v1",
      kind: `${kind}Binding`,
      metadata: { name: binding, ...(kind === "Role" ? { namespace } : {}) },
      roleRef: { apiGroup: "rbac.authorization.k8s.io", kind, name },
      subjects: [{ kind: "ServiceAccount", namespace, name: metadata.name }],
    });
  }
  return serviceAccountToken(admin, { namespace, name: metadata.name });
}

type Running = {
  readonly process: ChildProcess;
  readonly isAlive: () => boolean;
  readonly log: () => string;
  readonly kill: () => Promise<void>;
};

function run(binary: string, flags: readonly string[]): Running {
  const child = spawn(binary, flags, { stdio: ["ignore", "ignore", "pipe"] });
  let log = "";
  child.stderr.setEncoding("utf8").on("data", (text: string) => {
    log = (log + text).slice(-LOG_TAIL);
  });
  let failure: Error | undefined;
  child.on("error", (error) => {
    failure = error;
  });
  const closed = new Promise<void>((resolve) => child.once("close", () => resolve()));
  const end = () => child.kill("SIGKILL");
  process.once("exit", end);
  return {
    process: child,
    isAlive: () => failure === undefined && child.exitCode === null && child.signalCode === null,
    log: () => failure?.message ?? log,
    kill: async () => {
      end();
      await closed;
      process.off("exit", end);
    },
  };
}

function publicPem(privatePem: string): string {
  return createPublicKey(createPrivateKey(privatePem)).export({ type: "spki", format: "pem" }).toString();
}

function base64(text: string): string {
  return Buffer.from(text).toString("base64");
}
