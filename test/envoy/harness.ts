import { spawn } from "node:child_process";
import { once } from "node:events";
import { mkdtemp, rm, writeFile } from "node:fs/promises";
import { createServer, type IncomingHttpHeaders, type RequestOptions, type Server, request as send } from "node:http";
import { createServer as createTcpServer, type Server as TcpServer } from "node:net";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { setTimeout as delay } from "node:timers/promises";
import { threadId } from "node:worker_threads";
import { type BootstrapOptions, bootstrap, type EnvoyLimits, type JsonObject } from "../../src/envoy/bootstrap.ts";

const LOOPBACK = "127.0.0.1";
const START_MS = 15_000;
const STOP_MS = 5_000;
const REQUEST_MS = 10_000;
const POLL_MS = 10;
/** More than any test needs. */
export const LIMITS: EnvoyLimits = { maxHeapMib: 4096, maxConnections: 10_000 };

export type EnvoyOptions = {
  readonly binary: string;
  /** How long it may take to become live. */
  readonly startMs?: number;
} & (
  | {
      readonly xdsPort: number;
      readonly nodeId?: string;
      /** Of the connection to the controller. */
      readonly tls?: NonNullable<BootstrapOptions["tls"]>;
      readonly limits?: Partial<EnvoyLimits>;
      readonly stats?: NonNullable<BootstrapOptions["stats"]>;
      /** Added to the bootstrap. */
      readonly bootstrap?: JsonObject;
    }
  /** A configuration of the test's own, with the admin on the given Unix socket. */
  | { readonly config: (admin: { readonly pipe: string }) => JsonObject }
);

export type Envoy = {
  readonly pid: number;
  /** What Envoy wrote so far. */
  readonly log: () => string;
  /** The lines of its access log so far. */
  readonly accessLog: () => readonly string[];
  /** The counters and gauges whose names match the regular expression. */
  readonly stats: (filter: string) => Promise<Map<string, number>>;
  /** How many responses from the controller Envoy refused, of all types. */
  readonly rejected: () => Promise<number>;
  /** What Envoy runs now, with endpoints, in Envoy's own JSON form. */
  readonly configDump: () => Promise<unknown>;
  readonly stop: () => Promise<void>;
};

/** Resolves when Envoy is live: with a controller, when it has sent clusters and listeners. */
export async function startEnvoy(options: EnvoyOptions): Promise<Envoy> {
  const folder = await mkdtemp(join(tmpdir(), "isoline-envoy-"));
  const admin = { pipe: join(folder, "admin.sock") };
  const config =
    "config" in options
      ? options.config(admin)
      : {
          ...bootstrap({
            xdsAddress: LOOPBACK,
            xdsPort: options.xdsPort,
            admin,
            limits: { ...LIMITS, ...options.limits },
            ...(options.stats === undefined ? {} : { stats: options.stats }),
            nodeId: options.nodeId ?? "test",
            ...(options.tls === undefined ? {} : { tls: options.tls }),
          }),
          ...options.bootstrap,
        };
  const configFile = join(folder, "envoy.json");
  await writeFile(configFile, JSON.stringify(config));

  const flags = [
    "--concurrency",
    "2",
    "--disable-hot-restart",
    "--drain-time-s",
    "1",
    "-l",
    "warn",
    "--file-flush-interval-msec",
    "50",
  ];
  const child = spawn(options.binary, ["-c", configFile, ...flags], { stdio: ["ignore", "pipe", "pipe"] });
  let log = "";
  let accessLog = "";
  child.stdout.setEncoding("utf8").on("data", (text: string) => {
    accessLog += text;
  });
  child.stderr.setEncoding("utf8").on("data", (text: string) => {
    log += text;
  });
  const exited = once(child, "close");
  const running = () => child.exitCode === null && child.signalCode === null;
  const kill = () => child.kill("SIGKILL");
  process.once("exit", kill);

  const stop = async () => {
    child.kill("SIGTERM");
    const killing = setTimeout(kill, STOP_MS);
    await exited;
    clearTimeout(killing);
    process.off("exit", kill);
    await rm(folder, { recursive: true, force: true });
  };
  const ask = async (path: string) => (await exchange({ socketPath: admin.pipe, path })).body;
  const stats = async (filter: string) => {
    const all: { readonly stats: readonly { readonly name?: string; readonly value?: unknown }[] } = JSON.parse(
      await ask(`/stats?format=json&filter=${encodeURIComponent(filter)}`),
    );
    const found = new Map<string, number>();
    for (const { name, value } of all.stats) {
      if (name !== undefined && typeof value === "number") found.set(name, value);
    }
    return found;
  };
  const rejected = async () => {
    let sum = 0;
    for (const count of (await stats("update_rejected$")).values()) sum += count;
    return sum;
  };

  try {
    // A dead Envoy ends the wait at once.
    await eventually(async () => !running() || (await ask("/ready")).trim() === "LIVE", options.startMs ?? START_MS);
    if (!running()) throw new Error("Envoy ended");
  } catch (error) {
    await stop();
    throw new Error(`Envoy did not start: ${error instanceof Error ? error.message : error}\n${log}`);
  }
  return {
    pid: child.pid ?? 0,
    log: () => log,
    accessLog: () => accessLog.split("\n").slice(0, -1),
    stats,
    rejected,
    configDump: async () => JSON.parse(await ask("/config_dump?include_eds")),
    stop,
  };
}

