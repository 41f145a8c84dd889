import { expect, test } from "vitest";
import { KINDS } from "../../src/api/kinds.ts";
import { deployed, deployFiles, type Right, rightsOf } from "../parts/deploy.ts";

/** What the controller does besides reading its kinds. */
const WRITES: readonly Right[] = [
  "patch contour.heptio.com/ingressroutes/status",
  "patch networking.k8s.io/ingresses/status",
  "create events.k8s.io/events",
];

/** What it does in its own namespace. */
const OWN_NAMESPACE: readonly Right[] = [
  "create coordination.k8s.io/leases",
  "get coordination.k8s.io/leases isoline",
  "update coordination.k8s.io/leases isoline",
];

/** What it does for its webhook, if it has one. */
const WEBHOOK: readonly Right[] = [
  "get admissionregistration.k8s.io/validatingwebhookconfigurations isoline",
  "patch admissionregistration.k8s.io/validatingwebhookconfigurations isoline",
];
const WEBHOOK_OWN_NAMESPACE: readonly Right[] = [
  "create /secrets",
  "get /secrets isoline-webhook",
  "update /secrets isoline-webhook",
];

const ACCESS = ["ServiceAccount", "ClusterRole", "ClusterRoleBinding", "Role", "RoleBinding"];
const objects = deployFiles()
  .flatMap(deployed)
  .filter(({ kind }) => ACCESS.includes(kind));

test("the ClusterRole is to list and watch the kinds that are read, and to write what is written", () => {
  const reads = KINDS.flatMap(({ apiVersions: [version = ""], plural }) => {
    const group = version.includes("/") ? version.split("/")[0] : "";
    return ["list", "watch"].map((verb) => `${verb} ${group}/${plural}`);
  });
  expect(granted("ClusterRole", "isoline")).toEqual([...reads, ...WRITES].sort());
});

test("the Role is for the lease", () => {
  expect(granted("Role", "isoline")).toEqual([...OWN_NAMESPACE].sort());
});

test("what the webhook needs is apart, for those who have one", () => {
  expect(deployed("rbac.yaml").filter(({ metadata }) => metadata.name !== "isoline")).toEqual([]);
  expect(granted("ClusterRole", "isoline-webhook")).toEqual([...WEBHOOK].sort());
  expect(granted("Role", "isoline-webhook")).toEqual([...WEBHOOK_OWN_NAMESPACE].sort());
});

test("each role is bound to the service account, once, and nothing else is granted", () => {
  const roles = objects.filter(({ kind }) => kind === "ClusterRole" || kind === "Role");
  const bindings = objects.filter(({ kind }) => kind === "ClusterRoleBinding" || kind === "RoleBinding");
  const accounts = objects.filter(({ kind }) => kind === "ServiceAccount");
  expect(roles.length + bindings.length + accounts.length).toBe(objects.length);
  // That of the Envoys is bound to nothing.
  const names = accounts.map(({ metadata: { namespace, name } }) => `${namespace}/${name}`);
  expect(names.sort()).toEqual(["isoline/isoline", "isoline/isoline-envoy"]);
  const bound = bindings.map(({ kind, roleRef, subjects }) => {
    expect(subjects).toEqual([{ kind: "ServiceAccount", name: "isoline", namespace: "isoline" }]);
    const { kind: roleKind, name } = Object(roleRef);
    expect(`${roleKind}Binding`).toBe(kind);
    return `${roleKind} ${name}`;
  });
  expect(bound.sort()).toEqual(roles.map(({ kind, metadata }) => `${kind} ${metadata.name}`).sort());
  for (const { kind, metadata } of [...roles, ...bindings]) {
    expect(metadata.namespace).toBe(kind.startsWith("Cluster") ? undefined : "isoline");
  }
});

function granted(kind: string, name: string): readonly Right[] {
  return rightsOf(objects.find((object) => object.kind === kind && object.metadata.name === name));
}
