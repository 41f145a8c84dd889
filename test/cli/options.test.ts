import { mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { hostname, tmpdir } from "node:os";
import { join } from "node:path";
import { afterEach, expect, test, vi } from "vitest";
import { UsageError } from "../../src/cli/flags.ts";
import { readCommandLine } from "../../src/cli/options.ts";

afterEach(() => void vi.unstubAllEnvs());

function read(...args: string[]) {
  return readCommandLine(args, "1.2.3");
}

function mistake(...args: string[]): string {
  try {
    read(...args);
  } catch (error) {
    if (error instanceof UsageError) return error.message;
    throw error;
  }
  return "";
}

test("serve has the defaults of the documentation", () => {
  expect(read("serve", "--files", "manifests")).toEqual({
    command: "serve",
    options: {
      objects: { kind: "files", folder: "manifests" },
      xds: { address: "127.0.0.1", port: 8001, tls: undefined },
      http: { address: "127.0.0.1", port: 8000 },
      envoy: {
        address: "0.0.0.0",
        httpPort: 8080,
        httpsPort: 8443,
        accessLog: true,
        trustedHops: 0,
        redirectPort: undefined,
      },
      rootNamespaces: [],
      ingressClass: "contour",
      allowLoopbackExternalName: false,
      disablePermitInsecure: false,
      minimumTlsVersion: "1.1",
      maxHealthCheckConnections: 8192,
      log: { level: "info", format: "text" },
    },
  });
});

test("health and metrics have an address of their own when they are given a port", () => {
  const serve = (...args: string[]) => read("serve", "--files", "manifests", ...args);
  expect(serve("--health-address", "0.0.0.0")).not.toHaveProperty("options.health");
  expect(serve("--health-port", "0")).toMatchObject({ options: { health: { address: "127.0.0.1", port: 0 } } });
  vi.stubEnv("ISOLINE_HEALTH_PORT", "8003");
  expect(serve("--health-address", "::")).toMatchObject({ options: { health: { address: "::", port: 8003 } } });
});

test("dev listens on loopback only", () => {
  expect(read("dev", "examples", "--echo", "--envoy", "/opt/envoy")).toMatchObject({
    command: "dev",
    options: {
      files: "examples",
      echo: true,
      envoySearch: { named: [{ option: "--envoy", path: "/opt/envoy" }] },
      xds: { address: "127.0.0.1", port: 0 },
      envoy: { address: "127.0.0.1", httpPort: 8080, httpsPort: 8443, redirectPort: 8443, accessLog: false },
      envoyLimits: { maxHeapMib: 2048, maxConnections: 50_000 },
    },
  });
  expect(read("dev", "examples", "--envoy-access-log", "on")).toMatchObject({
    options: { envoy: { accessLog: true } },
  });
  expect(read("dev", "examples", "--envoy-https-port", "9443")).toMatchObject({
    options: { envoy: { redirectPort: 9443 } },
  });
  expect(read("dev", "examples", "--envoy-https-redirect-port", "443")).toMatchObject({
    options: { envoy: { redirectPort: 443 } },
  });
});

test("bootstrap keeps what is Envoy's own away from other machines", () => {
  const options = (...args: string[]) => {
    const line = read("bootstrap", "-", ...args);
    return line.command === "bootstrap" ? line.options.bootstrap : undefined;
  };
  expect(options()).toMatchObject({
    admin: { pipe: "@isoline-envoy-admin" },
    stats: { address: "127.0.0.1", port: 8002 },
    limits: { maxHeapMib: 2048, maxConnections: 50_000 },
  });
  expect(options("--admin-pipe", "/run/admin.sock")).toMatchObject({ admin: { pipe: "/run/admin.sock" } });
  expect(options("--admin-port", "9901")).toMatchObject({ admin: { address: "127.0.0.1", port: 9901 } });
  expect(options("--admin-port", "9901", "--admin-address", "::1")).toMatchObject({ admin: { address: "::1" } });
  expect(options("--stats-address", "0.0.0.0", "--stats-port", "9002")).toMatchObject({
    stats: { address: "0.0.0.0", port: 9002 },
  });
  vi.stubEnv("ISOLINE_ENVOY_MAX_HEAP_MIB", "512");
  expect(options("--envoy-max-connections", "7")).toMatchObject({ limits: { maxHeapMib: 512, maxConnections: 7 } });
});

test.each([
  [["--admin-port", "9901", "--admin-address", "0.0.0.0"], '--admin-address must be a loopback address, not "0.0.0.0"'],
  [
    ["--admin-port", "9901", "--admin-address", "localhost"],
    '--admin-address must be a loopback address, not "localhost"',
  ],
  [["--admin-address", "127.0.0.1"], "--admin-address needs --admin-port"],
  [["--admin-pipe", "@a", "--admin-port", "9901"], "--admin-pipe contradicts --admin-port"],
  [["--envoy-max-connections", "0"], '--envoy-max-connections must be a number from 1 to 999999999, not "0"'],
  [["--envoy-max-heap-mib", "1GiB"], '--envoy-max-heap-mib must be a number from 1 to 999999999, not "1GiB"'],
])("bootstrap %j is a mistake", (args, message) => {
  expect(mistake("bootstrap", "-", ...args)).toBe(message);
});

test("every flag can be set in the environment, and the command line goes first", () => {
  vi.stubEnv("ISOLINE_FILES", "from-env");
  vi.stubEnv("ISOLINE_XDS_PORT", "9001");
  vi.stubEnv("ISOLINE_HTTP_PORT", "9002");
  vi.stubEnv("ISOLINE_ALLOW_LOOPBACK_EXTERNAL_NAME", "true");
  vi.stubEnv("ISOLINE_INGRESSROUTE_ROOT_NAMESPACES", " a , b ");
  vi.stubEnv("ISOLINE_DISABLE_PERMIT_INSECURE", "true");
  vi.stubEnv("ISOLINE_TLS_MINIMUM_PROTOCOL_VERSION", "1.2");
  vi.stubEnv("ISOLINE_LOG_LEVEL", "");
  expect(read("serve", "--http-port", "9003")).toMatchObject({
    options: {
      objects: { kind: "files", folder: "from-env" },
      xds: { port: 9001 },
      http: { port: 9003 },
      allowLoopbackExternalName: true,
      disablePermitInsecure: true,
      minimumTlsVersion: "1.2",
      rootNamespaces: ["a", "b"],
      log: { level: "info" },
    },
  });
});

test("serve reads from an API server when a kubeconfig is given, or in a pod when nothing is", () => {
  const folder = mkdtempSync(join(tmpdir(), "isoline-options-"));
  const file = join(folder, "config");
  writeFileSync(
    file,
    `{ current-context: a, contexts: [{ name: a, context: { cluster: b } }],
       clusters: [{ name: b, cluster: { server: "https://b.example.com" } }] }`,
  );
  const objectsOf = (...args: string[]) => {
    const line = read("serve", ...args);
    return line.command === "serve" ? line.options.objects : undefined;
  };
  const serverOf = (...args: string[]) => {
    const objects = objectsOf(...args);
    expect(objects).toMatchObject({ kind: "cluster", userAgent: "isoline/1.2.3" });
    return objects?.kind === "cluster" ? objects.access().server : undefined;
  };
  expect(serverOf("--kubeconfig", file)).toBe("https://b.example.com");
  vi.stubEnv("ISOLINE_KUBECONFIG", file);
  expect(serverOf()).toBe("https://b.example.com");
  rmSync(folder, { recursive: true });
  expect(() => serverOf()).toThrow(/^the kubeconfig .* cannot be read \(ENOENT\)$/);
  vi.unstubAllEnvs();
  vi.stubEnv("KUBERNETES_SERVICE_HOST", "10.96.0.1");
  vi.stubEnv("KUBERNETES_SERVICE_PORT", "443");
  expect(objectsOf()).toMatchObject({ kind: "cluster" });
  expect(objectsOf("--files", "x")).toEqual({ kind: "files", folder: "x" });
  expect(mistake("serve", "--files", "x", "--kubeconfig", file)).toBe("--files contradicts --kubeconfig");
});

test("a switch can be set to false in the environment", () => {
  vi.stubEnv("ISOLINE_INSECURE", "false");
  expect(mistake("serve", "--files", "x", "--xds-address", "0.0.0.0")).toMatch(/^xDS on 0\.0\.0\.0 can be reached/);
  vi.stubEnv("ISOLINE_INSECURE", "maybe");
  expect(mistake("serve", "--files", "x")).toBe('ISOLINE_INSECURE must be true or false, not "maybe"');
});

test("what Kubernetes says of a Service of the same name is no flag", () => {
  vi.stubEnv("ISOLINE_XDS_PORT", "tcp://10.0.0.1:8001");
  expect(read("serve", "--files", "x")).toMatchObject({ options: { xds: { port: 8001 } } });
});

test("xDS without TLS has to be asked for, unless it is on a loopback address", () => {
  const files = "--xds-cert-file, --xds-key-file and --xds-ca-file";
  const tls = ["--xds-cert-file", "c", "--xds-key-file", "k", "--xds-ca-file", "a"];
  const serve = ["serve", "--files", "x"];
  expect(mistake(...serve, "--xds-address", "0.0.0.0")).toBe(
    `xDS on 0.0.0.0 can be reached from other machines: ${files} are needed, or --insecure`,
  );
  expect(mistake(...serve, "--xds-address", "::")).toMatch(/can be reached/);
  expect(mistake(...serve, ...tls.slice(0, 4))).toBe(`${files} are needed together`);
  expect(mistake(...serve, ...tls, "--insecure")).toBe(`--insecure contradicts ${files}`);
  expect(read(...serve, "--xds-address", "0.0.0.0", "--insecure")).toMatchObject({
    options: { xds: { tls: undefined } },
  });
  expect(read(...serve, "--xds-address", "::1")).toMatchObject({ options: { xds: { tls: undefined } } });
  expect(read(...serve, "--xds-address", "0.0.0.0", ...tls)).toMatchObject({
    options: { xds: { tls: { certFile: "c", keyFile: "k", caFile: "a" } } },
  });
  expect(mistake("bootstrap", "-", "--xds-address", "isoline")).toMatch(/^xDS on isoline can be reached/);
});

test.each([
  [["--xds-port", "abc"], '--xds-port must be a port from 0 to 65535, not "abc"'],
  [["--xds-port", "65536"], '--xds-port must be a port from 0 to 65535, not "65536"'],
  [["--envoy-http-port", "0"], '--envoy-http-port must be a port from 1 to 65535, not "0"'],
  [["--http-port=-1"], '--http-port must be a port from 0 to 65535, not "-1"'],
  [["--http-address", "localhost"], '--http-address must be an IP address, not "localhost"'],
  [["--envoy-address", "1.2.3"], '--envoy-address must be an IP address, not "1.2.3"'],
  [["--log-level", "loud"], '--log-level must be one of trace, debug, info, warn, error, fatal, not "loud"'],
  [["--log-format", "xml"], '--log-format must be one of text, json, not "xml"'],
  [["--ingress-class-name", ""], '--ingress-class-name needs a value, not ""'],
  [
    ["--ingressroute-root-namespaces", "a,B"],
    '--ingressroute-root-namespaces must be names of namespaces, separated by commas, not "a,B"',
  ],
  [
    ["--ingressroute-root-namespaces="],
    '--ingressroute-root-namespaces must be names of namespaces, separated by commas, not ""',
  ],
])("serve %j is a mistake", (args, message) => {
  expect(mistake("serve", "--files", "x", ...args)).toBe(message);
});

test("a kubeconfig has the Lease in a namespace that all replicas share, a pod in its own", () => {
  const leaseOf = (...args: readonly string[]) => {
    const { options } = Object(read("serve", ...args));
    return options.objects.lease;
  };
  expect(leaseOf("--kubeconfig", "x")).toEqual({ namespace: "isoline", name: "isoline" });
  const given = ["--leader-election-namespace", "edge", "--leader-election-name", "edge.eu"];
  expect(leaseOf("--kubeconfig", "x", ...given)).toEqual({ namespace: "edge", name: "edge.eu" });
  vi.stubEnv("KUBERNETES_SERVICE_HOST", "10.96.0.1");
  vi.stubEnv("KUBERNETES_SERVICE_PORT", "443");
  expect(leaseOf()).toEqual({ namespace: undefined, name: "isoline" });
  expect(mistake("serve", "--leader-election-namespace", "a.b")).toBe(
    "--leader-election-namespace must be the name of a namespace",
  );
  expect(mistake("serve", "--leader-election-name", "A")).toBe("--leader-election-name must be the name of a Lease");
});

test("a replica is known by its pod", () => {
  const instance = () => Object(read("serve", "--kubeconfig", "x")).options.objects.instance;
  expect(instance()).toBe(hostname());
  vi.stubEnv("POD_NAME", "isoline-7d9c-x2x");
  expect(instance()).toBe("isoline-7d9c-x2x");
});

test("the status of Ingresses has addresses, those of a Service, or is left alone", () => {
  const loadBalancer = (...args: readonly string[]) => {
    const { options } = Object(read("serve", "--kubeconfig", "x", ...args));
    return options.objects.loadBalancer;
  };
  expect(loadBalancer()).toEqual({ kind: "none" });
  expect(loadBalancer("--ingress-status-address", "192.0.2.1, 2001:db8::1,LB.example.com")).toEqual({
    kind: "addresses",
    addresses: [{ ip: "192.0.2.1" }, { ip: "2001:db8::1" }, { hostname: "lb.example.com" }],
  });
  const service = ["--ingress-status-service", "edge/envoy"];
  expect(loadBalancer(...service)).toEqual({ kind: "service", namespace: "edge", name: "envoy" });
  const wrong = (...args: string[]) => mistake("serve", "--kubeconfig", "x", ...args);
  expect(wrong("--ingress-status-address", "192.0.2.1", ...service)).toBe(
    "--ingress-status-address contradicts --ingress-status-service",
  );
  expect(wrong("--ingress-status-address", "192.0.2.1,")).toMatch(/^--ingress-status-address must be a host name/);
  expect(wrong("--ingress-status-service", "envoy")).toMatch(
    /^--ingress-status-service must be a namespace and a name/,
  );
  expect(mistake("serve", "--files", "x", ...service)).toBe(
    "only objects of a cluster have a status: --files has none",
  );
});

test("there is a webhook when it has a port", () => {
  const webhook = (...args: readonly string[]) => {
    const { options } = Object(read("serve", "--kubeconfig", "x", ...args));
    return options.objects.webhook;
  };
  expect(webhook()).toBeUndefined();
  const defaults = { address: "127.0.0.1", secret: "isoline-webhook", isWarnOnly: false };
  expect(webhook("--webhook-port", "9443")).toEqual({
    ...{ ...defaults, port: 9443, service: undefined, configuration: undefined },
  });
  const reachable = ["--webhook-port", "0", "--webhook-address", "0.0.0.0", "--webhook-service", "isoline/webhook"];
  expect(webhook(...reachable, "--webhook-configuration", "isoline", "--webhook-warn-only")).toEqual({
    ...{ ...defaults, address: "0.0.0.0", port: 0, service: { namespace: "isoline", name: "webhook" } },
    ...{ configuration: "isoline", isWarnOnly: true },
  });
});

test("a webhook that nobody could reach is a mistake", () => {
  const wrong = (...args: string[]) => mistake("serve", "--kubeconfig", "x", ...args);
  expect(wrong("--webhook-service", "a/b")).toBe("--webhook-service needs --webhook-port");
  expect(wrong("--webhook-warn-only")).toBe("--webhook-warn-only needs --webhook-port");
  expect(wrong("--webhook-port", "9443", "--webhook-address", "::")).toBe(
    "--webhook-address :: is no address to be reached by: --webhook-service is needed",
  );
  expect(wrong("--webhook-port", "9443", "--webhook-service", "b")).toBe(
    '--webhook-service must be a namespace and a name with a slash between them, not "b"',
  );
  expect(mistake("serve", "--files", "x", "--webhook-port", "9443")).toMatch(/^--files contradicts --webhook-port/);
});
