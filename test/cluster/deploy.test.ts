import { execFile } from "node:child_process";
import { once } from "node:events";
import { readFileSync } from "node:fs";
import { Agent, createServer, type IncomingMessage, request as send } from "node:http";
import { type ClientHttp2Session, connect as connectHttp2 } from "node:http2";
import { request as sendSecure } from "node:https";
import { createServer as createTcpServer, type Socket } from "node:net";
import { connect } from "node:tls";
import { fileURLToPath } from "node:url";
import { promisify } from "node:util";
import { afterAll, beforeAll, expect, test } from "vitest";
import { parse, parseAllDocuments } from "yaml";
import { eventually } from "../envoy/harness.ts";
import { describeWithEnvoy } from "../envoy/suite.ts";
import { type ApiServer, adminOf, startApiServer } from "../parts/api-server.ts";
import { createAuthority } from "../parts/authority.ts";
import { deployed, installDefinitions, kustomization } from "../parts/deploy.ts";
import { collectionPath, type KubeAdmin, type KubeObject, objectPath, refOf } from "../parts/kube-admin.ts";
import { type Listening, listening } from "../parts/listening.ts";
import { Node, type Pod, type PodTemplate } from "./node.ts";

/**
 * The installation of deploy/README.md: what the API server makes of the manifests, and what comes of the commands,
 * arguments, volumes, ports, probes, selectors, hooks and certificates in them, see node.ts.
 */

const PROJECT = fileURLToPath(new URL("../..", import.meta.url));
const NAMESPACE = "isoline";
const SOON_MS = 30_000;
const objects = kustomization().resources.flatMap(deployed);
const deployment = found("Deployment", "isoline");
const daemonSet = found("DaemonSet", "isoline-envoy");
const authority = createAuthority("shop");

let server: ApiServer;
let admin: KubeAdmin;

beforeAll(async () => {
  server = await startApiServer();
  admin = adminOf(server);
});

afterAll(async () => {
  await admin.close();
  await server.stop();
});

test("the API server takes every object, knows every field, and takes it again", async () => {
  for (const object of [...objects, ...objects]) await applyStrictly(object);
  await installDefinitions(admin);
});

test("the pods need nothing that the namespace forbids", async () => {
  for (const template of [deployment, daemonSet].map(templateOf)) {
    const { metadata } = await tryPod(template);
    expect(metadata.namespace).toBe(NAMESPACE);
    const { spec } = template;
    const privileged = { ...spec, hostNetwork: true };
    await expect(tryPod({ ...template, spec: privileged })).rejects.toThrow("violates PodSecurity");
  }
});

