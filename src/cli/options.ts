import { hostname } from "node:os";
import { Command, CommanderError } from "commander";
import { isName, isNamespace } from "../api/names.ts";
import type { Settings } from "../controller/settings.ts";
import type { BootstrapOptions, EnvoyLimits } from "../envoy/bootstrap.ts";
import { inClusterAccess, isInCluster } from "../kube/in-cluster.ts";
import { loadKubeconfig } from "../kube/kubeconfig.ts";
import { addressOf } from "../status/ingress-status.ts";
import type { LoadBalancer } from "../status/reporter.ts";
import type { CertgenOptions } from "./certgen.ts";
import type { DevOptions } from "./dev.ts";
import { envoySearch } from "./envoy-binary.ts";
import {
  addFlags,
  addressFlag,
  choiceFlag,
  countFlag,
  type Flag,
  hostFlag,
  hostsFlag,
  isLoopback,
  loopbackFlag,
  namespacesFlag,
  portFlag,
  readFlag,
  serviceFlag,
  switchFlag,
  textFlag,
  UsageError,
} from "./flags.ts";
import type { ObjectSource, ServeOptions } from "./serve.ts";
import { readWebhook, WEBHOOK_FLAGS } from "./webhook.ts";
import type { XdsTls } from "./xds-credentials.ts";

/** What decides how objects are translated. */
export type CoreOptions = Omit<Settings, "envoy">;

/** `file` may be "-" for standard output. */
export type BootstrapCommandOptions = { readonly file: string; readonly bootstrap: BootstrapOptions };

/** `paths` may hold "-" for standard input. */
export type CheckOptions = CoreOptions & { readonly paths: readonly string[]; readonly output: "text" | "json" };

export type TranslateCommandOptions = Settings & { readonly paths: readonly string[] };

export type CommandLine =
  | { readonly command: "serve"; readonly options: ServeOptions }
  | { readonly command: "dev"; readonly options: DevOptions }
  | { readonly command: "bootstrap"; readonly options: BootstrapCommandOptions }
  | { readonly command: "certgen"; readonly options: CertgenOptions }
  | { readonly command: "check"; readonly options: CheckOptions }
  | { readonly command: "translate"; readonly options: TranslateCommandOptions }
  /** Help or the version was asked for, and has been printed. */
  | { readonly command: "none" };

/** No port, so that nothing that Envoy can be made to connect to, such as an ExternalName that is a name of 127.0.0.1, leads there. */
const DEFAULT_ADMIN_PIPE = "@isoline-envoy-admin";

