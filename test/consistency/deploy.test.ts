import { existsSync, readFileSync } from "node:fs";
import { fileURLToPath } from "node:url";
import { expect, test } from "vitest";
import { FETCHED_VERSION } from "../../src/cli/envoy-binary.ts";
import { readCommandLine } from "../../src/cli/options.ts";
import { CONTROLLER_NAME } from "../../src/compile/ingress/class.ts";
import { deployed, deployFiles, kustomization } from "../parts/deploy.ts";

/** What test/cluster/deploy.test.ts does not show by running it. */

const PROJECT = fileURLToPath(new URL("../..", import.meta.url));
const objects = deployFiles().flatMap(deployed);
const [deployment] = objects.filter(({ kind }) => kind === "Deployment");
const [daemonSet] = objects.filter(({ kind }) => kind === "DaemonSet");
const templates = [deployment, daemonSet].map((object) => Object(object?.spec).template);
const [controller, envoy] = templates;
const containers = templates.flatMap(({ spec }) => [...(spec.initContainers ?? []), ...spec.containers]);
const packageJson = JSON.parse(text("package.json"));

test("kubectl apply -k applies every manifest, the namespace first", () => {
  const { resources } = kustomization();
  expect([...resources].sort()).toEqual(deployFiles());
  expect(deployed(resources[0] ?? "")).toMatchObject([{ kind: "Namespace", metadata: { name: "isoline" } }]);
  for (const { metadata } of objects) expect(["isoline", undefined]).toContain(metadata.namespace);
});

test("the images are those of this version, and of the Envoy that is tested with", () => {
  const ours = `isoline:${packageJson.version}`;
  expect(kustomization().images).toEqual([{ name: "isoline", newName: "isoline", newTag: packageJson.version }]);
  const images = new Set(containers.map(({ image }) => image));
  expect([...images].sort()).toEqual([`envoyproxy/envoy:v${FETCHED_VERSION}`, ours]);
});

test("no container can change what it runs, and only the controller can ask the API server", () => {
  for (const { securityContext, resources } of containers) {
    expect(securityContext).toMatchObject({ readOnlyRootFilesystem: true });
    expect(resources).toMatchObject({
      requests: { memory: expect.any(String) },
      limits: { memory: expect.any(String) },
    });
  }
  expect(controller.spec).toMatchObject({ serviceAccountName: "isoline" });
  expect(envoy.spec).toMatchObject({ serviceAccountName: "isoline-envoy", automountServiceAccountToken: false });
});

test("the NetworkPolicy lets Envoys reach xDS, and everybody what everybody may", () => {
  const [policy] = objects.filter(({ kind }) => kind === "NetworkPolicy");
  const { ports } = controller.spec.containers[0];
  expect(policy?.spec).toEqual({
    podSelector: { matchLabels: controller.metadata.labels },
    policyTypes: ["Ingress"],
    ingress: [
      { from: [{ podSelector: { matchLabels: envoy.metadata.labels } }], ports: [{ port: "xds" }] },
      { ports: [{ port: "health" }, { port: "webhook" }] },
    ],
  });
  expect(ports.map(({ name }: { readonly name: string }) => name).sort()).toEqual(["health", "webhook", "xds"]);
});

test("whatever selects pods selects those of one workload", () => {
  for (const [object, template] of [
    [deployment, controller],
    [daemonSet, envoy],
  ]) {
    expect(object.spec.selector).toEqual({ matchLabels: template.metadata.labels });
  }
  const [budget] = objects.filter(({ kind }) => kind === "PodDisruptionBudget");
  expect(Object(budget?.spec).selector).toEqual({ matchLabels: controller.metadata.labels });
  const [spread] = controller.spec.topologySpreadConstraints;
  expect(spread.labelSelector).toEqual({ matchLabels: controller.metadata.labels });
});

