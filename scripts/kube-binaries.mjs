// The folder of a kube-apiserver and an etcd for the tests: KUBEBUILDER_ASSETS, or built with Go and kept in the user's
// cache. Prints it when run by itself.
import { execFile, spawn } from "node:child_process";
import { createHash } from "node:crypto";
import {
  accessSync,
  constants,
  mkdirSync,
  mkdtempSync,
  readFileSync,
  renameSync,
  rmSync,
  statSync,
  utimesSync,
} from "node:fs";
import { homedir } from "node:os";
import { join } from "node:path";
import { setTimeout as delay } from "node:timers/promises";
import { fileURLToPath } from "node:url";
import { promisify } from "node:util";

const run = promisify(execFile);

const MODULE = fileURLToPath(new URL("../test/cluster/binaries", import.meta.url));
const PACKAGES = { "kube-apiserver": "k8s.io/kubernetes/cmd/kube-apiserver", etcd: "go.etcd.io/etcd/server/v3" };
const ALTERNATIVE = "Instead, name a folder that has kube-apiserver and etcd in KUBEBUILDER_ASSETS.";
/** The holder of a lock renews it this often, and has died when it is this old. */
const LOCK_RENEWAL_MS = 2_000;
const LOCK_MAX_AGE_MS = 30_000;
const LOCK_POLL_MS = 500;
/** How often the time is told: on a terminal in place, else at the end of the line. */
const TELL_MS = process.stderr.isTTY ? 1_000 : 30_000;

/** There are no binaries. Its message says why and what to do. */
export class KubeUnavailable extends Error {
  name = "KubeUnavailable";
}

/** The folder with both binaries, built first if need be. Rejects with {@link KubeUnavailable}. */
export async function kubeBinaries(env = process.env) {
  if (env.KUBEBUILDER_ASSETS) {
    if (hasBinaries(env.KUBEBUILDER_ASSETS)) return env.KUBEBUILDER_ASSETS;
    throw new KubeUnavailable(
      `KUBEBUILDER_ASSETS: ${env.KUBEBUILDER_ASSETS} has no kube-apiserver and etcd that can be run.`,
    );
  }
  const recipe = await buildRecipe();
  // The XDG specification: an empty variable counts as unset.
  const cache = join(env.XDG_CACHE_HOME || join(homedir(), ".cache"), "isoline");
  const folder = join(cache, `kube-${recipe.key}`);
  if (!hasBinaries(folder)) {
    mkdirSync(cache, { recursive: true });
    await withLock(`${folder}.lock`, `waiting for another process that builds ${recipe.what}`, async () => {
      // Another process may have built them while we waited.
      if (!hasBinaries(folder)) await build(recipe, folder);
    });
  }
  return folder;
}

function hasBinaries(folder) {
  return Object.keys(PACKAGES).every((name) => {
    try {
      accessSync(join(folder, name), constants.X_OK);
      return true;
    } catch {
      return false; // absent or not for us: they are built
    }
  });
}

async function buildRecipe() {
  const goMod = readFileSync(join(MODULE, "go.mod"), "utf8");
  const kubernetes = versionIn(goMod, "k8s.io/kubernetes");
  const flags = [
    // Two at a time: more of its packages at once need more memory than small machines have.
    ...["-p", "2", "-mod=readonly", "-trimpath"],
    ...["-ldflags", `-s -w -X k8s.io/component-base/version.gitVersion=${kubernetes}`],
  ];
  let go;
  try {
    go = (await run("go", ["env", "GOVERSION", "GOOS", "GOARCH"], { cwd: MODULE, env: goEnv() })).stdout;
  } catch (error) {
    if (error.code !== "ENOENT") throw new KubeUnavailable(`go does not run: ${error.message}. ${ALTERNATIVE}`);
    throw new KubeUnavailable(`they are built with Go, which this machine does not have. ${ALTERNATIVE}`);
  }
  const parts = [goMod, readFileSync(join(MODULE, "go.sum"), "utf8"), JSON.stringify([flags, PACKAGES]), go];
  const key = createHash("sha256").update(parts.join("\0")).digest("hex").slice(0, 16);
  return { key, flags, what: `kube-apiserver ${kubernetes} and etcd ${versionIn(goMod, PACKAGES.etcd)}` };
}

