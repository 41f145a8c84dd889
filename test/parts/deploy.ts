import { readdirSync, readFileSync } from "node:fs";
import { parse, parseAllDocuments } from "yaml";
import { eventually } from "../envoy/harness.ts";
import type { KubeAdmin, KubeObject } from "./kube-admin.ts";

/** Below the folder of the project, in which tests and benches are run: benches are built into another place. */
const DEPLOY = "deploy/";
/** It is no object, but says which files there are. */
const KUSTOMIZATION = "kustomization.yaml";
const ESTABLISHED_MS = 10_000;

/** The objects of one file below deploy/. */
export function deployed(file: string): readonly KubeObject[] {
  return parseAllDocuments(readFileSync(DEPLOY + file, "utf8")).map((document) => {
    const [error] = document.errors;
    if (error !== undefined) throw new Error(`deploy/${file}: ${error.message}`);
    return document.toJS() as KubeObject;
  });
}

/** The manifests in deploy/, as paths below it. */
export function deployFiles(): readonly string[] {
  return readdirSync(DEPLOY, { recursive: true, encoding: "utf8" })
    .filter((file) => file.endsWith(".yaml") && file !== KUSTOMIZATION)
    .sort();
}

/** What `kubectl apply -k deploy/` applies: files in order, and what it calls the image. */
export function kustomization(): {
  readonly resources: readonly string[];
  readonly images: readonly { readonly name: string; readonly newName: string; readonly newTag: string }[];
} {
  return parse(readFileSync(DEPLOY + KUSTOMIZATION, "utf8"));
}

/** Defines our kinds; resolves when objects of them are taken. */
export function installDefinitions(admin: KubeAdmin): Promise<void> {
  return install(admin, definitions());
}

/** The same kinds without a schema: whatever is an object is taken, as by a cluster with definitions of long ago. */
export function installPermissiveDefinitions(admin: KubeAdmin): Promise<void> {
  const openAPIV3Schema = { type: "object", "x-kubernetes-preserve-unknown-fields": true };
  const permissive = definitions().map((definition): KubeObject => {
    const spec = Object(definition.spec);
    const versions: readonly object[] = spec.versions;
    return {
      ...definition,
      spec: { ...spec, versions: versions.map((version) => ({ ...version, schema: { openAPIV3Schema } })) },
    };
  });
  return install(admin, permissive);
}

function definitions(): readonly KubeObject[] {
  return deployFiles()
    .filter((name) => name.startsWith("crds/"))
    .flatMap(deployed);
}

async function install(admin: KubeAdmin, wanted: readonly KubeObject[]): Promise<void> {
  for (const definition of wanted) {
    await admin.apply(definition);
    await eventually(async () => isEstablished(await admin.get(refTo(definition))), ESTABLISHED_MS);
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

/** One right, in words: `patch contour.heptio.com/ingressroutes/status`, and the only name that it is for, if there is one. */
export type Right = string;

type Rule = {
  readonly apiGroups: readonly string[];
  readonly resources: readonly string[];
  readonly resourceNames?: readonly string[];
  readonly verbs: readonly string[];
};

/** What a ClusterRole or a Role grants, one by one, in order. */
export function rightsOf(role: KubeObject | undefined): readonly Right[] {
  const rules: readonly Rule[] = Object(role).rules ?? [];
  const rights = rules.flatMap(({ apiGroups, resources, resourceNames = [""], verbs }) =>
    apiGroups.flatMap((group) =>
      resources.flatMap((resource) =>
        resourceNames.flatMap((name) => verbs.map((verb) => right(verb, group, resource, name))),
      ),
    ),
  );
  return rights.sort();
}

/** `name` is empty for a right that is for all names. */
export function right(verb: string, group: string, resource: string, name: string): Right {
  return `${verb} ${group}/${resource}${name === "" ? "" : ` ${name}`}`;
}