const FILES = textFlag("files", "folder", "read objects from the YAML and JSON files below this folder", undefined);
const KUBECONFIG = textFlag(
  "kubeconfig",
  "file",
  "read objects from the API server that this file names; in a pod, from that of its cluster if neither is given",
  undefined,
);
const STATUS_ADDRESSES = hostsFlag(
  "ingress-status-address",
  "addresses or host names, separated by commas, to write to the status of Ingresses: where clients find them",
);
const STATUS_SERVICE = serviceFlag(
  "ingress-status-service",
  "the Service in front of the Envoys, as namespace/name, whose addresses to write there instead",
);
const DEFAULT_NAMESPACE = "isoline";
/** Of certificates: a hundred years. */
const MAX_DAYS = 36_500;
const LEASE_NAMESPACE = textFlag(
  "leader-election-namespace",
  "name",
  "namespace of the Lease by which one replica is the one that writes statuses; that of the pod if not given, with a kubeconfig isoline",
  undefined,
);
const LEASE_NAME = textFlag("leader-election-name", "name", "name of that Lease", "isoline");
const XDS_ADDRESS = addressFlag("xds-address", "address that Envoys connect to", "127.0.0.1");
const XDS_PORT = portFlag("xds-port", "port that Envoys connect to; 0 is any", 8001, 0);
const XDS_CERT = textFlag("xds-cert-file", "file", "certificate of this side of the xDS connection", undefined);
const XDS_KEY = textFlag("xds-key-file", "file", "key of that certificate", undefined);
const XDS_CA = textFlag("xds-ca-file", "file", "authority that issued the other side's certificate", undefined);
const INSECURE = switchFlag("insecure", "xDS without TLS; the default only on a loopback address");
const HTTP_ADDRESS = addressFlag("http-address", "address of health, metrics and the API", "127.0.0.1");
const HTTP_PORT = portFlag("http-port", "port of health, metrics and the API; 0 is any", 8000, 0);
const HEALTH_PORT = portFlag(
  "health-port",
  "port of health and metrics alone, for probes and scrapers from elsewhere; none if not given; 0 is any",
  undefined,
  0,
);
const HEALTH_ADDRESS = addressFlag("health-address", "address of that", "127.0.0.1");
const ENVOY_ADDRESS = addressFlag("envoy-address", "address that Envoy listens on", "0.0.0.0");
const ENVOY_HTTP_PORT = portFlag("envoy-http-port", "port that Envoy listens on for HTTP", 8080, 1);
const ENVOY_HTTPS_PORT = portFlag("envoy-https-port", "port that Envoy listens on for HTTPS and TLS", 8443, 1);
const REDIRECT_PORT = portFlag(
  "envoy-https-redirect-port",
  "port that redirects to https name, if it is not 443",
  undefined,
  1,
);
const LOG_LEVEL = choiceFlag(
  "log-level",
  "trace, debug, info, warn, error or fatal",
  ["trace", "debug", "info", "warn", "error", "fatal"],
  "info",
);
const LOG_FORMAT = choiceFlag("log-format", "how to write the log", ["text", "json"], "text");
const ROOT_NAMESPACES = namespacesFlag(
  "ingressroute-root-namespaces",
  "namespaces where a root IngressRoute may live, separated by commas; any if not given",
);
const INGRESS_CLASS = textFlag(
  "ingress-class-name",
  "name",
  "serve objects of this class, and those without one",
  "contour",
);
const DISABLE_PERMIT_INSECURE = switchFlag("disable-permit-insecure", "ignore permitInsecure on all routes");
const ALLOW_LOOPBACK = switchFlag(
  "allow-loopback-external-name",
  "let ExternalName Services lead to Envoy's own machine",
);
const MAX_HEALTH_CHECK_CONNECTIONS = countFlag(
  "max-health-check-connections",
  "how many connections the health checks of one namespace may take of each Envoy",
  8192,
  1,
);
const ECHO = switchFlag("echo", "answer for every Service that has no EndpointSlice, saying which one was asked");
const ENVOY = textFlag(
  "envoy",
  "path",
  "the Envoy to run; else $ENVOY_BIN, one on the PATH, or one that is fetched",
  undefined,
);
const ADMIN_PIPE = textFlag(
  "admin-pipe",
  "path",
  `Unix socket of Envoy's admin interface; one that begins with @ is no file; ${DEFAULT_ADMIN_PIPE} if not given`,
  undefined,
);
const ADMIN_PORT = portFlag("admin-port", "have it on this port of a loopback address instead", undefined, 1);
const ADMIN_ADDRESS = loopbackFlag("admin-address", "that loopback address, 127.0.0.1 if not given");
const STATS_ADDRESS = addressFlag("stats-address", "address of Envoy's /ready and /stats/prometheus", "127.0.0.1");
const STATS_PORT = portFlag("stats-port", "port of Envoy's /ready and /stats/prometheus", 8002, 1);
const MAX_HEAP = countFlag("envoy-max-heap-mib", "MiB of memory near which Envoy begins to refuse work", 2048, 1);
const MAX_CONNECTIONS = countFlag("envoy-max-connections", "how many connections of clients Envoy accepts", 50_000, 1);
const ACCESS_LOG = choiceFlag(
  "envoy-access-log",
  "whether Envoy writes a line of JSON for each request to its standard output",
  ["on", "off"],
  "on",
);
const TRUSTED_HOPS = countFlag(
  "envoy-trusted-hops",
  "how many proxies in front of Envoy are believed in what they say of clients, such as x-forwarded-for; with 0, that is removed",
  0,
  0,
);
const CONTROLLER_ADDRESS = hostFlag(
  "xds-address",
  "host name or address of the controller, as Envoy reaches it",
  "127.0.0.1",
);
const CONTROLLER_PORT = portFlag("xds-port", "port of the controller", 8001, 1);
const OUTPUT = { ...choiceFlag("output", "how to write what was found", ["text", "json"], "text"), letter: "o" };

const MINIMUM_TLS = choiceFlag(
  "tls-minimum-protocol-version",
  "serve no host with an older version of TLS than this",
  ["1.1", "1.2", "1.3"],
  "1.1",
);

