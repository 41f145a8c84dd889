import { readdirSync, readFileSync } from "node:fs";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import { expect, test } from "vitest";

const SRC = fileURLToPath(new URL("../../src", import.meta.url));

/** Folder and the folders that it may import. Drawn in ARCHITECTURE.md; change both together. */
const MAY_IMPORT: Readonly<Record<string, readonly string[] | "all">> = {
  api: [],
  ir: [],
  xds: [],
  kube: [],
  net: [],
  store: ["api"],
  compile: ["api", "store", "ir"],
  envoy: ["ir"],
  translate: ["api", "store", "compile", "ir", "envoy"],
  sources: ["api", "kube"],
  status: ["api", "kube", "compile"],
  webhook: ["api", "kube", "net", "compile"],
  controller: ["api", "ir", "xds", "kube", "net", "store", "compile", "envoy", "translate", "sources", "status"],
  cli: "all",
};

/** Packages that the folders of the core may use; in all others the list of dependencies is the limit. */
const PACKAGES: Readonly<Record<string, RegExp | undefined>> = {
  api: undefined,
  store: undefined,
  compile: undefined,
  ir: undefined,
  translate: undefined,
  envoy: /^(@bufbuild\/protobuf(\/.+)?|#proto\/.+)$/,
};

const files = readdirSync(SRC, { recursive: true, encoding: "utf8" })
  .filter((file) => file.endsWith(".ts"))
  .sort();

for (const file of files) {
  const text = readFileSync(join(SRC, file), "utf8");
  const code = text.replace(/\/\*[\s\S]*?\*\/|^\s*\/\/.*$/gm, "");
  const folder = file.includes("/") ? (file.split("/")[0] ?? "") : "main.ts";
  const imports = [...code.matchAll(/\b(?:from|import)\s*\(?\s*["']([^"']+)["']/g)].map(([, target = ""]) => target);

  test(`${file} imports what its folder may`, () => {
    const allowed = folder === "main.ts" ? "all" : MAY_IMPORT[folder];
    expect(allowed, `${folder} is no folder of the table`).toBeDefined();
    for (const target of imports.filter((name) => name.startsWith("."))) {
      const other = join(folder === "main.ts" ? "" : join(file, ".."), target).split("/")[0] ?? "";
      const isAllowed = allowed === "all" || other === folder || allowed?.includes(other);
      expect(isAllowed, `${file} imports ${target}: ${folder} may not import ${other}`).toBe(true);
    }
  });

  if (!Object.hasOwn(PACKAGES, folder)) continue;
  test(`${file} is pure`, () => {
    for (const target of imports.filter((name) => !name.startsWith("."))) {
      expect(PACKAGES[folder]?.test(target) ?? false, `${file} imports ${target}`).toBe(true);
    }
    const impure =
      /\b(Date\.now|new Date\(\)|Math\.random|process|console|globalThis|performance|crypto|fetch|set(Timeout|Interval|Immediate)|queueMicrotask)\b[.(]/;
    expect(impure.exec(code)?.[0], `${file} reaches the world`).toBeUndefined();
  });
}

test("the table has every folder, and is that of ARCHITECTURE.md", () => {
  const folders = new Set(files.filter((file) => file.includes("/")).map((file) => file.split("/")[0] ?? ""));
  expect(Object.keys(MAY_IMPORT).sort()).toEqual([...folders].sort());
  const text = readFileSync(join(SRC, "../ARCHITECTURE.md"), "utf8");
  const section = text.split("\n## ").find((part) => part.startsWith("Who may import whom")) ?? "";
  const drawn = [...section.matchAll(/^\| (`.+) \| (.+) \|$/gm)].flatMap(([, names = "", allowed = ""]) =>
    quoted(names).map((folder) => [folder, foldersOf(folder, allowed, folders)] as const),
  );
  const held = Object.entries(MAY_IMPORT).map(([folder, allowed]) => [
    folder,
    allowed === "all" ? foldersOf(folder, "all", folders) : [...allowed].sort(),
  ]);
  expect(Object.fromEntries(drawn)).toEqual(Object.fromEntries(held));
});

function quoted(text: string): readonly string[] {
  return [...text.matchAll(/`(\w+)`/g)].map(([, name = ""]) => name);
}

/** What a cell of the table in ARCHITECTURE.md means. */
function foldersOf(folder: string, cell: string, folders: ReadonlySet<string>): readonly string[] {
  const named = quoted(cell);
  const allowed = cell.startsWith("all")
    ? [...folders].filter((name) => name !== folder && !named.includes(name))
    : named;
  return [...allowed].sort();
}
