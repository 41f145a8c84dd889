import { createServer } from "node:http";
import { request as sendHttp } from "undici";
import { afterAll, describe, expect, test } from "vitest";
import { eventually, startEnvoy } from "../envoy/harness.ts";
import { describeWithEnvoy } from "../envoy/suite.ts";
import {
  adminOf,
  kubeconfig,
  serviceAccountToken,
  shortToken,
  startApiServer,
  tokenBoundTo,
} from "../parts/api-server.ts";
import { startFaultProxy } from "../parts/fault-proxy.ts";
import { KubeAdmin, type KubeObject, type WatchEvent } from "../parts/kube-admin.ts";
import { listening } from "../parts/listening.ts";
import { sharedCluster, sharedServer } from "./suite.ts";

const POD = "10.244.1.1";

describe("the shared API server", () => {
  const cluster = sharedCluster();
  afterAll(() => cluster.close());

  test("tells a watch what happens to the objects of a new namespace", async () => {
    const namespace = await cluster.freshNamespace();
    const { metadata } = await cluster.list("ConfigMap", namespace);
    const seen: string[] = [];
    const watching = (async () => {
      const query = { resourceVersion: metadata.resourceVersion };
      for await (const { type, object } of cluster.watch("ConfigMap", namespace, query)) {
        seen.push(`${type} ${object.metadata.name}`);
        if (type === "DELETED") return;
      }
    })();
    const ref = { kind: "ConfigMap", namespace, name: "settings" };
    expect(await cluster.get(ref)).toBeUndefined();
    await cluster.apply(configMap(namespace, { colour: "blue" }));
    await cluster.patch(ref, { data: { colour: "red" } });
    expect(await cluster.get(ref)).toMatchObject({ data: { colour: "red" } });
    await cluster.remove(ref);
    await cluster.remove(ref);
    await watching;
    expect(seen).toEqual(["ADDED settings", "MODIFIED settings", "DELETED settings"]);
  });

  test("takes an endpoint in the pod network, where a backend can listen", async () => {
    const namespace = await cluster.freshNamespace();
    const backend = await listening(
      createServer((_, response) => response.end("here")),
      POD,
    );
    try {
      const slice = await cluster.apply({
        apiVersion: "discovery.k8s.io/v1",
        kind: "EndpointSlice",
        metadata: { namespace, name: "web", labels: { "kubernetes.io/service-name": "web" } },
        addressType: "IPv4",
        ports: [{ name: "", port: backend.port, protocol: "TCP" }],
        endpoints: [{ addresses: [POD] }],
      });
      expect(slice).toMatchObject({ endpoints: [{ addresses: [POD] }] });
      const { body } = await sendHttp(`http://${POD}:${backend.port}/`);
      expect(await body.text()).toBe("here");
    } finally {
      await backend.stop();
    }
  });

  test("refuses somebody without rights", async () => {
    const { url, caPem, nobodyToken } = sharedServer();
    const nobody = new KubeAdmin({ url, caPem, token: nobodyToken });
    await expect(nobody.list("Secret", "default")).rejects.toMatchObject({ status: 403, reason: "Forbidden" });
    await nobody.close();
  });

  test("lets a bound token do what its roles say and nothing more", async () => {
    const namespace = await cluster.freshNamespace();
    const metadata = { name: "reader", namespace };
    const rules = [{ apiGroups: [""], resources: ["configmaps"], verbs: ["list"] }];
    await cluster.apply({ apiVersion: "rbac.authorization.k8s.io/v1", kind: "Role", metadata, rules });
    const token = await tokenBoundTo(cluster, namespace, [{ kind: "Role", name: "reader" }]);
    const reader = new KubeAdmin({ ...sharedServer(), token });
    expect((await reader.list("ConfigMap", namespace)).items).toEqual([]);
    await expect(reader.list("Secret", namespace)).rejects.toThrow(/secrets is forbidden: User "system:serviceaccount/);
    await expect(reader.list("ConfigMap", "default")).rejects.toMatchObject({ status: 403 });
    await reader.close();
  });

  test("knows a service account by its token, also by a short one", async () => {
    const namespace = await cluster.freshNamespace();
    const account = { namespace, name: "isoline" };
    for (const token of [
      await serviceAccountToken(cluster, account),
      await shortToken(sharedServer(), cluster, account, 60),
    ]) {
      const self = new KubeAdmin({ ...sharedServer(), token });
      expect(await whoAmI(self)).toBe(`system:serviceaccount:${namespace}:isoline`);
      await self.close();
    }
    const late = new KubeAdmin({
      ...sharedServer(),
      token: await shortToken(sharedServer(), cluster, account, -1),
    });
    await expect(whoAmI(late)).rejects.toMatchObject({ status: 401 });
    await late.close();
  });

  test("is reached through a proxy with faults", async () => {
    const proxy = await startFaultProxy(sharedServer());
    const user = new KubeAdmin({ ...proxy, token: sharedServer().adminToken });
    try {
      const namespace = await user.freshNamespace();
      await user.apply(configMap(namespace, { colour: "blue" }));
      const off = proxy.truncate({ afterBytes: 100 });
      await expect(user.list("ConfigMap", namespace)).rejects.toThrow(/closed|terminated|aborted/i);
      off();
      const [first] = await eventsOf(user.watch("ConfigMap", namespace), 1);
      expect(first).toMatchObject({ type: "ADDED", object: { data: { colour: "blue" } } });
    } finally {
      await user.close();
      await proxy.stop();
    }
  });

  test("is named by a kubeconfig", () => {
    const { url, nobodyToken } = sharedServer();
    expect(JSON.parse(kubeconfig(sharedServer(), nobodyToken))).toMatchObject({
      clusters: [{ cluster: { server: url } }],
      users: [{ user: { token: nobodyToken } }],
    });
  });
});

test("a restart keeps the objects, and makes what was before it too old for a watch", async () => {
  const server = await startApiServer();
  const cluster = adminOf(server);
  try {
    const namespace = await cluster.freshNamespace();
    await cluster.apply(configMap(namespace, { colour: "blue" }));
    await server.restart();
    expect(await cluster.get({ kind: "ConfigMap", namespace, name: "settings" })).toBeDefined();
    const [first] = await eventsOf(cluster.watch("ConfigMap", namespace, { resourceVersion: "1" }), 1);
    expect(first).toMatchObject({ type: "ERROR", object: { code: 410, reason: "Expired" } });
  } finally {
    await cluster.close();
    await server.stop();
  }
});

test("a server with fairness turns those away who ask too much", async () => {
  const server = await startApiServer({ fairness: true });
  const cluster = adminOf(server);
  const user = new KubeAdmin({ ...server, token: server.nobodyToken });
  try {
    await cluster.apply({
      apiVersion: "flowcontrol.apiserver.k8s.io/v1",
      kind: "PriorityLevelConfiguration",
      metadata: { name: "nothing" },
      spec: {
        type: "Limited",
        limited: { nominalConcurrencyShares: 0, borrowingLimitPercent: 0, limitResponse: { type: "Reject" } },
      },
    });
    await cluster.apply({
      apiVersion: "flowcontrol.apiserver.k8s.io/v1",
      kind: "FlowSchema",
      metadata: { name: "nobody" },
      spec: {
        priorityLevelConfiguration: { name: "nothing" },
        matchingPrecedence: 10,
        rules: [
          {
            subjects: [{ kind: "User", user: { name: "nobody" } }],
            resourceRules: [
              { verbs: ["*"], apiGroups: ["*"], resources: ["*"], clusterScope: true, namespaces: ["*"] },
            ],
          },
        ],
      },
    });
    // One at a time is let through even so.
    const turnedAway = async () => {
      const lists = Array.from({ length: 30 }, () => user.list("ConfigMap", "default"));
      const results = await Promise.allSettled(lists);
      return results.some((result) => result.status === "rejected" && result.reason.status === 429);
    };
    await eventually(turnedAway, 10_000);
    await cluster.freshNamespace();
  } finally {
    await user.close();
    await cluster.close();
    await server.stop();
  }
});

test("an API server without its binaries says what is missing", async () => {
  await expect(startApiServer({ binaries: "/nowhere" })).rejects.toThrow(/nowhere/);
});

describeWithEnvoy("the network of the cluster", (binary) => {
  test("has room for an Envoy", async () => {
    const envoy = await startEnvoy({
      binary,
      config: ({ pipe }) => ({ admin: { address: { pipe: { path: pipe } } } }),
    });
    try {
      expect((await envoy.stats("^server\\.live$")).get("server.live")).toBe(1);
    } finally {
      await envoy.stop();
    }
  });
});

function configMap(namespace: string, data: Readonly<Record<string, string>>): KubeObject {
  return { apiVersion: "v1", kind: "ConfigMap", metadata: { namespace, name: "settings" }, data };
}

async function eventsOf(watch: AsyncIterable<WatchEvent>, count: number): Promise<readonly WatchEvent[]> {
  const events: WatchEvent[] = [];
  for await (const event of watch) {
    events.push(event);
    if (events.length === count) break;
  }
  return events;
}

async function whoAmI(user: KubeAdmin): Promise<string> {
  const { status } = await user.request<{ readonly status: { readonly userInfo: { readonly username: string } } }>({
    method: "POST",
    path: "/apis/authentication.k8s.io/v1/selfsubjectreviews",
    body: { apiVersion: "authentication.k8s.io/v1", kind: "SelfSubjectReview" },
  });
  return status.userInfo.username;
}
