// Runs a command where an API server can be started and pods have addresses: in a network of its own, in which all of
// 10.244.0.0/16 is local, with the binaries in KUBEBUILDER_ASSETS and an Envoy in ENVOY_BIN. What the command starts ends
// with it. Needs `npm run build`:   node scripts/cluster.mjs npx vitest run -c vitest.cluster.config.ts test/cluster
import { spawnSync } from "node:child_process";
import { fileURLToPath } from "node:url";
import { KubeUnavailable, kubeBinaries } from "./kube-binaries.mjs";

/** An API server takes no loopback address for an endpoint. */
const POD_NETWORK = "10.244.0.1/16";
const SET_UP = `ip link set lo up && ip addr add ${POD_NETWORK} dev lo`;
/** The shell stays as the first process: it reaps orphans, and every other process of the namespace ends with it. */
const UNSHARE = ["-rnpf", "--kill-child", "--mount-proc", "sh", "-c", `${SET_UP} && "$@"; exit $?`, "sh"];

/** No API server can be run here. Its message says why and what to do. */
export class ClusterUnavailable extends Error {
  name = "ClusterUnavailable";
}

/** Gets ready what takes a network, and returns a function that runs a command inside and returns its exit status. */
export async function prepareCluster() {
  const trial = spawnSync("unshare", [...UNSHARE, "true"], { encoding: "utf8" });
  if (trial.status !== 0) {
    const reason = trial.error?.message ?? trial.stderr.trim();
    throw new ClusterUnavailable(`they need a network namespace of their own, made by unshare and ip: ${reason}`);
  }
  const env = { ...process.env };
  try {
    env.KUBEBUILDER_ASSETS = await kubeBinaries();
  } catch (error) {
    if (!(error instanceof KubeUnavailable)) throw error;
    throw new ClusterUnavailable(error.message);
  }
  const { EnvoyUnavailable, envoySearch, findEnvoy } = await import("../dist/cli/envoy-binary.js");
  try {
    env.ENVOY_BIN = await findEnvoy(envoySearch(process.env, undefined, (line) => console.error(line)));
  } catch (error) {
    // The tests that need one find none either, and say so.
    if (!(error instanceof EnvoyUnavailable)) throw error;
  }
  return (command) => spawnSync("unshare", [...UNSHARE, ...command], { env, stdio: "inherit" }).status ?? 1;
}

if (process.argv[1] === fileURLToPath(import.meta.url)) {
  try {
    const runInside = await prepareCluster();
    process.exitCode = runInside(process.argv.slice(2));
  } catch (error) {
    if (!(error instanceof ClusterUnavailable)) throw error;
    console.error(error.message);
    process.exitCode = 1;
  }
}
