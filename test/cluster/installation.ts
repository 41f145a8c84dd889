import { mkdtemp, readFile, rm, writeFile } from "node:fs/promises";
import { createServer } from "node:http";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { expect } from "vitest";
import { type Envoy, eventually, freePort, type Reply, request, startEnvoy } from "../envoy/harness.ts";
import { type ApiServer, adminOf, kubeconfig, startApiServer, tokenBoundTo } from "../parts/api-server.ts";
import { deployed, installDefinitions } from "../parts/deploy.ts";
import { type FaultProxy, isWatch, type ProxiedRequest, startFaultProxy } from "../parts/fault-proxy.ts";
import type { KubeAdmin, KubeObject } from "../parts/kube-admin.ts";
import { type Listening, listening } from "../parts/listening.ts";
import { type Balancer, startBalancer } from "./balancer.ts";
import { type Load, startLoad } from "./load.ts";
import { type Program, startProgram } from "./program.ts";

/** Of the Lease. */
const NAMESPACE = "isoline";
const LEASE = { kind: "Lease", namespace: NAMESPACE, name: "isoline" } as const;
/** For whatever is not the taking over of a Lease, however busy the machine is. */
export const SOON_MS = 20_000;
/** For what waits until a Lease has run out. */
export const TAKEOVER_MS = 40_000;

/** One `isoline serve` with a fault proxy between it and the API server. */
export type Replica = Program & { readonly proxy: FaultProxy };

type Signal = Parameters<Program["end"]>[0];

/** A write to the status of an IngressRoute that the API server has taken. */
export type StatusWrite = {
  readonly route: string;
  readonly uid: string;
  /** Of the object that it tells of. */
  readonly generation: number;
};

export type ToldOptions = { readonly deadlineMs?: number; readonly programmed?: "True" | "Unknown" };

/** Lets the API server keep account of writes to statuses, those that were refused too. */
const AUDIT_POLICY = {
  apiVersion: "audit.k8s.io/v1",
  kind: "Policy",
  omitStages: ["RequestReceived"],
  rules: [
    {
      level: "Request",
      verbs: ["patch", "update"],
      resources: [{ group: "contour.heptio.com", resources: ["ingressroutes/status"] }],
    },
    { level: "None" },
  ],
};

/** An API server with what deploy/ has, replicas of the built program behind a Service, an Envoy, and two backends. */
export class Installation {
  readonly server: ApiServer;
  readonly admin: KubeAdmin;
  /** Where Envoy serves. */
  readonly httpPort: number;
  readonly #folder: string;
  readonly #token: string;
  readonly #binary: string;
  readonly #balancer: Balancer;
  readonly #backends: readonly Listening[];
  #ready = new Map<Replica, number>();
  #replicas: Replica[] = [];
  #envoy: Envoy | undefined;
  #loads: Load[] = [];
  #routes: string[] = [];

  /** `binary` is Envoy's. */
  static async start(binary: string): Promise<Installation> {
    const folder = await mkdtemp(join(tmpdir(), "isoline-installation-"));
    const policy = join(folder, "audit.json");
    await writeFile(policy, JSON.stringify(AUDIT_POLICY));
    const flags = [`--audit-policy-file=${policy}`, `--audit-log-path=${join(folder, "audit.log")}`];
    const server = await startApiServer({ flags });
    const admin = adminOf(server);
    await installDefinitions(admin);
    await admin.apply({ apiVersion: "v1", kind: "Namespace", metadata: { name: NAMESPACE } });
    for (const object of [...deployed("rbac.yaml"), ...deployed("lease.yaml")]) await admin.apply(object);
    const token = await tokenBoundTo(admin, NAMESPACE, [
      { kind: "ClusterRole", name: "isoline" },
      { kind: "Role", name: "isoline" },
    ]);
    const backends = await Promise.all(["blue", "green"].map((name, at) => startBackend(name, `10.244.200.${at + 1}`)));
    const installation = new Installation({
      ...{ server, admin, folder, token, binary, backends },
      balancer: await startBalancer(),
      httpPort: await freePort(),
    });
    for (const [at, name] of ["blue", "green"].entries()) {
      for (const object of serviceAndSlice(name, backends[at])) await admin.apply(object);
    }
    return installation;
  }

  private constructor(parts: {
    readonly server: ApiServer;
    readonly admin: KubeAdmin;
    readonly folder: string;
    readonly token: string;
    readonly binary: string;
    readonly balancer: Balancer;
    readonly backends: readonly Listening[];
    readonly httpPort: number;
  }) {
    this.server = parts.server;
    this.admin = parts.admin;
    this.httpPort = parts.httpPort;
    this.#folder = parts.folder;
    this.#token = parts.token;
    this.#binary = parts.binary;
    this.#balancer = parts.balancer;
    this.#backends = parts.backends;
  }

