import { once } from "node:events";
import { createServer, type Server } from "node:http";
import type { EndpointSlice } from "../api/endpoint-slice.ts";
import type { ApiObject, ObjectChange } from "../api/kinds.ts";
import { type ObjectKey, objectKey } from "../api/object-key.ts";
import type { KubeService, ServicePort } from "../api/service.ts";
import type { FieldPart, Place, Source, SourceListener } from "../sources/source.ts";

const LOOPBACK = "127.0.0.1";

/** What an echo backend answers, as JSON. */
export type Echo = {
  /** `namespace/name` of the Service that it stands for. */
  readonly service: string;
  readonly port: number;
  readonly method: string;
  readonly host: string;
  readonly path: string;
  readonly headers: Readonly<Record<string, string | string[] | undefined>>;
};

export type EchoOptions = {
  /** Told a line of every echo that could not be had. */
  readonly tell: (line: string) => void;
};

/**
 * Another source, with an HTTP backend of its own in place of every Service that has no EndpointSlice (an ExternalName
 * Service has none): each answers with what it was asked and which Service it stands for.
 */
export class EchoSource implements Source {
  readonly #inner: Source;
  readonly #listener: SourceListener;
  readonly #options: EchoOptions;
  readonly #services = new Map<ObjectKey, KubeService>();
  /** Keys of the real EndpointSlices, by Service. */
  readonly #slices = new Map<ObjectKey, Set<ObjectKey>>();
  readonly #sliceOwner = new Map<ObjectKey, ObjectKey>();
  /** Services that an echo stands for, each with the echoed port's server by port number. */
  readonly #echoes = new Map<ObjectKey, Map<number, Server>>();
  /** Batches keep their order although servers take time to start. */
  #queue: Promise<void> = Promise.resolve();

  constructor(inner: (listener: SourceListener) => Source, listener: SourceListener, options: EchoOptions) {
    this.#listener = listener;
    this.#options = options;
    this.#inner = inner({
      changed: (batch) => this.#enqueue(() => this.#changed(batch)),
      synced: () => this.#enqueue(async () => listener.synced()),
      problems: (problems) => listener.problems(problems),
    });
  }

  start(): void {
    this.#inner.start();
  }

  unread(): readonly string[] {
    return this.#inner.unread?.() ?? [];
  }

  async stop(): Promise<void> {
    await this.#inner.stop();
    await this.#queue;
    await Promise.all([...this.#echoes.values()].map(closeAll));
  }

  locate(key: ObjectKey, fieldPath: string, part?: FieldPart): Place | undefined {
    return this.#inner.locate(key, fieldPath, part);
  }

  /** Whether an echo answers for the Service. */
  standsFor(namespace: string, service: string): boolean {
    return this.#echoes.has(objectKey("Service", namespace, service));
  }

  #enqueue(task: () => Promise<void>): void {
    this.#queue = this.#queue.then(task);
  }

  async #changed(batch: readonly ObjectChange[]): Promise<void> {
    const services = new Set<ObjectKey>();
    const passedOn: ObjectChange[] = [];
    for (const change of batch) {
      const service = this.#note(change);
      if (service !== undefined) services.add(service);
      if (!this.#services.has(change.key)) passedOn.push(change);
    }
    for (const service of services) passedOn.push(...(await this.#substitute(service)));
    this.#listener.changed(passedOn);
  }

  /** Keeps account of the change; returns the Service that it concerns. */
  #note(change: ObjectChange): ObjectKey | undefined {
    const object: ApiObject | undefined = change.kind === "applied" ? change.object : undefined;
    if (object?.kind === "Service" || this.#services.has(change.key)) {
      if (object?.kind === "Service") this.#services.set(change.key, object);
      else this.#services.delete(change.key);
      return change.key;
    }
    const before = this.#sliceOwner.get(change.key);
    if (before !== undefined) this.#slices.get(before)?.delete(change.key);
    this.#sliceOwner.delete(change.key);
    if (object?.kind !== "EndpointSlice" || object.service === undefined) return before;
    const owner = objectKey("Service", object.metadata.namespace, object.service);
    this.#sliceOwner.set(change.key, owner);
    this.#slices.set(owner, (this.#slices.get(owner) ?? new Set()).add(change.key));
    return owner;
  }

  async #substitute(key: ObjectKey): Promise<readonly ObjectChange[]> {
    const service = this.#services.get(key);
    const hasEndpoints = (this.#slices.get(key)?.size ?? 0) > 0;
    const ports = service !== undefined && !hasEndpoints ? await this.#listenFor(key, service) : undefined;
    if (service !== undefined && ports !== undefined) {
      const standIn = { ...service, isStandIn: true };
      const slice = echoSlice(service, ports);
      return [
        { kind: "applied", key, object: standIn },
        { kind: "applied", key: echoSliceKey(service), object: slice },
      ];
    }
    const echoes = this.#echoes.get(key);
    const original: ObjectChange[] = service === undefined ? [] : [{ kind: "applied", key, object: service }];
    if (echoes === undefined) return original;
    this.#echoes.delete(key);
    await closeAll(echoes);
    return [...original, { kind: "deleted", key: echoSliceKey(keyParts(key)) }];
  }

  /** The Service's ports, each with the port on which its echo listens; undefined when the system has no more to give. */
  async #listenFor(key: ObjectKey, service: KubeService): Promise<EndpointSlice["ports"] | undefined> {
    const servers = this.#echoes.get(key) ?? new Map<number, Server>();
    this.#echoes.set(key, servers);
    const ports: { name: string; port: number }[] = [];
    for (const port of service.ports) {
      try {
        const server = servers.get(port.port) ?? (await startEcho(service, port));
        servers.set(port.port, server);
        ports.push({ name: port.name, port: listeningPort(server) });
      } catch (error) {
        // Too many open files, for one.
        if (!(error instanceof Error && "syscall" in error)) throw error;
        this.#options.tell(`no echo for ${service.metadata.namespace}/${service.metadata.name}: ${error.message}`);
        this.#echoes.delete(key);
        await closeAll(servers);
        return undefined;
      }
    }
    return ports;
  }
}

