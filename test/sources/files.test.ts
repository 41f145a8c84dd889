import { execFileSync } from "node:child_process";
import { appendFileSync, mkdtempSync, truncateSync, writeFileSync } from "node:fs";
import { mkdir, rename, rm, symlink, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { dirname, join } from "node:path";
import { setTimeout as delay } from "node:timers/promises";
import { afterEach, beforeEach, expect, test } from "vitest";
import { objectKey } from "../../src/api/object-key.ts";
import { FileSource } from "../../src/sources/files.ts";
import { type Raw, sourceSuite } from "./suite.ts";
import { eventually, eventuallySynced, Told } from "./told.ts";

const KEPT = "; what was read from it last stays in service";

let base: string;
let folder: string;
let told: Told;
const running: FileSource[] = [];

beforeEach(() => {
  base = mkdtempSync(join(tmpdir(), "isoline-files-"));
  folder = join(base, "manifests");
  told = new Told(base);
});

afterEach(async () => {
  for (const source of running.splice(0)) await source.stop();
  await rm(base, { recursive: true, force: true });
});

function route(name: string, fqdn = `${name}.example.com`): string {
  return `---
apiVersion: contour.heptio.com/v1beta1
kind: IngressRoute
metadata: { name: ${name} }
spec:
  virtualhost: { fqdn: ${fqdn} }
`;
}

async function write(path: string, text: string | Uint8Array): Promise<void> {
  const file = join(folder, path);
  await mkdir(dirname(file), { recursive: true });
  await writeFile(file, text);
}

function start(...paths: string[]): FileSource {
  const source = new FileSource(paths.length === 0 ? [folder] : paths, told.listener);
  running.push(source);
  source.start();
  return source;
}

async function startSynced(...paths: string[]): Promise<FileSource> {
  const source = start(...paths);
  await eventuallySynced(told);
  return source;
}

/** Resolves when a change made after the call has been told, so that one made before it has been seen too. */
async function anotherChange(): Promise<void> {
  const name = `other-${told.batches.length}`;
  await write(`${name}.yaml`, route(name));
  await eventually(() => expect(told.names).toContain(`${name}=${name}.example.com`));
}

test("reads *.yaml, *.yml and *.json below the folder, in one batch before it is synced, and leaves out dot names", async () => {
  await write("a.yaml", route("a"));
  await write("sub/deeper/b.yml", route("b"));
  await write("c.json", JSON.stringify({ apiVersion: "v1", kind: "Service", metadata: { name: "c" } }));
  await write(".hidden.yaml", route("hidden"));
  await write(".git/d.yaml", route("git"));
  await write("notes.txt", "a: b: c");
  await startSynced();
  expect(told.names).toEqual(["a=a.example.com", "b=b.example.com", "c"]);
  expect(told.batches).toHaveLength(1);
  expect(told.problems).toEqual([]);
});

test("tells only what changed", async () => {
  await write("a.yaml", route("a") + route("b") + route("c"));
  await startSynced();
  await write("a.yaml", `# a comment\n${route("a")}${route("b", "new.example.com")}`);
  await eventually(() => expect(told.batches).toHaveLength(2));
  expect(told.batches[1]?.map(({ kind, key }) => `${kind} ${key}`)).toEqual([
    "applied IngressRoute/default/b",
    "deleted IngressRoute/default/c",
  ]);
  await write("a.yaml", `# another\n${route("a")}${route("b", "new.example.com")}`);
  await anotherChange();
  expect(told.batches).toHaveLength(3);
});

test("follows files and folders that come and go", async () => {
  await mkdir(folder);
  await startSynced();
  await write("x/y/a.yaml", route("a"));
  await eventually(() => expect(told.names).toEqual(["a=a.example.com"]));
  await write("x/y/a.yaml", route("a", "b.example.com"));
  await eventually(() => expect(told.names).toEqual(["a=b.example.com"]));
  await rm(join(folder, "x"), { recursive: true });
  await eventually(() => expect(told.names).toEqual([]));
});

test("locates fields in the file that counts, also in a file named by itself", async () => {
  await write("a.conf", `${route("a")}${route("b")}`);
  const file = join(folder, "a.conf");
  const source = await startSynced(file);
  const key = objectKey("IngressRoute", "default", "b");
  expect(source.locate(key, "spec.virtualhost.fqdn")).toEqual({ file, line: 12, column: 24 });
  expect(source.locate(objectKey("IngressRoute", "default", "c"), "spec")).toBeUndefined();
});

test("sed -i changes a file", async () => {
  await write("a.yaml", route("a"));
  await startSynced();
  execFileSync("sed", ["-i", "s/a.example.com/sed.example.com/", join(folder, "a.yaml")]);
  await eventually(() => expect(told.names).toEqual(["a=sed.example.com"]));
  expect(told.deletions).toBe(0);
});

test("a file that is being written is read when it is complete", async () => {
  const objects = [..."abcdefghijklm"];
  await write("a.yaml", objects.map((name) => route(name)).join(""));
  await startSynced();
  // On a busy machine a pause of the writer may look like its end, so only a run without long pauses counts.
  const deadline = Date.now() + 15_000;
  for (let run = 0, longest = Number.POSITIVE_INFINITY; longest > 15 && Date.now() < deadline; run++) {
    told.batches.length = 0;
    const fqdn = `run${run}.example.com`;
    const parts = objects.map((name) => route(name, fqdn));
    longest = await writeSlowly(join(folder, "a.yaml"), parts);
    await eventually(() => expect(told.names).toEqual(objects.map((name) => `${name}=${fqdn}`)));
    if (longest <= 15) expect(told.batches).toHaveLength(1);
  }
});

/** Every part by itself leaves a file that could be meant. Returns the longest pause in ms. */
async function writeSlowly(file: string, parts: readonly string[]): Promise<number> {
  let longest = 0;
  writeFileSync(file, "");
  for (const part of parts) {
    const before = performance.now();
    await delay(5);
    appendFileSync(file, part);
    longest = Math.max(longest, performance.now() - before);
  }
  return longest;
}

test("a file that was emptied keeps its objects in service until it has been empty for long", async () => {
  await write("a.yaml", route("a"));
  await startSynced();
  await write("a.yaml", "");
  await anotherChange();
  await write("a.yaml", route("a", "new.example.com"));
  await eventually(() => expect(told.names).toContain("a=new.example.com"));
  expect(told.deletions).toBe(0);
  await write("a.yaml", "");
  await eventually(() => expect(told.names).not.toContain("a=new.example.com"));
});

test("a file with a syntax error keeps its last good version in service, and says so until it is mended", async () => {
  await write("a.yaml", route("a") + route("b"));
  await startSynced();
  await write("a.yaml", `${route("a", "new.example.com")}  routes: a: b\n`);
  await eventually(() =>
    expect(told.problems).toEqual([
      "manifests/a.yaml:7:11: error: a second `key: value` within a value: check the indentation, " +
        `or put the value in quotes${KEPT}`,
    ]),
  );
  expect(told.names).toEqual(["a=a.example.com", "b=b.example.com"]);
  await write("a.yaml", route("a", "new.example.com"));
  await eventually(() => expect(told.problems).toEqual([]));
  expect(told.names).toEqual(["a=new.example.com"]);
});

test("a file that has a syntax error from the start gives the documents that can be read", async () => {
  await write("a.yaml", `${route("a")}---\na: b: c\n${route("b")}`);
  await startSynced();
  expect(told.names).toEqual(["a=a.example.com", "b=b.example.com"]);
  expect(told.problems).toHaveLength(1);
});

test.each<[string, (file: string) => void | Promise<void>, string]>([
  ["a link that leads nowhere", (file) => symlink("nowhere", file), "does not exist"],
  ["a link to itself", (file) => symlink("a.yaml", file), "is a symbolic link that leads to itself"],
  ["a pipe", (file) => void execFileSync("mkfifo", [file]), "is neither a regular file nor a folder"],
  ["endless", (file) => symlink("/dev/zero", file), "is neither a regular file nor a folder"],
  ["binary", (file) => writeFile(file, Buffer.from([0x7f, 0, 1])), "is a binary file, not YAML or JSON"],
  ["not UTF-8", (file) => writeFile(file, Buffer.from([0x61, 0xff])), "is not valid UTF-8 text"],
  [
    "very large",
    async (file) => {
      await writeFile(file, "");
      truncateSync(file, 100_000_000);
    },
    "is larger than 8 MiB: split it",
  ],
])("a file that has become %s keeps its last good version in service and says so", async (_what, become, why) => {
  await write("a.yaml", route("a"));
  await startSynced();
  await rm(join(folder, "a.yaml"));
  await become(join(folder, "a.yaml"));
  await eventually(() => expect(told.problems).toEqual([`manifests/a.yaml:1:1: error: the file ${why}${KEPT}`]));
  expect(told.deletions).toBe(0);
  await anotherChange();
  await rm(join(folder, "a.yaml"));
  await eventually(() => expect(told.names).not.toContain("a=a.example.com"));
  expect(told.problems).toEqual([]);
});

test("symbolic links are followed, and changes where they lead; loops end", async () => {
  await mkdir(join(base, "elsewhere"));
  await writeFile(join(base, "elsewhere/a.yaml"), route("a"));
  await writeFile(join(base, "b.txt"), route("b"));
  await mkdir(folder);
  await symlink(join(base, "elsewhere"), join(folder, "linked"));
  await symlink(join(base, "b.txt"), join(folder, "b.yaml"));
  await symlink("..", join(base, "elsewhere/up"));
  await symlink(folder, join(folder, "loop"));
  await startSynced();
  expect(told.names).toEqual(["a=a.example.com", "b=b.example.com"]);
  await writeFile(join(base, "elsewhere/a.yaml"), route("a", "new.example.com"));
  await writeFile(join(base, "b.txt"), route("b", "new.example.com"));
  await eventually(() => expect(told.names).toEqual(["a=new.example.com", "b=new.example.com"]));
});

test("a mount as the kubelet makes it is swapped as a whole", async () => {
  async function version(name: string, fqdn: string): Promise<void> {
    await mkdir(join(folder, name), { recursive: true });
    for (const object of ["a", "b", "c"]) await writeFile(join(folder, name, `${object}.yaml`), route(object, fqdn));
  }
  await version("..v1", "one.example.com");
  await symlink("..v1", join(folder, "..data"));
  for (const object of ["a", "b", "c"]) await symlink(`..data/${object}.yaml`, join(folder, `${object}.yaml`));
  await startSynced();
  for (const [number, fqdn] of ["two.example.com", "three.example.com"].entries()) {
    await version(`..v${number + 2}`, fqdn);
    await symlink(`..v${number + 2}`, join(folder, "..data_tmp"));
    await rename(join(folder, "..data_tmp"), join(folder, "..data"));
    await rm(join(folder, `..v${number + 1}`), { recursive: true });
    await eventually(() => expect(told.names).toEqual([`a=${fqdn}`, `b=${fqdn}`, `c=${fqdn}`]));
  }
  expect(told.batches.map((batch) => batch.map(({ kind }) => kind))).toEqual(
    Array.from({ length: 3 }, () => ["applied", "applied", "applied"]),
  );
});

test("the folder can be replaced by rename, again and again", async () => {
  await write("a.yaml", route("a", "v0.example.com"));
  await startSynced();
  for (const version of [1, 2, 3]) {
    const next = join(base, `next${version}`);
    await mkdir(next);
    await writeFile(join(next, "a.yaml"), route("a", `v${version}.example.com`));
    await rename(folder, join(base, `old${version}`));
    await rename(next, folder);
    await eventually(() => expect(told.names).toEqual([`a=v${version}.example.com`]));
    await write("a.yaml", route("a", `v${version}-edited.example.com`));
    await eventually(() => expect(told.names).toEqual([`a=v${version}-edited.example.com`]));
  }
  expect(told.deletions).toBe(0);
});

test("the folder can be a symbolic link that is swapped", async () => {
  for (const version of [1, 2, 3]) {
    await mkdir(join(base, `v${version}`));
    await writeFile(join(base, `v${version}/a.yaml`), route("a", `v${version}.example.com`));
  }
  await symlink("v1", folder);
  await startSynced();
  for (const version of [2, 3]) {
    await symlink(`v${version}`, join(base, "tmp"));
    await rename(join(base, "tmp"), folder);
    await eventually(() => expect(told.names).toEqual([`a=v${version}.example.com`]));
    await write("a.yaml", route("a", `v${version}-edited.example.com`));
    await eventually(() => expect(told.names).toEqual([`a=v${version}-edited.example.com`]));
  }
  expect(told.deletions).toBe(0);
});

test.each([
  ["the folder", "manifests"],
  ["its parent", "manifests/below"],
])("what is not there yet is unknown, not empty: %s can be created later", async (_what, path) => {
  folder = join(base, path);
  start();
  await eventually(() => expect(told.problems).toEqual([`${path}:1:1: error: this path does not exist`]));
  expect(told.synced).toBe(0);
  await write("a.yaml", route("a"));
  await eventually(() => expect(told.synced).toBe(1));
  expect(told.names).toEqual(["a=a.example.com"]);
  expect(told.problems).toEqual([]);
});

test("while the folder is gone, its objects stay in service", async () => {
  await write("a.yaml", route("a"));
  await write("b.yaml", route("b"));
  await startSynced();
  await rename(folder, join(base, "away"));
  await eventually(() => expect(told.problems).toEqual([`manifests:1:1: error: this path does not exist${KEPT}`]));
  expect(told.deletions).toBe(0);
  await rm(join(base, "away/b.yaml"));
  await rename(join(base, "away"), folder);
  await eventually(() => expect(told.names).toEqual(["a=a.example.com"]));
  expect(told.problems).toEqual([]);
  expect(told.synced).toBe(1);
});

test("of an object that is defined twice, the first definition in name order counts, and both are told", async () => {
  await write("b.yaml", route("x", "b.example.com") + route("x", "b2.example.com"));
  await startSynced();
  expect(told.names).toEqual(["x=b.example.com"]);
  expect(told.problems).toEqual([
    "manifests/b.yaml:2:1: error: IngressRoute/default/x is defined again at manifests/b.yaml:8:1: this one is used",
    "manifests/b.yaml:8:1: error: IngressRoute/default/x is defined before, at manifests/b.yaml:2:1: this one is ignored",
  ]);
  await write("a.yaml", route("x", "a.example.com"));
  await eventually(() => expect(told.names).toEqual(["x=a.example.com"]));
  expect(told.problems).toEqual([
    "manifests/a.yaml:2:1: error: IngressRoute/default/x is defined again at manifests/b.yaml:2:1, manifests/b.yaml:8:1: this one is used",
    "manifests/b.yaml:2:1: error: IngressRoute/default/x is defined before, at manifests/a.yaml:2:1: this one is ignored",
    "manifests/b.yaml:8:1: error: IngressRoute/default/x is defined before, at manifests/a.yaml:2:1: this one is ignored",
  ]);
  await rm(join(folder, "a.yaml"));
  await eventually(() => expect(told.names).toEqual(["x=b.example.com"]));
  await write("b.yaml", route("x", "b2.example.com"));
  await eventually(() => expect(told.names).toEqual(["x=b2.example.com"]));
  expect(told.problems).toEqual([]);
  expect(told.deletions).toBe(0);
});

test("what is asked for twice is read once", async () => {
  await write("a.yaml", route("a"));
  await startSynced(folder, join(folder, "a.yaml"), `${folder}/`);
  expect(told.names).toEqual(["a=a.example.com"]);
  expect(told.problems).toEqual([]);
});

test("tells nothing after it was stopped", async () => {
  await write("a.yaml", route("a"));
  const source = await startSynced();
  await write("a.yaml", route("b"));
  await source.stop();
  const before = told.batches.length;
  await write("a.yaml", route("c"));
  await delay(100); // nothing can be waited for that must not happen
  expect(told.batches).toHaveLength(before);
});

sourceSuite("files", async () => {
  const place = mkdtempSync(join(tmpdir(), "isoline-files-"));
  const fileOf = ({ kind, metadata: { namespace, name } }: Raw) => join(place, namespace, `${kind}-${name}.yaml`);
  const put = async (object: Raw, more = "") => {
    await mkdir(dirname(fileOf(object)), { recursive: true });
    await writeFile(fileOf(object), `${JSON.stringify(object)}${more}`);
  };
  return {
    namespaces: ["one", "two"],
    apply: async (objects) => void (await Promise.all(objects.map((object) => put(object)))),
    remove: async (objects) => void (await Promise.all(objects.map((object) => rm(fileOf(object))))),
    removeNamespace: (namespace) => rm(join(place, namespace), { recursive: true }),
    touch: (object) => put(object, "\n# a comment\n"),
    source: (listener) => new FileSource([place], listener),
    stop: () => rm(place, { recursive: true, force: true }),
  };
});