describeWithEnvoy("the installation", (binary) => {
  let node: Node;
  let backend: Listening;
  let tunnelBackend: Listening;
  let controllers: Pod[] = [];
  let envoys: Pod[] = [];
  /** The address of the Service in front of the Envoys. */
  let address = "";
  const held = new Set<() => void>();
  const tunnels = new Set<Socket>();

  beforeAll(async () => {
    for (const secret of await certificates()) await admin.apply(secret);
    node = await Node.start(server, {
      [imageOf(deployment)]: entrypoint(),
      [imageOf(daemonSet)]: [binary],
    });
    backend = await listening(
      createServer((request, response) => {
        if (request.url === "/held") held.add(() => response.end("held"));
        else response.end("shop");
      }),
      "10.244.220.1",
    );
    tunnelBackend = await listening(
      createTcpServer((socket) => tunnels.add(socket.resume())),
      "10.244.220.2",
    );
    for (const object of shop(backend, tunnelBackend)) await admin.apply(object);
    for (const service of objects.filter(({ kind }) => kind === "Service")) {
      const at = await node.serve(service);
      if (service.metadata.name === "isoline-envoy") address = at;
    }
    const { replicas } = Object(deployment.spec);
    controllers = await Promise.all(
      Array.from({ length: replicas }, () => node.run(NAMESPACE, templateOf(deployment))),
    );
    envoys = await Promise.all([1, 2].map(() => node.run(NAMESPACE, templateOf(daemonSet))));
  }, 120_000);

  afterAll(async () => {
    await node.stop();
    await backend.stop();
    await tunnelBackend.stop();
  });

  test("serves what is asked for at the ports of the Service, in clear text and by TLS", async () => {
    expect(controllers).toHaveLength(2);
    await eventually(async () => {
      expect(await get({ host: address, port: 80, name: "shop.example.com" })).toMatchObject({
        status: 200,
        body: "shop",
      });
      expect(await getSecurely(address, "vault.example.com")).toEqual({ status: 200, body: "shop" });
      expect(await get({ host: address, port: 80, name: "bakery.example.com" })).toMatchObject({ status: 200 });
    }, SOON_MS);
  });

  test("tells in statuses what is valid, and where the Service is", async () => {
    const service = { kind: "Service", namespace: NAMESPACE, name: "isoline-envoy" };
    const loadBalancer = { ingress: [{ ip: "192.0.2.10" }] };
    await admin.patch(service, { status: { loadBalancer } }, "status");
    await eventually(async () => {
      const route = await admin.get({ kind: "IngressRoute", namespace: "default", name: "shop" });
      expect(route?.status).toMatchObject({ currentStatus: "valid", description: "valid IngressRoute" });
      expect(Object(route?.status).conditions).toContainEqual(
        expect.objectContaining({ type: "Valid", status: "True" }),
      );
      const ingress = await admin.get({ kind: "Ingress", namespace: "default", name: "bakery" });
      expect(ingress?.status).toMatchObject({ loadBalancer });
    }, SOON_MS);
  });

  test("has the API server ask the webhook, by its Service", async () => {
    const wrong = root("wrong", "wrong.example.com", { weight: -1 });
    const path = collectionPath("IngressRoute", "default");
    const ask = () => admin.request({ method: "POST", path, query: { dryRun: "All" }, body: wrong });
    await eventually(async () => {
      await expect(ask()).rejects.toThrow("denied the request");
      return true;
    }, SOON_MS);
  });

  test("opens to other pods what the manifests name, and no more", async () => {
    const reachable = (pod: Pod | undefined, port: number, path: string) =>
      get({ host: pod?.address ?? "", port, name: "probe", path }).then(
        ({ status }) => status,
        () => "refused",
      );
    expect(await reachable(controllers[0], 8003, "/metrics")).toBe(200);
    expect(await reachable(controllers[0], 8003, "/api/hosts")).toBe(404);
    expect(await reachable(controllers[0], 8000, "/api/hosts")).toBe("refused");
    expect(await reachable(envoys[0], 8002, "/stats/prometheus")).toBe(200);
    expect(await reachable(envoys[0], 8002, "/config_dump")).toBe(404);
    // Who has no certificate of certgen gets nothing from there.
    expect(await reachable(controllers[0], 8001, "/")).toBe("refused");
    // Forwarded ports come from within the pod.
    const script = "process.stdout.write(await (await fetch('http://127.0.0.1:8000/api/envoys')).text())";
    expect(JSON.parse((await controllers[0]?.exec("node", "--input-type=module", "-e", script)) ?? "")).toBeInstanceOf(
      Array,
    );
  });

  test("lets no container write to its files", async () => {
    for (const pod of [controllers[0], envoys[0]]) {
      for (const file of ["/x", "/run/x", "/run/isoline/xds/x"]) {
        await expect(pod?.exec("touch", file)).rejects.toThrow("Read-only file system");
      }
    }
  });

  test("an Envoy that is to go serves to the end, and ends no request and no TCP connection", async () => {
    const [envoy] = envoys;
    if (envoy === undefined) throw new Error("no Envoy");
    const at = { host: envoy.address, port: 8080, name: "shop.example.com" };
    const agent = new Agent({ keepAlive: true });
    const waiting = get({ ...at, path: "/held" });
    await eventually(() => held.size === 1, SOON_MS);
    const tunnel = connect({ host: envoy.address, port: 8443, servername: "tunnel.example.com" });
    const cut = once(tunnel, "close");
    await eventually(() => tunnels.size === 1, SOON_MS);
    expect((await get({ ...at, agent })).headers.connection).toBeUndefined();
    const session = connectHttp2(`https://${envoy.address}:8443`, {
      servername: "vault.example.com",
      ca: authority.rootPem,
    });
    const told = once(session, "goaway");
    expect(await statusOver(session, "vault.example.com")).toBe(200);

    const begun = performance.now();
    const isLater = (ms: number) => eventually(() => performance.now() - begun > ms, SOON_MS);
    let isGone = false;
    const going = envoy
      .terminate((hook) => [...hook.slice(0, -2), "1", "60"])
      .finally(() => {
        isGone = true;
      });
    // New connections are taken, and told to go with their first answer; it stays ready, so that it is still led to.
    await eventually(async () => (await get(at)).headers.connection === "close", SOON_MS);
    expect((await get({ ...at, port: 8002, path: "/ready" })).status).toBe(200);
    expect(await statusOver(session, "vault.example.com")).toBe(200);
    await told;
    await isLater(2500);
    expect(await get(at)).toMatchObject({ status: 200, body: "shop" });
    for (const release of held) release();
    expect(await waiting).toMatchObject({ status: 200, body: "held", headers: { connection: "close" } });
    await isLater(4500);
    expect({ isGone, isCut: tunnel.closed }).toEqual({ isGone: false, isCut: false });
    tunnel.destroy();
    await cut;
    // The client that is idle is not waited for.
    expect(await going).toBe(0);
    expect(performance.now() - begun).toBeLessThan(30_000);
    agent.destroy();
  }, 60_000);

  test("controllers are replaced one after the other, and changes go on being served", async () => {
    for (const controller of controllers.splice(0)) {
      expect(await controller.terminate()).toBe(0);
      expect(await get({ host: address, port: 80, name: "shop.example.com" })).toMatchObject({ status: 200 });
      controllers.push(await node.run(NAMESPACE, templateOf(deployment)));
    }
    await admin.apply(root("late", "late.example.com"));
    await eventually(
      async () => (await get({ host: address, port: 80, name: "late.example.com" })).status === 200,
      SOON_MS,
    );
  }, 90_000);

  test("with other certificates an Envoy serves what it knows, until both sides have them", async () => {
    for (const secret of await certificates()) await admin.apply(secret);
    const before = controllers.splice(0);
    controllers = [await node.run(NAMESPACE, templateOf(deployment))];
    await Promise.all(before.map((controller) => controller.terminate()));
    await admin.apply(root("later", "later.example.com"));
    const [, old] = envoys;
    if (old === undefined) throw new Error("no Envoy");
    const next = await node.run(NAMESPACE, templateOf(daemonSet));
    const ask = (pod: Pod, name: string) => get({ host: pod.address, port: 8080, name });
    await eventually(async () => (await ask(next, "later.example.com")).status === 200, SOON_MS);
    expect(await ask(old, "shop.example.com")).toMatchObject({ status: 200 });
    expect(await ask(old, "later.example.com")).toMatchObject({ status: 404 });
  }, 90_000);
});