export type Reply = { readonly status: number; readonly headers: IncomingHttpHeaders; readonly body: string };

export type Request = {
  readonly port: number;
  /** The Host header: no name is looked up, the connection goes to the loopback. */
  readonly host: string;
  /** Sent as it stands. */
  readonly path: string;
  readonly method?: string;
  readonly headers?: Readonly<Record<string, string>>;
};

/** One HTTP/1.1 request on a connection of its own. */
export function request({ port, host, path, method, headers }: Request): Promise<Reply> {
  return exchange({ host: LOOPBACK, port, path, method: method ?? "GET", headers: { host, ...headers } });
}

async function exchange(options: RequestOptions): Promise<Reply> {
  return new Promise((resolve, reject) => {
    send({ ...options, agent: false, signal: AbortSignal.timeout(REQUEST_MS) }, (response) => {
      let body = "";
      response.setEncoding("utf8");
      response.on("data", (text: string) => {
        body += text;
      });
      response.on("error", reject);
      response.on("end", () => resolve({ status: response.statusCode ?? 0, headers: response.headers, body }));
    })
      .on("error", reject)
      .end();
  });
}

/** Repeats `check` until it neither throws nor returns false; after the deadline, fails as it did last. */
export async function eventually<T>(check: () => T | false | Promise<T | false>, deadlineMs: number): Promise<T> {
  const deadline = performance.now() + deadlineMs;
  for (;;) {
    let failure: unknown;
    try {
      const result = await check();
      if (result !== false) return result;
      failure = new Error("the condition did not become true");
    } catch (error) {
      failure = error;
    }
    if (performance.now() > deadline) throw failure;
    await delay(POLL_MS);
  }
}

/** Below the ports that systems give to whoever does not care. */
const FIRST_PORT = 20_000;
const PORTS = 12_000;
let nextPort = (process.pid * 61 + threadId * 997) % PORTS;

/**
 * A port of the loopback for somebody who is about to listen. It is not one that the system gives away meanwhile, and two
 * callers do not get the same.
 */
export async function freePort(): Promise<number> {
  for (;;) {
    const port = FIRST_PORT + (nextPort++ % PORTS);
    const server = createTcpServer().listen(port, LOOPBACK);
    try {
      await once(server, "listening");
    } catch (error) {
      if (error instanceof Error && "code" in error && error.code === "EADDRINUSE") continue;
      throw error;
    }
    await new Promise((done) => server.close(done));
    return port;
  }
}

export type ServicePort = { readonly service: string; readonly port: number };

/** What a backend answers, as JSON. */
export type Echo = ServicePort & {
  readonly method: string;
  readonly path: string;
  readonly headers: IncomingHttpHeaders;
};

export type Backends = {
  /** The port of the loopback where this port of the service listens. */
  readonly listeningPort: (service: string, port: number) => number;
  readonly stop: () => Promise<void>;
};

/** Starts an HTTP server for each port of a service; it answers with an {@link Echo}. */
export async function startBackends(servicePorts: readonly ServicePort[]): Promise<Backends> {
  const servers = servicePorts.map(echoServer);
  const ports = await Promise.all(servers.map(listen));
  return {
    listeningPort(service, port) {
      const found = ports[servicePorts.findIndex((pair) => pair.service === service && pair.port === port)];
      if (found === undefined) throw new Error(`no backend was started for ${service} port ${port}`);
      return found;
    },
    async stop() {
      await Promise.all(
        servers.map((server) => {
          const closed = once(server, "close");
          server.close();
          server.closeAllConnections();
          return closed;
        }),
      );
    },
  };
}

/** What the backend saw. */
export function echo(reply: Reply): Echo {
  return JSON.parse(reply.body);
}

function echoServer({ service, port }: ServicePort): Server {
  return createServer((incoming, response) => {
    const seen: Echo = {
      service,
      port,
      method: incoming.method ?? "",
      path: incoming.url ?? "",
      headers: incoming.headers,
    };
    response.setHeader("content-type", "application/json");
    response.end(JSON.stringify(seen));
  });
}

async function listen(server: TcpServer): Promise<number> {
  server.listen(0, LOOPBACK);
  await once(server, "listening");
  const address = server.address();
  if (address === null || typeof address === "string") throw new Error("not listening on a port");
  return address.port;
}
