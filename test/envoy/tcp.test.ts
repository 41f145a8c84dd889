import { afterAll, beforeAll, expect, test } from "vitest";
import { objects, serviceYaml } from "../objects.ts";
import { createAuthority } from "../parts/authority.ts";
import { startTcp, startTls } from "../parts/backends.ts";
import { type LineConnection, openLines, requestHttps } from "../parts/clients.ts";
import type { Listening } from "../parts/listening.ts";
import { eventually } from "./harness.ts";
import { describeWithEnvoy } from "./suite.ts";
import { startWorld, type World } from "./world.ts";

const authority = createAuthority("test");
const SOON_MS = 5000;

describeWithEnvoy("TCP on a real Envoy", (binary) => {
  let world: World;
  let backends: Readonly<Record<"one" | "two" | "secret", Listening>>;

  const secretYaml = (name: string, ...names: readonly string[]) => {
    const { certPem, keyPem } = authority.issue({ names });
    const stringData = JSON.stringify({ "tls.crt": certPem, "tls.key": keyPem });
    return `---
apiVersion: v1
kind: Secret
metadata: { name: ${name} }
type: kubernetes.io/tls
stringData: ${stringData}
`;
  };
  const rootYaml = (name: string, tls: string, spec: string) => `---
apiVersion: contour.heptio.com/v1beta1
kind: IngressRoute
metadata: { name: ${name} }
spec: { virtualhost: { fqdn: ${name}.example.com, tls: ${tls} }, ${spec} }
`;
  const tcp = (services: string) => `tcpproxy: { services: [${services}] }`;
  const to = (service: string, weight = "") => `{ name: ${service}, port: 80${weight} }`;
  const lines = (name: string): Promise<LineConnection> =>
    openLines({ port: world.httpsPort, tls: { sni: `${name}.example.com`, caPem: authority.rootPem } });
  const answer = async (name: string): Promise<string> => {
    const connection = await lines(name);
    const said = await connection.ask("hello");
    connection.close();
    return said;
  };

  beforeAll(async () => {
    const identity = authority.issue({ names: ["pass.example.com"] });
    const [one, two, secret] = await Promise.all([
      startTcp({ name: "one" }),
      startTcp({ name: "two" }),
      startTls({ name: "secret", identity }),
    ]);
    backends = { one, two, secret };
    world = await startWorld({ binary, echo: false });
    await world.apply(
      objects(
        serviceYaml("one", one.port) +
          serviceYaml("two", two.port) +
          serviceYaml("secret", secret.port) +
          secretYaml("cert", "terminate.example.com", "http.example.com", "more.example.com") +
          rootYaml("terminate", "{ secretName: cert }", tcp(to("one"))) +
          rootYaml("pass", "{ passthrough: true }", tcp(to("secret"))) +
          rootYaml("http", "{ secretName: cert }", "routes: [{ match: /, services: [{ name: gone, port: 80 }] }]"),
      ),
    );
  });
  afterAll(async () => {
    expect(await world.envoy().rejected()).toBe(0);
    await world.stop();
    await Promise.all(Object.values(backends).map((backend) => backend.stop()));
  });

  test("three kinds of hosts share the port: terminated, passed through, and HTTP", async () => {
    expect(await answer("terminate")).toBe("one hello");
    // Its certificate is the backend's, which Envoy does not have.
    expect(await answer("pass")).toBe("secret hello");
    const host = "http.example.com";
    const reply = await requestHttps({ port: world.httpsPort, sni: host, host, caPem: authority.rootPem });
    expect(reply.status).toBe(503);
  });

  test("nothing of a TCP host is on the insecure port", async () => {
    for (const name of ["terminate", "pass"]) expect((await world.get(`${name}.example.com`, "/")).status).toBe(404);
  });

  test("a connection stays while hosts come, change and go", async () => {
    const kept = await lines("terminate");
    const passed = await lines("pass");
    expect(await kept.ask("before")).toBe("one before");
    const more = rootYaml("more", "{ secretName: cert }", tcp(to("two")));
    const [added] = objects(more);
    await world.apply(objects(more));
    await eventually(async () => (await answer("more")) === "two hello", SOON_MS);
    await world.apply(objects(rootYaml("more", "{ secretName: cert, minimumProtocolVersion: '1.3' }", tcp(to("one")))));
    await eventually(async () => (await answer("more")) === "one hello", SOON_MS);
    if (added !== undefined) await world.apply([{ kind: "deleted", key: added.key }]);
    await eventually(
      () =>
        answer("more").then(
          () => false,
          () => true,
        ),
      SOON_MS,
    );
    expect(await kept.ask("after")).toBe("one after");
    expect(await passed.ask("after")).toBe("secret after");
    kept.close();
    passed.close();
  });

  test("connections follow the weights", async () => {
    const services = `${to("one", ", weight: 1")}, ${to("two", ", weight: 3")}`;
    await world.apply(objects(rootYaml("terminate", "{ secretName: cert }", tcp(services))));
    await eventually(async () => (await answer("terminate")) === "two hello", SOON_MS);
    let ones = 0;
    for (let i = 0; i < 200; i++) if ((await answer("terminate")) === "one hello") ones++;
    // Five standard deviations around 50.
    expect(Math.abs(ones - 50)).toBeLessThanOrEqual(5 * Math.sqrt(200 * 0.25 * 0.75));
  });

  test("a connection for which nobody is there is closed at once", async () => {
    await world.apply(objects(rootYaml("terminate", "{ secretName: cert }", tcp(to("gone")))));
    await eventually(
      () =>
        answer("terminate").then(
          () => false,
          () => true,
        ),
      SOON_MS,
    );
    await world.apply(objects(rootYaml("terminate", "{ secretName: cert }", tcp(to("one")))));
    await eventually(async () => (await answer("terminate")) === "one hello", SOON_MS);
  });
});