/** Of a request over HTTP/2. */
async function statusOver(session: ClientHttp2Session, host: string): Promise<number> {
  const stream = session.request({ ":authority": host, ":path": "/" });
  const [headers] = await once(stream, "response");
  stream.resume();
  await once(stream, "close");
  return headers[":status"];
}

/** Server-side, with everything refused that the API server does not know. */
async function applyStrictly(object: KubeObject): Promise<void> {
  await admin.request({
    method: "PATCH",
    path: objectPath(refOf(object)),
    query: { fieldManager: "kubectl", fieldValidation: "Strict" },
    body: object,
    contentType: "application/apply-patch+yaml",
  });
}

function tryPod({ metadata, spec }: PodTemplate): Promise<KubeObject> {
  return admin.request({
    method: "POST",
    path: collectionPath("Pod", NAMESPACE),
    query: { dryRun: "All", fieldValidation: "Strict" },
    body: { apiVersion: "v1", kind: "Pod", metadata: { ...metadata, name: "try" }, spec },
  });
}

function found(kind: string, name: string): KubeObject {
  const object = objects.find((each) => each.kind === kind && each.metadata.name === name);
  if (object === undefined) throw new Error(`there is no ${kind} ${name}`);
  return object;
}

function templateOf({ spec }: KubeObject): PodTemplate {
  return Object(spec).template;
}

function imageOf(object: KubeObject): string {
  return templateOf(object).spec.containers[0]?.image ?? "";
}

/** What the image starts, in this project instead of in its folder there. */
function entrypoint(): readonly string[] {
  const [, json = ""] = /^ENTRYPOINT (.*)$/m.exec(readFileSync(`${PROJECT}Dockerfile`, "utf8")) ?? [];
  const words: readonly string[] = JSON.parse(json);
  return words.map((word) => (word === "node" ? process.execPath : word.replace("/isoline/", PROJECT)));
}