const CORE_FLAGS = [
  ...[ROOT_NAMESPACES, INGRESS_CLASS, DISABLE_PERMIT_INSECURE, MINIMUM_TLS, ALLOW_LOOPBACK],
  MAX_HEALTH_CHECK_CONNECTIONS,
];
const ENVOY_FLAGS = [ENVOY_HTTP_PORT, ENVOY_HTTPS_PORT, REDIRECT_PORT, TRUSTED_HOPS];
const TLS_FLAGS = [XDS_CERT, XDS_KEY, XDS_CA, INSECURE];
const LOG_FLAGS = [LOG_LEVEL, LOG_FORMAT];

/** Reads the command line and the environment, the only place to do so. Throws a {@link UsageError}. */
export function readCommandLine(args: readonly string[], version: string): CommandLine {
  const { env } = process;
  let chosen: CommandLine = { command: "none" };
  const program = new Command("isoline")
    .description("A Kubernetes ingress controller: programs Envoy from IngressRoute objects.")
    .version(version)
    .addHelpText("after", "\nEvery --flag-name can also be set as the environment variable ISOLINE_FLAG_NAME.")
    .exitOverride()
    .configureOutput({ writeErr: () => {} }); // told by whoever catches the UsageError
  const command = (usage: string, description: string, flags: readonly Flag<unknown>[]) =>
    addFlags(program.command(usage).description(description), flags);

  const serve = command("serve", "run the controller", [
    ...[FILES, KUBECONFIG, LEASE_NAMESPACE, LEASE_NAME, STATUS_ADDRESSES, STATUS_SERVICE],
    ...[XDS_ADDRESS, XDS_PORT, ...TLS_FLAGS],
    ...[HTTP_ADDRESS, HTTP_PORT, HEALTH_ADDRESS, HEALTH_PORT],
    ...[ENVOY_ADDRESS, ...ENVOY_FLAGS, ACCESS_LOG],
    ...WEBHOOK_FLAGS,
    ...[...CORE_FLAGS, ...LOG_FLAGS],
  ]).action(() => {
    const read = <T>(flag: Flag<T>): T => readFlag(serve, env, flag);
    const objects = objectSource(read, env, `isoline/${version}`);
    const address = read(XDS_ADDRESS);
    const xds = { address, port: read(XDS_PORT), tls: tlsFiles(read, address) };
    const envoy = envoyListeners(read, ENVOY_ADDRESS, ACCESS_LOG);
    const interfaces = { http: http(read), ...health(read) };
    chosen = { command: "serve", options: { ...core(read), objects, xds, envoy, ...interfaces, log: log(read) } };
  });

  const devAddress = { ...ENVOY_ADDRESS, fallback: "127.0.0.1" };
  // What a log says below an error, dev says in words of its own.
  const devLevel = { ...LOG_LEVEL, fallback: "error" };
  // What it tells of objects would be lost among requests.
  const devAccessLog: typeof ACCESS_LOG = { ...ACCESS_LOG, fallback: "off" };
  // Its own Envoy is told which port it is.
  const devPort = { ...XDS_PORT, fallback: 0 };
  const dev = command("dev <folder>", "run the controller and an Envoy on this machine, from a folder of files", [
    ...[ECHO, ENVOY, devPort, HTTP_ADDRESS, HTTP_PORT, devAddress, ...ENVOY_FLAGS],
    ...[devAccessLog, MAX_HEAP, MAX_CONNECTIONS],
    ...[...CORE_FLAGS, devLevel, LOG_FORMAT],
  ]).action((folder: string) => {
    const read = <T>(flag: Flag<T>): T => readFlag(dev, env, flag);
    const envoy = envoyListeners(read, devAddress, devAccessLog);
    const options = {
      files: folder,
      echo: read(ECHO),
      envoySearch: envoySearch(env, read(ENVOY), (line) => process.stderr.write(`${line}\n`)),
      xds: { address: "127.0.0.1", port: read(devPort), tls: undefined },
      // Nothing stands in front of it, so clients find its ports where it listens.
      envoy: { ...envoy, redirectPort: envoy.redirectPort ?? envoy.httpsPort },
      envoyLimits: envoyLimits(read),
    };
    const devLog = { level: read(devLevel), format: read(LOG_FORMAT) };
    chosen = { command: "dev", options: { ...core(read), ...options, http: http(read), log: devLog } };
  });

  const nodeId = textFlag("node-id", "name", "tells several Envoys apart", hostname());
  const bootstrap = command(
    "bootstrap <file>",
    "write the configuration to start an Envoy with (- is standard output)",
    [
      ...[CONTROLLER_ADDRESS, CONTROLLER_PORT, ...TLS_FLAGS, nodeId],
      ...[STATS_ADDRESS, STATS_PORT, ADMIN_PIPE, ADMIN_PORT, ADMIN_ADDRESS, MAX_HEAP, MAX_CONNECTIONS],
    ],
  ).action((file: string) => {
    const read = <T>(flag: Flag<T>): T => readFlag(bootstrap, env, flag);
    const xdsAddress = read(CONTROLLER_ADDRESS);
    const stats = { address: read(STATS_ADDRESS), port: read(STATS_PORT) };
    const tls = tlsFiles(read, xdsAddress);
    const xds = { xdsAddress, xdsPort: read(CONTROLLER_PORT), ...(tls === undefined ? {} : { tls }) };
    const options = { ...xds, admin: admin(read), stats, limits: envoyLimits(read), nodeId: read(nodeId) };
    chosen = { command: "bootstrap", options: { file, bootstrap: options } };
  });

  const namespace = textFlag("namespace", "name", "namespace of the Secrets and the controller", DEFAULT_NAMESPACE);
  const days = countFlag("days", "for how many days they are good", 3650, 1);
  const certgen = command(
    "certgen <file>",
    "write the Secrets with which the controller and its Envoys trust each other (- is standard output)",
    [namespace, days],
  ).action((file: string) => {
    const read = <T>(flag: Flag<T>): T => readFlag(certgen, env, flag);
    const options = { file, namespace: read(namespace), days: read(days) };
    if (!isNamespace(options.namespace)) throw new UsageError("--namespace must be the name of a namespace");
    if (options.days > MAX_DAYS) throw new UsageError(`--days must be ${MAX_DAYS} at most`);
    chosen = { command: "certgen", options };
  });

  const check = command(
    "check <paths...>",
    "tell what is wrong with the objects in files and folders (- is standard input)",
    [...CORE_FLAGS, OUTPUT],
  ).action((paths: readonly string[]) => {
    const read = <T>(flag: Flag<T>): T => readFlag(check, env, flag);
    chosen = { command: "check", options: { ...core(read), paths, output: read(OUTPUT) } };
  });

  const translate = command(
    "translate <paths...>",
    "print what Envoy would be sent for the objects in files and folders",
    [...CORE_FLAGS, ENVOY_ADDRESS, ...ENVOY_FLAGS, ACCESS_LOG],
  ).action((paths: readonly string[]) => {
    const read = <T>(flag: Flag<T>): T => readFlag(translate, env, flag);
    const envoy = envoyListeners(read, ENVOY_ADDRESS, ACCESS_LOG);
    chosen = { command: "translate", options: { ...core(read), paths, envoy } };
  });

  try {
    program.parse(args, { from: "user" });
  } catch (error) {
    if (!(error instanceof CommanderError)) throw error;
    if (error.code === "commander.help") throw new UsageError("which command? See isoline --help");
    if (error.exitCode !== 0) throw new UsageError(error.message.replace(/^error: /, "").replace(/\s*\n\s*/g, " "));
  }
  return chosen;
}

