import { mkdtemp, rm, writeFile } from "node:fs/promises";
import { createServer } from "node:http";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { type Envoy, eventually, freePort, startEnvoy } from "../../test/envoy/harness.ts";
import { adminOf, kubeconfig, startApiServer, tokenBoundTo } from "../../test/parts/api-server.ts";
import { deployed, installDefinitions } from "../../test/parts/deploy.ts";
import type { KubeAdmin } from "../../test/parts/kube-admin.ts";
import { listening } from "../../test/parts/listening.ts";
import { type ControllerProcess, startControllerProcess } from "./controller.ts";
import { BACKEND_PORT, type Host, hostName, NAMESPACE, objectsOf, podAddress, refTo } from "./objects.ts";
import { Witness } from "./witness.ts";

/** An API server with what deploy/ has, backends on every address of the pod network, and a client that watches. */
export type World = {
  readonly admin: KubeAdmin;
  readonly witness: Witness;
  /** Where Envoy listens. */
  readonly envoyPort: number;
  /** Makes hosts until there are so many, with the statuses that a controller has written long ago. */
  readonly growTo: (hosts: number) => Promise<void>;
  readonly startController: () => Promise<ControllerProcess>;
  /** With so many hosts it takes a while. */
  readonly startEnvoy: (controller: ControllerProcess) => Promise<Envoy>;
  readonly stop: () => Promise<void>;
};

/** Of the controller and its Lease. */
const HOME = "isoline";
/** As many as the client has connections. */
const AT_ONCE = 32;
const PATIENCE_MS = 60_000;
/** A controller writes so many statuses in a second. */
const STATUSES_PER_SECOND = 50;

export async function startWorld(envoyBinary: string): Promise<World> {
  const server = await startApiServer();
  const admin = adminOf(server);
  await installDefinitions(admin);
  for (const name of [NAMESPACE, HOME]) await admin.apply({ apiVersion: "v1", kind: "Namespace", metadata: { name } });
  for (const object of [...deployed("rbac.yaml"), ...deployed("lease.yaml")]) await admin.apply(object);
  const roles = (["ClusterRole", "Role"] as const).map((kind) => ({ kind, name: "isoline" }));
  const token = await tokenBoundTo(admin, HOME, roles);
  const folder = await mkdtemp(join(tmpdir(), "isoline-bench-"));
  const kubeconfigFile = join(folder, "config");
  await writeFile(kubeconfigFile, kubeconfig(server, token), { mode: 0o600 });
  // The address that it was asked at tells which endpoint it stands for.
  const backend = createServer((request, response) => response.end(request.socket.localAddress));
  const backends = await listening(backend, "0.0.0.0", BACKEND_PORT);
  const witness = await Witness.start(admin);
  const envoyPort = await freePort();

  const startController = () =>
    startControllerProcess(...([kubeconfigFile, envoyPort] as const), ["--leader-election-namespace", HOME]);
  const startEnvoyOf = ({ xdsPort }: ControllerProcess) =>
    startEnvoy({ binary: envoyBinary, xdsPort, startMs: PATIENCE_MS });

  await createHost(admin, hostAt(0));
  const status = await firstStatus(admin, startController, startEnvoyOf);
  let made = 1;
  return {
    admin,
    witness,
    envoyPort,
    startController,
    startEnvoy: startEnvoyOf,
    growTo: async (wanted) => {
      const indexes = Array.from({ length: Math.max(0, wanted - made) }, (_, i) => made + i);
      await eachOf(indexes, async (i) => {
        await createHost(admin, hostAt(i));
        await admin.patch(refTo("IngressRoute", hostName(i)), { status: writtenAt(status, i) }, "status");
      });
      made = Math.max(made, wanted);
      witness.forget();
    },
    stop: async () => {
      await backends.stop();
      await admin.close();
      await server.stop();
      await rm(folder, { recursive: true });
    },
  };
}

function hostAt(index: number): Host {
  return { name: hostName(index), address: podAddress(index) };
}

async function createHost(admin: KubeAdmin, host: Host): Promise<void> {
  const { root, others } = objectsOf(host);
  for (const object of [...others, root]) await admin.create(object);
}

type Status = { readonly conditions: readonly { readonly status: string }[] };

/** The status that a controller gives to the only root, as it is for all that are in order. */
async function firstStatus(
  admin: KubeAdmin,
  startController: World["startController"],
  startEnvoyOf: World["startEnvoy"],
): Promise<Status> {
  const controller = await startController();
  try {
    const envoy = await startEnvoyOf(controller);
    try {
      return await eventually(async () => {
        const status: Partial<Status> = Object((await admin.get(refTo("IngressRoute", hostName(0))))?.status);
        const { conditions = [] } = status;
        return conditions.length > 1 && conditions.every((each) => each.status === "True")
          ? { ...status, conditions }
          : false;
      }, PATIENCE_MS);
    } finally {
      await envoy.stop();
    }
  } finally {
    await controller.stop();
  }
}

/** The same status, with the times at which the controller would have come to this object. */
function writtenAt(status: Status, index: number): Status {
  const seconds = Math.floor(index / STATUSES_PER_SECOND);
  const lastTransitionTime = new Date(Date.UTC(2026, 0, 1) + seconds * 1000).toISOString().replace(/\.\d+/, "");
  return { ...status, conditions: status.conditions.map((condition) => ({ ...condition, lastTransitionTime })) };
}

/** Does it for each, some of them at a time. */
export async function eachOf<T>(items: readonly T[], work: (item: T) => Promise<unknown>): Promise<void> {
  const rest = items.values();
  const worker = async () => {
    for (const item of rest) await work(item);
  };
  await Promise.all(Array.from({ length: AT_ONCE }, worker));
}