async function certificates(): Promise<readonly KubeObject[]> {
  const [program = "", ...words] = entrypoint();
  const { stdout } = await promisify(execFile)(program, [...words, "certgen", "-"]);
  return parseAllDocuments(stdout).map((document) => document.toJS());
}

function root(name: string, fqdn: string, more: object = {}, tls?: object): KubeObject {
  return {
    apiVersion: "contour.heptio.com/v1beta1",
    kind: "IngressRoute",
    metadata: { name, namespace: "default" },
    spec: {
      virtualhost: { fqdn, ...(tls === undefined ? {} : { tls }) },
      routes: [{ match: "/", services: [{ name: "web", port: 80, ...more }] }],
    },
  };
}

function shop(web: Listening, tunnel: Listening): readonly KubeObject[] {
  const metadata = (name: string) => ({ name, namespace: "default" });
  const { certPem, keyPem } = authority.issue({ names: ["vault.example.com"] });
  return [
    ...service("web", web),
    ...service("tunnel", tunnel),
    {
      apiVersion: "contour.heptio.com/v1beta1",
      kind: "IngressRoute",
      metadata: metadata("tunnel"),
      spec: {
        virtualhost: { fqdn: "tunnel.example.com", tls: { passthrough: true } },
        tcpproxy: { services: [{ name: "tunnel", port: 80 }] },
      },
    },
    {
      apiVersion: "v1",
      kind: "Secret",
      type: "kubernetes.io/tls",
      metadata: metadata("vault"),
      stringData: { "tls.crt": certPem, "tls.key": keyPem },
    },
    exampleOfReadme(),
    root("vault", "vault.example.com", {}, { secretName: "vault" }),
    {
      apiVersion: "networking.k8s.io/v1",
      kind: "Ingress",
      metadata: metadata("bakery"),
      spec: {
        ingressClassName: "contour",
        rules: [
          {
            host: "bakery.example.com",
            http: {
              paths: [{ path: "/", pathType: "Prefix", backend: { service: { name: "web", port: { number: 80 } } } }],
            },
          },
        ],
      },
    },
  ];
}

/** The object that people are told to try it out with. */
function exampleOfReadme(): KubeObject {
  const [, yaml = ""] = /^```yaml\n([\s\S]*?)^```$/m.exec(readFileSync(`${PROJECT}deploy/README.md`, "utf8")) ?? [];
  return parse(yaml);
}

function service(name: string, { address, port }: Listening): readonly KubeObject[] {
  const metadata = (name: string) => ({ name, namespace: "default" });
  return [
    { apiVersion: "v1", kind: "Service", metadata: metadata(name), spec: { ports: [{ port: 80 }] } },
    {
      apiVersion: "discovery.k8s.io/v1",
      kind: "EndpointSlice",
      metadata: { ...metadata(`${name}-1`), labels: { "kubernetes.io/service-name": name } },
      addressType: "IPv4",
      ports: [{ name: "", port, protocol: "TCP" }],
      endpoints: [{ addresses: [address] }],
    },
  ];
}

type Asked = {
  readonly host: string;
  readonly port: number;
  /** In the Host header. */
  readonly name: string;
  readonly path?: string;
  readonly agent?: Agent;
};
type Answer = { readonly status: number; readonly body: string };

function get(asked: Asked): Promise<Answer & Pick<IncomingMessage, "headers">> {
  const { host, port, name, path = "/", agent } = asked;
  return new Promise((resolve, reject) => {
    send({ host, port, path, agent: agent ?? false, headers: { host: name, connection: "keep-alive" } }, (response) => {
      readBody(response).then((body) => {
        if (agent === undefined) response.destroy();
        resolve({ status: response.statusCode ?? 0, body, headers: response.headers });
      }, reject);
    })
      .on("error", reject)
      .end();
  });
}

function getSecurely(host: string, servername: string): Promise<Answer> {
  return new Promise((resolve, reject) => {
    const options = { host, port: 443, servername, ca: authority.rootPem, agent: false, headers: { host: servername } };
    sendSecure(options, (response) => {
      readBody(response).then((body) => resolve({ status: response.statusCode ?? 0, body }), reject);
    })
      .on("error", reject)
      .end();
  });
}

async function readBody(response: IncomingMessage): Promise<string> {
  let body = "";
  for await (const chunk of response.setEncoding("utf8")) body += chunk;
  return body;
}
