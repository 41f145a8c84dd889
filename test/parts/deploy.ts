import { readdirSync, readFileSync } from "node:fs";
import { fileURLToPath } from "node:url";
import { parseAllDocuments } from "yaml";
import { eventually } from "../envoy/harness.ts";
import type { KubeAdmin, KubeObject } from "./kube-admin.ts";

const DEPLOY = fileURLToPath(new URL("../../deploy/", import.meta.url));
const ESTABLISHED_MS = 10_000;

/** The objects of one file below deploy/. */
export function deployed(file: string): readonly KubeObject[] {
  return parseAllDocuments(readFileSync(DEPLOY + file, "utf8")).map((document) => {
    const [error] = document.errors;
    if (error !== undefined) throw new Error(`deploy/${file}: ${error.message}`);
    return document.toJS() as KubeObject;
  });
}

/** The files of deploy/, as paths below it. */
export function deployFiles(): readonly string[] {
  return readdirSync(DEPLOY, { recursive: true, encoding: "utf8" })
    .filter((file) => file.endsWith(".yaml"))
    .sort();
}

/** Defines our kinds; resolves when objects of them are taken. */
export async function installDefinitions(admin: KubeAdmin): Promise<void> {
  for (const file of deployFiles().filter((name) => name.startsWith("crds/"))) {
    for (const definition of deployed(file)) {
      await admin.apply(definition);
      await eventually(async () => isEstablished(await admin.get(refTo(definition))), ESTABLISHED_MS);
    }
  }
}

function refTo({ kind, metadata: { name } }: KubeObject): { readonly kind: string; readonly name: string } {
  return { kind, name };
}

function isEstablished(definition: KubeObject | undefined): boolean {
  const { conditions = [] } = Object(definition?.status);
  return conditions.some((condition: unknown) => {
    const { type, status } = Object(condition);
    return type === "Established" && status === "True";
  });
}