test("Envoy has the memory that it is told of, and every hook the time that it takes", () => {
  const [bootstrap] = envoy.spec.initContainers;
  const line = readCommandLine(bootstrap.args, "0");
  const limits = line.command === "bootstrap" ? line.options.bootstrap.limits : undefined;
  expect(envoy.spec.containers[0].resources.limits.memory).toBe("2Gi");
  expect(limits?.maxHeapMib).toBe(1536);
  const [least, most] = envoy.spec.containers[0].lifecycle.preStop.exec.command.slice(-2).map(Number);
  expect(least).toBeLessThan(most);
  expect(most).toBeLessThan(envoy.spec.terminationGracePeriodSeconds);
  const [, wait] = controller.spec.containers[0].lifecycle.preStop.exec.command.map(Number);
  expect(wait).toBeLessThan(controller.spec.terminationGracePeriodSeconds / 2);
});

test("the IngressClass is the one that is served", () => {
  const line = readCommandLine(["check", "-"], "0");
  const name = line.command === "check" ? line.options.ingressClass : undefined;
  const [ingressClass] = objects.filter(({ kind }) => kind === "IngressClass");
  expect(ingressClass).toMatchObject({ metadata: { name }, spec: { controller: CONTROLLER_NAME } });
});

/** What the image is built from; it is not built here. */
const dockerfile = text("Dockerfile")
  .split("\n")
  .flatMap((line) => {
    const [, instruction, rest] = /^([A-Z]+) (.*)$/.exec(line) ?? [];
    return instruction === undefined || rest === undefined ? [] : { instruction, words: rest.split(" ") };
  });
const instructions = (name: string) => dockerfile.filter(({ instruction }) => instruction === name);

test("the image is of one version of Node, one that the program runs on", () => {
  const versions = new Set(instructions("FROM").map(({ words: [image = ""] }) => image));
  expect(versions.size).toBe(1);
  const [, major, minor] = /^node:(\d+)\.(\d+)\.\d+-slim$/.exec([...versions][0] ?? "") ?? [];
  const [, oldestMajor, oldestMinor] = /^>=(\d+)\.(\d+)$/.exec(packageJson.engines.node) ?? [];
  expect(Number(major)).toBe(Number(oldestMajor));
  expect(Number(minor)).toBeGreaterThanOrEqual(Number(oldestMinor));
});

test("the image copies what there is, and nothing else gets into its build", () => {
  const copied = instructions("COPY")
    .filter(({ words: [first = ""] }) => !first.startsWith("--from="))
    .flatMap(({ words }) => words.slice(0, -1));
  for (const path of copied) expect(existsSync(PROJECT + path), path).toBe(true);
  const [everything, ...allowed] = text(".dockerignore").trim().split("\n");
  expect(everything).toBe("*");
  expect(allowed.map((line) => line.replace(/^!/, "")).sort()).toEqual([...new Set(copied)].sort());
});

test("the image starts the program, as the user of the manifests, with what its package has", () => {
  const json = instructions("ENTRYPOINT").map(({ words }) => JSON.parse(words.join(" ")));
  expect(json).toEqual([["node", `/isoline/${packageJson.bin.isoline}`]]);
  expect(instructions("USER").map(({ words }) => words)).toEqual([["65532:65532"]]);
  for (const { spec } of templates) {
    expect(spec.securityContext).toMatchObject({ runAsUser: 65532, runAsGroup: 65532, fsGroup: 65532 });
  }
  const last = dockerfile.slice(dockerfile.findLastIndex(({ instruction }) => instruction === "FROM"));
  const files = last.filter(({ instruction }) => instruction === "COPY").map(({ words }) => words.at(-1));
  expect(files).toEqual([
    "./",
    "node_modules/",
    ...[...packageJson.files]
      .sort()
      .reverse()
      .map((name) => `${name}/`),
  ]);
  expect(instructions("RUN").map(({ words }) => words.join(" "))).toContain("npm ci --omit=dev --ignore-scripts");
});

function text(file: string): string {
  return readFileSync(PROJECT + file, "utf8");
}
