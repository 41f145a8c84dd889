import { KINDS, type ObjectChange } from "../src/api/kinds.ts";
import { readManifests } from "../src/sources/manifests.ts";
import { readYaml } from "../src/sources/yaml-documents.ts";
import type { KubeObject } from "./parts/kube-admin.ts";

/** The objects of a YAML text, all of which must be readable. */
export function objects(yaml: string): readonly ObjectChange[] {
  const { documents, problems } = readManifests("test.yaml", yaml);
  if (problems.length > 0) throw new Error(problems.map(({ text }) => text).join("; "));
  return documents.map(({ key, object }) => ({ kind: "applied", key, object }));
}

/**
 * The objects of our kinds in a YAML text that has no mistakes, as they are written, but for the namespace: that is `default`
 * where none is given.
 */
export function rawObjects(yaml: string): readonly KubeObject[] {
  return [...readYaml(yaml)].flatMap((document): readonly KubeObject[] => {
    if (document.kind === "mistake") throw new Error(document.text);
    const { apiVersion, kind, metadata, ...rest } = Object(document.value);
    const known = KINDS.find((each) => each.kind === kind && each.apiVersions.includes(apiVersion));
    if (known === undefined) return [];
    const { namespace, ...others } = metadata;
    const where = known.isClusterScoped ? {} : { namespace: namespace ?? "default" };
    return [{ ...rest, apiVersion, kind, metadata: { ...others, ...where } }];
  });
}

/** A Service with port 80 and, given a port of the loopback for each, endpoints. */
export function serviceYaml(name: string, ...endpointPorts: readonly number[]): string {
  const service = `
apiVersion: v1
kind: Service
metadata: { name: ${name} }
spec: { ports: [{ port: 80 }] }
`;
  const slices = endpointPorts.map(
    (port) => `---
apiVersion: discovery.k8s.io/v1
kind: EndpointSlice
metadata: { name: ${name}-${port}, labels: { kubernetes.io/service-name: ${name} } }
addressType: IPv4
ports: [{ port: ${port} }]
endpoints: [{ addresses: [127.0.0.1] }]
`,
  );
  return `---${service}${slices.join("")}`;
}

/** A root in the namespace `default`; `routes` is YAML of a list in flow style. */
export function rootYaml(name: string, fqdn: string, routes: string): string {
  return `---
apiVersion: contour.heptio.com/v1beta1
kind: IngressRoute
metadata: { name: ${name} }
spec: { virtualhost: { fqdn: ${fqdn} }, routes: ${routes} }
`;
}
