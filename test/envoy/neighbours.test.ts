import { createServer } from "node:net";
import { afterAll, afterEach, beforeAll, expect, test } from "vitest";
import { objects, rootYaml, serviceYaml } from "../objects.ts";
import { createAuthority } from "../parts/authority.ts";
import { startScripted, startTls } from "../parts/backends.ts";
import { openLines, requestHttps } from "../parts/clients.ts";
import { type Listening, listening } from "../parts/listening.ts";
import { eventually, startEnvoy } from "./harness.ts";
import { describeWithEnvoy } from "./suite.ts";
import { startWorld, type World } from "./world.ts";

const authority = createAuthority("test");
/** How long the silent one's checks may take, and far less than that. */
const PATIENCE_SECONDS = 30;
const SOON_MS = 3000;

type Silent = Listening & { readonly connections: () => number };

/** Takes connections, and says nothing. */
async function startSilent(): Promise<Silent> {
  let connections = 0;
  const server = createServer(() => {
    connections++;
  });
  return { ...(await listening(server)), connections: () => connections };
}

function secretYaml(name: string): string {
  const { certPem, keyPem } = authority.issue({ names: [`${name}.example.com`] });
  const stringData = JSON.stringify({ "tls.crt": certPem, "tls.key": keyPem });
  return `---
apiVersion: v1
kind: Secret
metadata: { name: ${name} }
type: kubernetes.io/tls
stringData: ${stringData}
`;
}

function tlsRootYaml(name: string, tls: string, spec: string): string {
  return `---
apiVersion: contour.heptio.com/v1beta1
kind: IngressRoute
metadata: { name: ${name} }
spec: { virtualhost: { fqdn: ${name}.example.com, tls: ${tls} }, ${spec} }
`;
}

type ObjectStatus = {
  readonly name: string;
  readonly status: { readonly conditions: readonly { readonly type: string; readonly status: string }[] };
};

const WEB = "routes: [{ match: /, services: [{ name: web, port: 80 }] }]";
const TLS_1_3 = "minimumProtocolVersion: '1.3'";
const tcpTo = (service: string, more = "") => `tcpproxy: { services: [{ name: ${service}, port: 80 ${more} }] }`;
const healthCheck = (timeoutSeconds: number) =>
  `, healthCheck: { path: /healthy, intervalSeconds: 1, timeoutSeconds: ${timeoutSeconds} }`;