function versionIn(goMod, module) {
  const line = goMod.split("\n").find((text) => text.trim().startsWith(`${module} v`));
  if (line === undefined) throw new Error(`go.mod does not require ${module}`);
  return line.trim().split(" ")[1];
}

/** Without C the binaries run on every machine of their kind. */
function goEnv() {
  return { ...process.env, CGO_ENABLED: "0", GOWORK: "off" };
}

/** Called under the lock. Each binary appears when it is complete. */
async function build({ flags, what }, folder) {
  const stopTelling = tellTime(
    `building ${what} for the tests in a cluster: about 6 minutes, once, as they are had as source only`,
  );
  const temp = mkdtempSync(`${folder}.`);
  try {
    for (const [name, path] of Object.entries(PACKAGES)) {
      await go(["build", ...flags, "-o", join(temp, name), path]);
    }
    mkdirSync(folder, { recursive: true });
    for (const name of Object.keys(PACKAGES)) renameSync(join(temp, name), join(folder, name));
  } finally {
    stopTelling();
    rmSync(temp, { recursive: true, force: true });
  }
}

async function go(args) {
  const child = spawn("go", args, { cwd: MODULE, env: goEnv(), stdio: ["ignore", "ignore", "pipe"] });
  let log = "";
  child.stderr.setEncoding("utf8").on("data", (text) => {
    log = (log + text).slice(-4_000);
  });
  const code = await new Promise((resolve, reject) => {
    child.once("error", reject);
    child.once("close", resolve);
  });
  if (code !== 0) throw new KubeUnavailable(`go ${args[0]} failed: ${log.trim()}\n${ALTERNATIVE}`);
}

/** Writes one line on standard error with the time that has passed, until the function that it returns is called. */
function tellTime(line) {
  const start = performance.now();
  const passed = () => {
    const seconds = Math.floor((performance.now() - start) / 1_000);
    return `${Math.floor(seconds / 60)}:${String(seconds % 60).padStart(2, "0")}`;
  };
  const write = process.stderr.isTTY
    ? () => process.stderr.write(`\r${line} ... ${passed()}`)
    : () => process.stderr.write(` ${passed()}`);
  process.stderr.write(`${line} ...`);
  const timer = setInterval(write, TELL_MS);
  return () => {
    clearInterval(timer);
    write();
    process.stderr.write("\n");
  };
}

/**
 * Runs `work` while holding a lock, so that processes started together build once. The lock only saves work: when two
 * processes both take over a dead one's, the second build does no harm.
 */
async function withLock(lock, waiting, work) {
  if (!acquire(lock)) {
    const stopTelling = tellTime(waiting);
    while (!acquire(lock)) await delay(LOCK_POLL_MS);
    stopTelling();
  }
  const renewing = setInterval(() => renew(lock), LOCK_RENEWAL_MS);
  try {
    await work();
  } finally {
    clearInterval(renewing);
    rmSync(lock, { recursive: true, force: true });
  }
}

function renew(lock) {
  try {
    utimesSync(lock, new Date(), new Date());
  } catch (error) {
    // Taken over while this machine slept.
    if (error.code !== "ENOENT") throw error;
  }
}

function acquire(lock) {
  try {
    mkdirSync(lock);
    return true;
  } catch (error) {
    if (error.code !== "EEXIST") throw error;
  }
  const made = statSync(lock, { throwIfNoEntry: false })?.mtimeMs;
  if (made !== undefined && Date.now() - made > LOCK_MAX_AGE_MS) rmSync(lock, { recursive: true, force: true });
  return false;
}

if (process.argv[1] === fileURLToPath(import.meta.url)) {
  try {
    console.log(await kubeBinaries());
  } catch (error) {
    if (!(error instanceof KubeUnavailable)) throw error;
    console.error(error.message);
    process.exitCode = 1;
  }
}
