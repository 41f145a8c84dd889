import { type ChildProcess, execFile, spawn } from "node:child_process";
import { once } from "node:events";
import { mkdir, mkdtemp, readlink, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { promisify } from "node:util";
import { eventually } from "../envoy/harness.ts";
import { type ApiServer, adminOf, serviceAccountToken } from "../parts/api-server.ts";
import type { KubeAdmin, KubeObject } from "../parts/kube-admin.ts";
import type { Listening } from "../parts/listening.ts";
import { startForwarder, type Target } from "./balancer.ts";

/**
 * What a kubelet and a kube-proxy do, as far as our manifests need it. Pods are processes, each pod in a network of its own
 * and each container with mounts of its own: a file system that cannot be written, and the volumes below /run. The program
 * is that of this project, its image is not built. User and group of the processes are those of the test.
 */

const run = promisify(execFile);

/** The address of the API server in every cluster with these addresses of Services. */
const API_SERVER_ADDRESS = "10.96.0.1";
const SERVICE_ACCOUNT = "/run/secrets/kubernetes.io/serviceaccount";
const READY_MS = 30_000;

type Probe = { readonly httpGet: { readonly path: string; readonly port: string } };

type Container = {
  readonly name: string;
  readonly image: string;
  readonly command?: readonly string[];
  readonly args?: readonly string[];
  readonly ports?: readonly { readonly name: string; readonly containerPort: number }[];
  readonly readinessProbe?: Probe;
  readonly livenessProbe?: Probe;
  readonly lifecycle?: { readonly preStop?: { readonly exec: { readonly command: readonly string[] } } };
  readonly volumeMounts?: readonly { readonly name: string; readonly mountPath: string; readonly readOnly?: boolean }[];
};

type Volume = { readonly name: string; readonly emptyDir?: object; readonly secret?: { readonly secretName: string } };

export type PodSpec = {
  readonly serviceAccountName: string;
  readonly automountServiceAccountToken?: boolean;
  readonly terminationGracePeriodSeconds: number;
  readonly initContainers?: readonly Container[];
  readonly containers: readonly Container[];
  readonly volumes: readonly Volume[];
};

export type PodTemplate = {
  readonly metadata: { readonly labels: Readonly<Record<string, string>> };
  readonly spec: PodSpec;
};

export type Pod = {
  readonly address: string;
  /** What the container has written so far. */
  readonly log: () => string;
  /** Runs a command in the container, and resolves to what it writes; rejects when it fails. */
  readonly exec: (...words: readonly string[]) => Promise<string>;
  /**
   * Runs the hook, which may be changed for this, then ends the process; Services lead here no more from the beginning.
   * Resolves to its exit code, null if it did not end in its time.
   */
  readonly terminate: (hook?: (command: readonly string[]) => readonly string[]) => Promise<number | null>;
};

/** The beginning of a command, for what is in place of each image. */
export type Images = Readonly<Record<string, readonly string[]>>;

type RunningPod = Pod & { readonly template: PodTemplate; isReady: boolean; readonly kill: () => Promise<void> };

type Mount = { readonly source: string; readonly target: string; readonly isReadOnly: boolean };

/** With `exec`, so that signals reach the program. */
const IN_CONTAINER = ["unshare", "-m", "sh", "-e", "-c"];

export class Node {
  readonly #admin: KubeAdmin;
  readonly #server: ApiServer;
  readonly #images: Images;
  readonly #folder: string;
  readonly #pods: RunningPod[] = [];
  readonly #forwarders: Listening[] = [];
  #hosts = "127.0.0.1 localhost\n";
  #count = 0;

  static async start(server: ApiServer, images: Images): Promise<Node> {
    const folder = await mkdtemp(join(tmpdir(), "isoline-node-"));
    // Nobody answers there, and at once.
    await writeFile(join(folder, "resolv.conf"), "nameserver 127.0.0.1\n");
    const node = new Node(server, images, folder);
    const port = Number(new URL(server.url).port);
    await node.#forward(API_SERVER_ADDRESS, 443, () => ({ host: "127.0.0.1", port }));
    return node;
  }

  private constructor(server: ApiServer, images: Images, folder: string) {
    this.#server = server;
    this.#admin = adminOf(server);
    this.#images = images;
    this.#folder = folder;
  }

  /** Lets the Service lead to the pods that it selects, and returns its address. */
  async serve({ metadata: { name, namespace = "" } }: KubeObject): Promise<string> {
    const service = await this.#admin.get({ kind: "Service", namespace, name });
    const { clusterIP, ports, selector } = Object(service?.spec);
    this.#hosts += `${clusterIP} ${name} ${name}.${namespace} ${name}.${namespace}.svc\n`;
    let connections = 0;
    for (const { port, targetPort } of ports) {
      await this.#forward(clusterIP, port, () => {
        const selected = this.#pods.filter(({ template, isReady }) => isReady && isSelected(template, selector));
        const pod = selected[connections++ % selected.length];
        return pod && { host: pod.address, port: portOf(pod.template.spec.containers, targetPort) };
      });
    }
    return clusterIP;
  }

  /** Runs the init containers, then the container; resolves when its probes are answered. */
  async run(namespace: string, template: PodTemplate): Promise<Pod> {
    const { spec } = template;
    const [container, ...others] = spec.containers;
    if (container === undefined || others.length > 0) throw new Error("a pod has one container here");
    const number = ++this.#count;
    const [gateway, address] = [`10.245.${number}.1`, `10.245.${number}.2`];
    const folder = join(this.#folder, `${number}`);
    await mkdir(folder);
    const network = await startNetwork(`pod${number}`, gateway, address);
    const volumes = await this.#volumes(namespace, spec, folder);
    const start = (of: Container, words: readonly string[]) =>
      spawn(
        "nsenter",
        [`--net=/proc/${network.pid}/ns/net`, ...IN_CONTAINER, this.#script(of, volumes), "sh", ...words],
        { env: this.#environment(spec), stdio: ["ignore", "pipe", "pipe"] },
      );
    for (const init of spec.initContainers ?? []) {
      const { code, log } = await ended(start(init, this.#command(init)));
      if (code !== 0) throw new Error(`init container ${init.name}: ${log}`);
    }
    const child = start(container, this.#command(container));
    const { log, exited } = watched(child);
    const kill = async () => {
      child.kill("SIGKILL");
      await exited;
      await network.stop();
    };
    const exec: Pod["exec"] = async (...words) => {
      const { code, log } = await ended(start(container, words));
      if (code !== 0) throw new Error(`${words[0]} in ${container.name}: ${log}`);
      return log;
    };
    const terminate: Pod["terminate"] = async (changed = (command) => command) => {
      pod.isReady = false;
      const killing = setTimeout(() => child.kill("SIGKILL"), spec.terminationGracePeriodSeconds * 1000);
      const hook = container.lifecycle?.preStop?.exec.command;
      if (hook !== undefined) await exec(...changed(hook));
      child.kill("SIGTERM");
      await exited;
      clearTimeout(killing);
      this.#pods.splice(this.#pods.indexOf(pod), 1);
      await network.stop();
      return child.exitCode;
    };
    const pod: RunningPod = { address, template, isReady: false, log, exec, kill, terminate };
    this.#pods.push(pod);
    for (const probe of [container.livenessProbe, container.readinessProbe]) {
      if (probe === undefined) continue;
      const url = `http://${address}:${portOf([container], probe.httpGet.port)}${probe.httpGet.path}`;
      await eventually(async () => {
        if (child.exitCode !== null) return true;
        return (await fetch(url, { signal: AbortSignal.timeout(1000) })).status === 200;
      }, READY_MS).catch((error: unknown) => {
        throw new Error(`${container.name} does not answer its probe: ${error}\n${log()}`);
      });
    }
    if (child.exitCode !== null) throw new Error(`${container.name} ended: ${log()}`);
    pod.isReady = true;
    return pod;
  }

  async stop(): Promise<void> {
    await Promise.all(this.#pods.map(({ kill }) => kill()));
    await Promise.all(this.#forwarders.map(({ stop }) => stop()));
    await this.#admin.close();
    await rm(this.#folder, { recursive: true });
  }

  #command({ image, command, args = [] }: Container): readonly string[] {
    const words = this.#images[image];
    if (words === undefined) throw new Error(`nothing stands for the image ${image}`);
    const [first = ""] = command ?? [];
    // A command replaces what the image would start, which is its program.
    if (command !== undefined && !words[0]?.endsWith(`/${first}`)) throw new Error(`${image} has no ${first}`);
    return [...words, ...(command?.slice(1) ?? []), ...args];
  }

  #script({ volumeMounts = [] }: Container, volumes: ReadonlyMap<string, string>): string {
    const mounts = volumeMounts.map(({ name, mountPath, readOnly }): Mount => {
      const source = volumes.get(name);
      if (source === undefined) throw new Error(`there is no volume ${name}`);
      if (!mountPath.startsWith("/run/")) throw new Error(`${mountPath}: volumes are mounted below /run here`);
      return { source, target: mountPath, isReadOnly: readOnly === true };
    });
    const token = volumes.get(SERVICE_ACCOUNT);
    if (token !== undefined) mounts.push({ source: token, target: SERVICE_ACCOUNT, isReadOnly: true });
    return [
      "mount -t tmpfs tmpfs /run",
      ...mounts.map(({ source, target }) => `mkdir -p ${target}; mount --bind ${source} ${target}`),
      ...mounts.filter(({ isReadOnly }) => isReadOnly).map(({ target }) => `mount -o remount,bind,ro ${target}`),
      ...["hosts", "resolv.conf"].map((name) => `mount --bind ${join(this.#folder, name)} /etc/${name}`),
      ...["/run", "/"].map((path) => `mount -o remount,bind,ro ${path}`),
      'cd /; exec "$@"',
    ].join("\n");
  }

  #environment({ automountServiceAccountToken }: PodSpec): Readonly<Record<string, string>> {
    const api = { KUBERNETES_SERVICE_HOST: API_SERVER_ADDRESS, KUBERNETES_SERVICE_PORT: "443" };
    return { PATH: process.env.PATH ?? "", ...(automountServiceAccountToken === false ? {} : api) };
  }

  async #volumes(namespace: string, spec: PodSpec, folder: string): Promise<ReadonlyMap<string, string>> {
    await writeFile(join(this.#folder, "hosts"), this.#hosts);
    const paths = new Map<string, string>();
    for (const { name, emptyDir, secret } of spec.volumes) {
      if (secret === undefined && emptyDir === undefined) throw new Error(`volume ${name} is of no kind known here`);
      const files = secret === undefined ? {} : await this.#secret(namespace, secret.secretName);
      paths.set(name, await folderOf(join(folder, name), files));
    }
    if (spec.automountServiceAccountToken === false) return paths;
    const token = await serviceAccountToken(this.#admin, { namespace, name: spec.serviceAccountName });
    const files = { token, namespace, "ca.crt": this.#server.caPem };
    return paths.set(SERVICE_ACCOUNT, await folderOf(join(folder, "service-account"), files));
  }

  async #secret(namespace: string, name: string): Promise<Readonly<Record<string, string>>> {
    const secret = await this.#admin.get({ kind: "Secret", namespace, name });
    if (secret === undefined) throw new Error(`there is no Secret ${name}`);
    const data: Readonly<Record<string, string>> = Object(secret.data);
    return Object.fromEntries(
      Object.entries(data).map(([key, value]) => [key, Buffer.from(value, "base64").toString()]),
    );
  }

  async #forward(address: string, port: number, next: () => Target | undefined): Promise<void> {
    await run("ip", ["addr", "replace", `${address}/32`, "dev", "lo"]);
    this.#forwarders.push(await startForwarder(next, address, port));
  }
}

/** By its name or its number. */
function portOf(containers: readonly Container[], port: string | number): number {
  if (typeof port === "number") return port;
  const found = containers.flatMap(({ ports = [] }) => ports).find(({ name }) => name === port);
  if (found === undefined) throw new Error(`no container has a port ${port}`);
  return found.containerPort;
}

function isSelected({ metadata }: PodTemplate, selector: Readonly<Record<string, string>>): boolean {
  return Object.entries(selector).every(([label, value]) => metadata.labels[label] === value);
}

async function folderOf(path: string, files: Readonly<Record<string, string>>): Promise<string> {
  await mkdir(path);
  for (const [name, text] of Object.entries(files)) await writeFile(join(path, name), text);
  return path;
}

/** A network with one cable to that of this process; it lasts as long as a process that does nothing else. */
async function startNetwork(
  device: string,
  gateway: string,
  address: string,
): Promise<{ readonly pid: number; readonly stop: () => Promise<void> }> {
  const holder = spawn("unshare", ["-n", "sleep", "infinity"], { stdio: "ignore" });
  const pid = holder.pid ?? 0;
  const exited = once(holder, "exit");
  const own = await readlink("/proc/self/ns/net");
  await eventually(async () => (await readlink(`/proc/${pid}/ns/net`)) !== own, READY_MS);
  const inside = (...words: readonly string[]) => run("nsenter", [`--net=/proc/${pid}/ns/net`, "ip", ...words]);
  await run("ip", ["link", "add", device, "type", "veth", "peer", "name", "eth0", "netns", `${pid}`]);
  await run("ip", ["addr", "add", `${gateway}/30`, "dev", device]);
  await run("ip", ["link", "set", device, "up"]);
  await inside("link", "set", "lo", "up");
  await inside("addr", "add", `${address}/30`, "dev", "eth0");
  await inside("link", "set", "eth0", "up");
  await inside("route", "add", "default", "via", gateway);
  return {
    pid,
    stop: async () => {
      holder.kill("SIGKILL");
      await exited;
    },
  };
}

function watched(child: ChildProcess): { readonly log: () => string; readonly exited: Promise<unknown> } {
  let log = "";
  for (const stream of [child.stdout, child.stderr]) {
    stream?.setEncoding("utf8").on("data", (text: string) => {
      log += text;
    });
  }
  const kill = () => child.kill("SIGKILL");
  process.once("exit", kill);
  const exited = once(child, "close").then(() => process.off("exit", kill));
  return { log: () => log, exited };
}

async function ended(child: ChildProcess): Promise<{ readonly code: number | null; readonly log: string }> {
  const { log, exited } = watched(child);
  await exited;
  return { code: child.exitCode, log: log() };
}