describeWithEnvoy("a neighbour whose endpoints never answer their health checks", (binary) => {
  let world: World;
  let silent: Silent;
  let web: Listening;
  let other: Listening;
  let secret: Listening;
  /** Takes away everything but the services. */
  let clear: () => Promise<void>;

  beforeAll(async () => {
    [silent, web, other, secret] = await Promise.all([
      startSilent(),
      startScripted({ name: "web", healthPath: "/healthy" }),
      startScripted({ name: "other", healthPath: "/healthy" }),
      startTls({ name: "secret", identity: authority.issue({ names: ["pass.example.com"] }) }),
    ]);
    world = await startWorld({ binary, echo: false, settings: { allowLoopbackExternalName: true } });
    const services = { web, other, secret, silent };
    const serviceYamls = Object.entries(services).map(([name, { port }]) => serviceYaml(name, port));
    clear = () => world.replace(objects(serviceYamls.join("")));
    await clear();
  });
  afterEach(() => clear());
  afterAll(async () => {
    expect(await world.envoy().rejected()).toBe(0);
    await world.stop();
    await Promise.all([silent, web, other, secret].map(({ stop }) => stop()));
  });

  const get = (name: string, maxVersion: "TLSv1.2" | "TLSv1.3" = "TLSv1.3") => {
    const host = `${name}.example.com`;
    return requestHttps({ port: world.httpsPort, sni: host, host, maxVersion });
  };
  const answer = async (name: string) => {
    const connection = await openLines({ port: world.httpsPort, tls: { sni: `${name}.example.com` } });
    try {
      return await connection.ask("hello");
    } finally {
      connection.close();
    }
  };
  /** What clients of TLS 1.2 get from now on: statuses, or 0 where there was no connection. */
  const watchOldClients = (name: string) => {
    const seen = new Map<number, number>();
    let done = false;
    const ask = async () => {
      while (!done) {
        const { status } = await get(name, "TLSv1.2").catch(() => ({ status: 0 }));
        seen.set(status, (seen.get(status) ?? 0) + 1);
      }
    };
    const clients = [ask(), ask()];
    return {
      times: (status: number) => seen.get(status) ?? 0,
      stop: async () => {
        done = true;
        await Promise.all(clients);
        return [...seen.keys()];
      },
    };
  };

  test.each([
    ["TCP host", tlsRootYaml("quiet", "{ passthrough: true }", tcpTo("silent", healthCheck(PATIENCE_SECONDS)))],
    [
      "HTTP host",
      rootYaml(
        "quiet",
        "quiet.example.com",
        `[{ match: /, services: [{ name: silent, port: 80 ${healthCheck(PATIENCE_SECONDS)} }] }]`,
      ),
    ],
  ])("with a %s delays nothing of others", async (_, quietYaml) => {
    const passing = objects(tlsRootYaml("pass", "{ passthrough: true }", tcpTo("secret")));
    const steady = (service: string, more = "") =>
      objects(
        rootYaml("steady", "steady.example.com", `[{ match: /, services: [{ name: ${service}, port: 80 ${more} }] }]`),
      );
    await world.apply([...passing, ...steady("web")]);
    await eventually(async () => (await answer("pass")) === "secret hello", SOON_MS);
    const modern = objects(secretYaml("modern") + tlsRootYaml("modern", `{ secretName: modern, ${TLS_1_3} }`, WEB));
    const oldClients = watchOldClients("modern");

    const checksBefore = silent.connections();
    const quiet = objects(quietYaml);
    world.change(quiet);
    await eventually(() => silent.connections() > checksBefore, SOON_MS);
    const begin = performance.now();

    world.change(modern);
    await eventually(async () => (await get("modern")).status === 200, SOON_MS);

    world.change(
      objects(tlsRootYaml("pass", "{ passthrough: true, minimumProtocolVersion: nonsense }", tcpTo("secret"))),
    );
    await eventually(
      () =>
        answer("pass").then(
          () => false,
          () => true,
        ),
      SOON_MS,
    );

    // It waits for checks of its own, and only for these.
    world.change(steady("other", healthCheck(1)));
    await eventually(async () => {
      const { status, body } = await world.get("steady.example.com", "/");
      expect(status).toBe(200);
      return JSON.parse(body).backend === "other";
    }, SOON_MS);

    await eventually(async () => {
      const reply = await fetch(`http://127.0.0.1:${world.running().httpPort}/api/ingressroutes`);
      const statuses: ObjectStatus[] = JSON.parse(await reply.text());
      const programmed = statuses.flatMap(({ name, status }) =>
        status.conditions.flatMap(({ type, status }) => (type === "Programmed" ? [[name, status]] : [])),
      );
      expect(programmed).toEqual(
        expect.arrayContaining([
          ["modern", "True"],
          ["steady", "True"],
        ]),
      );
    }, SOON_MS);

    const refused = oldClients.times(0);
    await eventually(() => oldClients.times(0) > refused + 20, SOON_MS);
    // No connection, no such host as yet, or a refusal.
    expect([0, 404, 421]).toEqual(expect.arrayContaining(await oldClients.stop()));
    expect(performance.now() - begin).toBeLessThan(PATIENCE_SECONDS * 1000);
    // Envoy has not acknowledged its cluster, so all of that was in the time of its checks.
    const { cache, xds } = world.running();
    const pending = [...cache.resources("cluster").keys()].filter((name) =>
      xds.acceptances("cluster", name).some(({ acceptance }) => acceptance.kind === "pending"),
    );
    expect(pending).toContainEqual(expect.stringContaining("default/silent/80/"));
  });

  test("does not keep a route in clear text that asks for TLS to it", async () => {
    const routeTo = (service: string, more = "") =>
      rootYaml("secured", "secured.example.com", `[{ match: /, services: [{ name: ${service}, port: 80 ${more} }] }]`);
    await world.apply(objects(routeTo("web")));
    await eventually(async () => (await world.get("secured.example.com", "/")).status === 200, SOON_MS);
    const service = serviceYaml("tls", silent.port).replace(
      "name: tls }",
      'name: tls, annotations: { contour.heptio.com/upstream-protocol.tls: "80" } }',
    );
    world.change(objects(service + routeTo("tls", healthCheck(PATIENCE_SECONDS))));
    await eventually(async () => (await world.get("secured.example.com", "/")).status === 503, SOON_MS);
  });

  test("costs an Envoy that starts the time of the checks, and no more", async () => {
    const external = `---
apiVersion: v1
kind: Service
metadata: { name: external }
spec: { type: ExternalName, externalName: localhost, ports: [{ port: ${silent.port} }] }
`;
    const route = (name: string, port: number, more = "") =>
      rootYaml(name, `${name}.example.com`, `[{ match: /, services: [{ name: ${name}, port: ${port} ${more} }] }]`);
    world.change(objects(external + route("external", silent.port, healthCheck(1)) + route("web", 80)));
    const second = await startEnvoy({ binary, xdsPort: world.running().xdsPort, nodeId: "second", startMs: 10_000 });
    await second.stop();
  });
});