type Read = <T>(flag: Flag<T>) => T;

function core(read: Read): CoreOptions {
  return {
    rootNamespaces: read(ROOT_NAMESPACES),
    ingressClass: read(INGRESS_CLASS),
    allowLoopbackExternalName: read(ALLOW_LOOPBACK),
    disablePermitInsecure: read(DISABLE_PERMIT_INSECURE),
    minimumTlsVersion: read(MINIMUM_TLS),
    maxHealthCheckConnections: read(MAX_HEALTH_CHECK_CONNECTIONS),
  };
}

function objectSource(read: Read, env: NodeJS.ProcessEnv, userAgent: string): ObjectSource {
  const [folder, file, webhook] = [read(FILES), read(KUBECONFIG), readWebhook(read)];
  const loadBalancer = readLoadBalancer(read);
  if (folder !== undefined) {
    if (file !== undefined) throw new UsageError("--files contradicts --kubeconfig");
    if (webhook !== undefined)
      throw new UsageError("--files contradicts --webhook-port: no API server asks about files");
    if (loadBalancer.kind !== "none") throw new UsageError("only objects of a cluster have a status: --files has none");
    return { kind: "files", folder };
  }
  // In a pod that is the same by itself, unless it is in its node's network.
  const instance = env.POD_NAME || hostname();
  const lease = readLease(read);
  const cluster = { kind: "cluster", userAgent, webhook, loadBalancer, instance, lease } as const;
  if (file !== undefined) {
    // The namespace of a context is where its user works, not where controllers run.
    const shared = { ...lease, namespace: lease.namespace ?? DEFAULT_NAMESPACE };
    return { ...cluster, lease: shared, access: () => loadKubeconfig(file, { env }) };
  }
  if (isInCluster(env)) return { ...cluster, access: () => inClusterAccess(env) };
  throw new UsageError("serve needs --files, a folder, or --kubeconfig, to read objects from; or to run in a pod");
}