  /** Starts another replica; resolves when it is ready, and Envoys are led to it. Its clock may be wrong. */
  async startReplica(pod: string, skewMs = 0): Promise<Replica> {
    const proxy = await startFaultProxy(this.server);
    const file = join(this.#folder, `${pod}.kubeconfig`);
    await writeFile(file, kubeconfig(proxy, this.#token));
    const program = startProgram(
      { POD_NAME: pod, ...(skewMs === 0 ? {} : { NODE_OPTIONS: `--import=${wrongClock(skewMs)}` }) },
      ...["--kubeconfig", file, "--leader-election-namespace", NAMESPACE],
      ...["--envoy-address", "127.0.0.1", "--envoy-http-port", `${this.httpPort}`, "--envoy-access-log", "off"],
    );
    const replica: Replica = { ...program, proxy, end: (signal: Signal) => this.#end(replica, program, signal) };
    this.#replicas.push(replica);
    await eventually(async () => (await replica.get("/readyz")).status === 200, SOON_MS);
    this.#ready.set(replica, Number(replica.lines.find(({ msg }) => msg === "started")?.xds));
    this.#balance();
    return replica;
  }

  /** Starts the Envoy, which connects to one of the replicas, or to this one. */
  async startEnvoy(replica?: Replica): Promise<Envoy> {
    if (replica !== undefined) this.#balancer.leadTo([this.#ready.get(replica) ?? 0]);
    this.#envoy = await startEnvoy({ binary: this.#binary, xdsPort: this.#balancer.port });
    return this.#envoy;
  }

  /** Starts clients of these routes. */
  load(routes: readonly string[]): Load {
    const load = startLoad(this.httpPort, routes.map(hostOf));
    this.#loads.push(load);
    return load;
  }

  /** Lets a root lead to one of the backends; with a weight below 0 it is invalid. Resolves to its generation. */
  async route(name: string, backend: "blue" | "green", weight = 1): Promise<number> {
    this.#routes.push(name);
    const { metadata } = await this.admin.apply({
      apiVersion: "contour.heptio.com/v1beta1",
      kind: "IngressRoute",
      metadata: { namespace: NAMESPACE, name },
      spec: specOf(name, backend, weight),
    });
    return Number(metadata.generation);
  }

  /** As {@link route}, for one that exists. */
  async lead(name: string, backend: "blue" | "green"): Promise<void> {
    await this.admin.patch({ kind: "IngressRoute", namespace: NAMESPACE, name }, { spec: specOf(name, backend, 1) });
  }

  async remove(route: string): Promise<void> {
    await this.admin.remove({ kind: "IngressRoute", namespace: NAMESPACE, name: route });
  }

  get(route: string): Promise<Reply> {
    return request({ port: this.httpPort, host: hostOf(route), path: "/" });
  }

  /** Resolves when Envoy answers by this backend. */
  async served(route: string, backend: string): Promise<void> {
    await eventually(async () => {
      const { status, body } = await this.get(route);
      expect({ status, body }).toEqual({ status: 200, body: backend });
    }, SOON_MS);
  }

  /**
   * Resolves when all IngressRoutes say of their last generation what is true of them: by name, whether they are valid. The
   * replica that leads knows whether they are programmed if it is the one that Envoy is connected to.
   */
  async told(expected: ReadonlyMap<string, "valid" | "invalid">, options: ToldOptions = {}): Promise<void> {
    const { deadlineMs = SOON_MS, programmed = "True" } = options;
    await eventually(async () => {
      const { items } = await this.admin.list("IngressRoute");
      const found = new Map(items.map((item) => [item.metadata.name, statusOf(item)]));
      for (const [name, currentStatus] of expected)
        expect({ name, status: found.get(name) }).toEqual({ name, status: told(currentStatus, programmed) });
      expect(found.size).toBe(expected.size);
    }, deadlineMs);
  }

  /** All that were taken so far, since the start of the API server. */
  async statusWrites(): Promise<readonly StatusWrite[]> {
    const lines = (await readFile(join(this.#folder, "audit.log"), "utf8")).split("\n").filter((line) => line !== "");
    return lines
      .map((line) => JSON.parse(line))
      .filter(({ responseStatus }) => responseStatus.code === 200)
      .map(({ objectRef, requestObject }) => ({
        route: objectRef.name,
        uid: requestObject.metadata.uid,
        generation: requestObject.status.conditions[0].observedGeneration,
      }));
  }

  async leader(): Promise<string> {
    const { holderIdentity = "" } = Object((await this.admin.get(LEASE))?.spec);
    return `${holderIdentity}`.split("_")[0] ?? "";
  }

  /** Ends what runs and removes the routes, so that the next test finds it as it was in the beginning. */
  async clear(): Promise<void> {
    await Promise.all(this.#loads.splice(0).map((load) => load.stop()));
    await this.#envoy?.stop();
    this.#envoy = undefined;
    await Promise.all(this.#replicas.map(({ end }) => end("SIGKILL")));
    await Promise.all(this.#replicas.splice(0).map(({ proxy }) => proxy.stop()));
    const names = new Set(this.#routes.splice(0));
    await Promise.all([...names].map((name) => this.remove(name)));
    await this.admin.remove(LEASE);
    for (const lease of deployed("lease.yaml")) await this.admin.apply(lease);
  }

  async stop(): Promise<void> {
    await this.#balancer.stop();
    await Promise.all(this.#backends.map((backend) => backend.stop()));
    await this.admin.close();
    await this.server.stop();
    await rm(this.#folder, { recursive: true });
  }

  #end(replica: Replica, program: Program, signal: Signal): ReturnType<Program["end"]> {
    this.#ready.delete(replica);
    this.#balance();
    return program.end(signal);
  }

  #balance(): void {
    this.#balancer.leadTo([...this.#ready.values()]);
  }
}

/** How many there are of each, by `route uid generation`. */
export function writesOf(writes: readonly StatusWrite[]): ReadonlyMap<string, number> {
  const counts = new Map<string, number>();
  for (const { route, uid, generation } of writes) {
    const key = `${route} ${uid} ${generation}`;
    counts.set(key, (counts.get(key) ?? 0) + 1);
  }
  return counts;
}

/** How many successful writes of statuses a replica has made. */
export function patchesOf({ proxy }: Replica): number {
  return proxy.requests().filter(({ method, status }) => method === "PATCH" && status === 200).length;
}

/** How many resources a replica has sent to Envoys. */
export async function sentBy({ get }: Replica): Promise<number> {
  const sent = (await get("/metrics")).text.matchAll(/^isoline_xds_sent_resources_total\{.*\} (\d+)$/gm);
  return [...sent].reduce((sum, [, count]) => sum + Number(count), 0);
}

/** How many lists a replica has asked for. */
export function listsOf({ proxy }: Replica): number {
  return proxy.requests().filter((request) => isList(request)).length;
}

export function isLeading({ get }: Replica): Promise<boolean> {
  return get("/metrics").then(({ text }) => text.includes("\nisoline_leading 1\n"));
}

function isList(request: ProxiedRequest): boolean {
  return request.method === "GET" && !isWatch(request) && request.query.limit !== undefined;
}

/** A module that sets the clock of the process that begins with it. */
function wrongClock(skewMs: number): string {
  return `data:text/javascript,${encodeURIComponent(`const { now } = Date; Date.now = () => now() + ${skewMs}`)}`;
}

function hostOf(route: string): string {
  return `${route}.example.com`;
}

function specOf(name: string, backend: string, weight: number): unknown {
  return {
    virtualhost: { fqdn: hostOf(name) },
    routes: [{ match: "/", services: [{ name: backend, port: 80, weight }] }],
  };
}

function told(currentStatus: "valid" | "invalid", programmed: string): unknown {
  const isValid = currentStatus === "valid";
  return { currentStatus, Valid: isValid ? "True" : "False", Programmed: isValid ? programmed : "False" };
}

function statusOf({ metadata, status }: KubeObject): unknown {
  const { currentStatus, conditions = [] } = Object(status);
  const said = conditions.map((condition: unknown) => {
    const { type, status, observedGeneration } = Object(condition);
    return [type, observedGeneration === metadata.generation ? status : `of generation ${observedGeneration}`];
  });
  return { currentStatus, ...Object.fromEntries(said) };
}

async function startBackend(name: string, address: string): Promise<Listening> {
  return listening(
    createServer((_, response) => response.end(name)),
    address,
  );
}

function serviceAndSlice(name: string, backend: Listening | undefined): readonly KubeObject[] {
  return [
    {
      apiVersion: "v1",
      kind: "Service",
      metadata: { namespace: NAMESPACE, name },
      spec: { ports: [{ port: 80 }] },
    },
    {
      apiVersion: "discovery.k8s.io/v1",
      kind: "EndpointSlice",
      metadata: { namespace: NAMESPACE, name: `${name}-1`, labels: { "kubernetes.io/service-name": name } },
      addressType: "IPv4",
      ports: [{ name: "", port: backend?.port, protocol: "TCP" }],
      endpoints: [{ addresses: [backend?.address] }],
    },
  ];
}
