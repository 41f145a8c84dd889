import { readFileSync } from "node:fs";
import { isIPv6 } from "node:net";
import { join } from "node:path";
import { type Access, AccessError } from "./access.ts";
import { DeclaredCredentials, FileText } from "./credentials.ts";

/** Where the kubelet mounts the token, the authority and the namespace of a pod's ServiceAccount. */
const MOUNT = "/var/run/secrets/kubernetes.io/serviceaccount";

type Environment = Readonly<Record<string, string | undefined>>;

/** Whether this process runs in a pod, as far as its environment tells. */
export function isInCluster(env: Environment): boolean {
  return Boolean(env.KUBERNETES_SERVICE_HOST && env.KUBERNETES_SERVICE_PORT);
}

/** As the ServiceAccount of the pod that this process runs in. */
export function inClusterAccess(env: Environment, mount: string = MOUNT): Access {
  const { KUBERNETES_SERVICE_HOST: host = "", KUBERNETES_SERVICE_PORT: port = "" } = env;
  if (!isInCluster(env)) {
    throw new AccessError("this is no pod: KUBERNETES_SERVICE_HOST and KUBERNETES_SERVICE_PORT are not set");
  }
  return {
    server: `https://${isIPv6(host) ? `[${host}]` : host}:${port}`,
    tls: { authority: new FileText(join(mount, "ca.crt")), serverName: undefined, isInsecure: false },
    credentials: new DeclaredCredentials({ token: new FileText(join(mount, "token")) }),
    namespace: mounted(mount, "namespace"),
  };
}

function mounted(mount: string, name: string): string {
  try {
    return readFileSync(join(mount, name), "utf8").trim();
  } catch (cause) {
    throw new AccessError(`this pod has no ServiceAccount token: ${join(mount, name)} cannot be read`, { cause });
  }
}
