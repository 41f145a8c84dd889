import { afterAll, beforeAll, expect, test } from "vitest";
import { MAX_ALIASES } from "../../src/xds/stream.ts";
import { objects, serviceYaml } from "../objects.ts";
import { createAuthority, type Identity } from "../parts/authority.ts";
import { openH2, openTls } from "../parts/clients.ts";
import { eventually } from "./harness.ts";
import { describeWithEnvoy } from "./suite.ts";
import { startWorld, type World } from "./world.ts";

const authority = createAuthority("test");
const NAMES = 2 * MAX_ALIASES;
/** So many ask at once: Envoy always waits for some answers. */
const CLIENTS = 40;
/** The oldest names are taken away when the answers to the latest have been acknowledged. */
const SLACK = 2 * CLIENTS;
/** Every so many names somebody looks whether all is well. */
const ROUND = 250;
const FLOOD_MS = 90_000;
const SETTLE_MS = 5000;
const NEIGHBOUR = "neighbour.example.org";
const ODD_HOST = "odd-letter-case.example.com";

describeWithEnvoy("names that clients make up, before a real Envoy", (binary) => {
  let world: World;
  beforeAll(async () => {
    world = await startWorld({ binary });
    const hosts = [NEIGHBOUR, ODD_HOST, "*.w.test"].map((host) =>
      tlsHostYaml(host, authority.issue({ names: [host] })),
    );
    await world.apply(objects(serviceYaml("web") + hosts.join("")));
  });
  afterAll(async () => {
    expect(await world.envoy().rejected()).toBe(0);
    await world.stop();
  });

  const to = (sni: string) => ({ port: world.httpsPort, sni });
  /** Asks for no answer: the backends share their thread with the clients, and are too busy to keep connections. */
  const present = async (sni: string) => {
    (await openTls({ ...to(sni), caPem: authority.rootPem })).destroy();
  };
  /** Envoy has one such counter for each secret that it holds or waits for. */
  const secrets = async () => (await world.envoy().stats("^sds\\..*\\.update_rejected$")).size;
  const serial = async (sni: string) => {
    const socket = await openTls(to(sni));
    const { serialNumber } = socket.getPeerCertificate();
    socket.destroy();
    return serialNumber;
  };

  test.each([
    ["in odd letter case", (n: number) => oddCase(ODD_HOST, n + 1), ODD_HOST],
    ["below a wildcard", (n: number) => `r${n}.w.test`, "*.w.test"],
  ])(
    "%s are all served, and Envoy keeps few of them",
    async (_, nameOf, host) => {
      const first = nameOf(0);
      const kept = await openH2({ ...to(first), caPem: authority.rootPem });
      let most = 0;
      let next = 1;
      const client = async () => {
        for (let n = next++; n < NAMES; n = next++) {
          (await openTls(to(nameOf(n)))).destroy();
          if (n % ROUND !== 0) continue;
          most = Math.max(most, await secrets());
          await Promise.all([NEIGHBOUR, ODD_HOST, "www.w.test"].map(present));
        }
      };
      await Promise.all(Array.from({ length: CLIENTS }, client));
      expect(most).toBeGreaterThan(MAX_ALIASES / 2);
      expect(most).toBeLessThan(MAX_ALIASES + SLACK);

      // The name has been taken away, and a connection that was made under it goes on.
      expect((await world.envoy().stats(`^sds\\.${first}\\.update_rejected$`)).size).toBe(0);
      await eventually(async () => (await kept.ask({ host: first.toLowerCase() })).status === 200, SETTLE_MS);
      kept.close();
      await present(first);

      const last = nameOf(NAMES - 1);
      const before = await serial(last);
      await world.apply(objects(tlsHostYaml(host, authority.issue({ names: [host] }))));
      await eventually(async () => (await serial(last)) !== before && (await serial(first)) !== before, SETTLE_MS);
    },
    FLOOD_MS,
  );

  test("those that Envoy holds when the controller comes back count", async () => {
    await world.restartController(async () => {});
    for (let n = 0; n < ROUND; n++) (await openTls(to(`again${n}.w.test`))).destroy();
    await eventually(async () => (await secrets()) < MAX_ALIASES + SLACK, SETTLE_MS);
    await present(NEIGHBOUR);
  });
});

/** The n-th way to write a name. */
function oddCase(name: string, n: number): string {
  let bit = 1;
  return name.replace(/[a-z]/g, (letter) => {
    const isUpper = (n & bit) !== 0;
    bit *= 2;
    return isUpper ? letter.toUpperCase() : letter;
  });
}

function tlsHostYaml(host: string, { certPem, keyPem }: Identity): string {
  const name = host.replace("*", "any");
  const backend = "{ service: { name: web, port: { number: 80 } } }";
  return `---
apiVersion: networking.k8s.io/v1
kind: Ingress
metadata: { name: ${name} }
spec:
  tls: [{ hosts: ["${host}"], secretName: ${name} }]
  rules: [{ host: "${host}", http: { paths: [{ path: /, pathType: Prefix, backend: ${backend} }] } }]
---
apiVersion: v1
kind: Secret
metadata: { name: ${name} }
type: kubernetes.io/tls
stringData: ${JSON.stringify({ "tls.crt": certPem, "tls.key": keyPem })}
`;
}