function readLease(read: Read): { readonly namespace: string | undefined; readonly name: string } {
  const [namespace, name] = [read(LEASE_NAMESPACE), read(LEASE_NAME)];
  if (namespace !== undefined && !isNamespace(namespace)) {
    throw new UsageError("--leader-election-namespace must be the name of a namespace");
  }
  if (!isName(name)) throw new UsageError("--leader-election-name must be the name of a Lease");
  return { namespace, name };
}

function readLoadBalancer(read: Read): LoadBalancer {
  const [addresses, service] = [read(STATUS_ADDRESSES), read(STATUS_SERVICE)];
  if (addresses.length === 0) return service === undefined ? { kind: "none" } : { kind: "service", ...service };
  if (service !== undefined) throw new UsageError("--ingress-status-address contradicts --ingress-status-service");
  return { kind: "addresses", addresses: addresses.map(addressOf) };
}

function envoyListeners(read: Read, address: Flag<string>, accessLog: typeof ACCESS_LOG): Settings["envoy"] {
  return {
    address: read(address),
    httpPort: read(ENVOY_HTTP_PORT),
    httpsPort: read(ENVOY_HTTPS_PORT),
    accessLog: read(accessLog) === "on",
    trustedHops: read(TRUSTED_HOPS),
    redirectPort: read(REDIRECT_PORT),
  };
}

function envoyLimits(read: Read): EnvoyLimits {
  return { maxHeapMib: read(MAX_HEAP), maxConnections: read(MAX_CONNECTIONS) };
}

function admin(read: Read): BootstrapOptions["admin"] {
  const [pipe, port, address] = [read(ADMIN_PIPE), read(ADMIN_PORT), read(ADMIN_ADDRESS)];
  if (port === undefined) {
    if (address !== undefined) throw new UsageError("--admin-address needs --admin-port");
    return { pipe: pipe ?? DEFAULT_ADMIN_PIPE };
  }
  if (pipe !== undefined) throw new UsageError("--admin-pipe contradicts --admin-port");
  return { address: address ?? "127.0.0.1", port };
}

function http(read: Read): ServeOptions["http"] {
  return { address: read(HTTP_ADDRESS), port: read(HTTP_PORT) };
}

function health(read: Read): Pick<ServeOptions, "health"> {
  const port = read(HEALTH_PORT);
  return port === undefined ? {} : { health: { address: read(HEALTH_ADDRESS), port } };
}

function log(read: Read): ServeOptions["log"] {
  return { level: read(LOG_LEVEL), format: read(LOG_FORMAT) };
}

/** Whoever reaches the xDS port without TLS can read every key that Envoy is sent, so that is never what one gets by accident. */
function tlsFiles(read: Read, xdsAddress: string): XdsTls | undefined {
  const [certFile, keyFile, caFile] = [read(XDS_CERT), read(XDS_KEY), read(XDS_CA)];
  const all = "--xds-cert-file, --xds-key-file and --xds-ca-file";
  if (certFile !== undefined && keyFile !== undefined && caFile !== undefined) {
    if (read(INSECURE)) throw new UsageError(`--insecure contradicts ${all}`);
    return { certFile, keyFile, caFile };
  }
  if (certFile !== undefined || keyFile !== undefined || caFile !== undefined) {
    throw new UsageError(`${all} are needed together`);
  }
  if (read(INSECURE) || isLoopback(xdsAddress)) return undefined;
  throw new UsageError(`xDS on ${xdsAddress} can be reached from other machines: ${all} are needed, or --insecure`);
}