async function startEcho({ metadata }: KubeService, { port }: ServicePort): Promise<Server> {
  const server = createServer((request, response) => {
    const echo: Echo = {
      service: `${metadata.namespace}/${metadata.name}`,
      port,
      method: request.method ?? "",
      host: request.headers.host ?? "",
      path: request.url ?? "",
      headers: request.headers,
    };
    request.resume();
    response.setHeader("content-type", "application/json");
    response.end(`${JSON.stringify(echo, undefined, 2)}\n`);
  });
  server.listen(0, LOOPBACK);
  await once(server, "listening");
  return server;
}

function listeningPort(server: Server): number {
  const address = server.address();
  if (address === null || typeof address === "string") throw new Error("an echo backend listens on no port");
  return address.port;
}

async function closeAll(servers: ReadonlyMap<number, Server>): Promise<void> {
  const closed = [...servers.values()].map((server) => {
    server.close();
    server.closeAllConnections();
    return once(server, "close");
  });
  await Promise.all(closed);
}

type NamespacedName = { readonly namespace: string; readonly name: string };

function keyParts(key: ObjectKey): { readonly metadata: NamespacedName } {
  const [, namespace = "", name = ""] = key.split("/");
  return { metadata: { namespace, name } };
}

function echoSliceKey({ metadata }: { readonly metadata: NamespacedName }): ObjectKey {
  // No object of a user's can have this name: it is not a DNS name.
  return objectKey("EndpointSlice", metadata.namespace, `${metadata.name} echo`);
}

function echoSlice(service: KubeService, ports: EndpointSlice["ports"]): EndpointSlice {
  return {
    kind: "EndpointSlice",
    metadata: { ...service.metadata, name: `${service.metadata.name} echo` },
    service: service.metadata.name,
    family: "IPv4",
    ports,
    endpoints: [{ address: LOOPBACK, state: "ready" }],
    notes: { faults: [], warnings: [] },
  };
}
