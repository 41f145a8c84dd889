import { mkdtemp, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import type { ObjectKey } from "../../src/api/object-key.ts";
import { Cluster } from "../../src/controller/cluster.ts";
import { KubeClient } from "../../src/kube/client.ts";
import { loadKubeconfig } from "../../src/kube/kubeconfig.ts";
import type { SourceListener } from "../../src/sources/source.ts";
import { type Isoline, type IsolineOptions, startIsoline } from "../envoy/isoline.ts";
import { type ApiServerAddress, kubeconfig, tokenBoundTo } from "../parts/api-server.ts";
import { deployed } from "../parts/deploy.ts";
import type { KubeAdmin, KubeObject } from "../parts/kube-admin.ts";
import { lookingUpAt } from "../parts/name-server.ts";
import { ClusterObjects } from "./objects.ts";
import type { Pods } from "./pods.ts";
import { LOAD_BALANCER } from "./statuses.ts";

/** A whole Isoline with a real Envoy on the objects of an API server, where nobody else makes any. */
export type ClusterIsoline = Isoline & {
  /** Makes these the only objects of our kinds, all of them anew, and resolves when Envoy runs what came of them. */
  readonly replace: (objects: readonly KubeObject[]) => Promise<void>;
};

export type ClusterIsolineOptions = IsolineOptions & {
  readonly server: ApiServerAddress;
  readonly admin: KubeAdmin;
  /** Knows the names that Envoy looks up. */
  readonly pods: Pods;
};

/** Its rights are those of the shipped role. */
export async function startClusterIsoline(options: ClusterIsolineOptions): Promise<ClusterIsoline> {
  const { server, admin, pods } = options;
  const client = await clientOf(server, admin);
  const told = new Map<ObjectKey, string | undefined>();
  const clusters: Cluster[] = [];
  const isoline = await startIsoline({ ...options, bootstrap: lookingUpAt(pods.names.port) }, (_, log) => {
    const cluster = new Cluster({ client, loadBalancer: LOAD_BALANCER, instance: "test", log, isLeading: () => true });
    clusters.push(cluster);
    return {
      source: (listener, telemetry) => cluster.source(keepingAccount(told, listener), telemetry),
      status: (telemetry) => {
        const sink = cluster.status(telemetry);
        // There are no others.
        cluster.leading(true);
        return sink;
      },
    };
  });
  const objects = new ClusterObjects(admin);
  return {
    ...isoline,
    replace: async (wanted) => {
      const uids = await objects.replace(wanted);
      await isoline.settled(() => [...uids].every(([key, uid]) => told.get(key) === uid));
    },
    stop: async () => {
      for (const cluster of clusters) await cluster.stop();
      await isoline.stop();
      await client.close();
    },
  };
}

const ROLE = { kind: "ClusterRole", name: "isoline" } as const;

async function clientOf(server: ApiServerAddress, admin: KubeAdmin): Promise<KubeClient> {
  for (const object of deployed("rbac.yaml").filter(({ kind }) => kind === ROLE.kind)) await admin.apply(object);
  const token = await tokenBoundTo(admin, await admin.freshNamespace(), [ROLE]);
  const folder = await mkdtemp(join(tmpdir(), "isoline-kubeconfig-"));
  try {
    const file = join(folder, "config");
    await writeFile(file, kubeconfig(server, token));
    return new KubeClient(loadKubeconfig(file, { env: {} }), { userAgent: "isoline/test" });
  } finally {
    await rm(folder, { recursive: true });
  }
}

/** Notes the uid of every object that is told, and forgets it when the object is gone. */
function keepingAccount(told: Map<ObjectKey, string | undefined>, listener: SourceListener): SourceListener {
  return {
    ...listener,
    changed: (batch) => {
      listener.changed(batch);
      for (const change of batch) {
        if (change.kind === "applied") told.set(change.key, change.object.metadata.uid);
        else told.delete(change.key);
      }
    },
  };
}
