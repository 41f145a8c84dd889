import { Agent, type Dispatcher } from "undici";
import { KINDS } from "../../src/api/kinds.ts";

/** An object as it is sent to an API server and comes from it. */
export type KubeObject = {
  readonly apiVersion: string;
  readonly kind: string;
  readonly metadata: {
    readonly name: string;
    readonly namespace?: string;
    readonly uid?: string;
    readonly resourceVersion?: string;
    readonly [field: string]: unknown;
  };
  readonly [field: string]: unknown;
};

/** Which object. Its version is the kind's first unless it is given. */
export type ObjectRef = {
  readonly kind: string;
  readonly name: string;
  readonly namespace?: string;
  readonly apiVersion?: string;
};

export type ObjectList = {
  readonly metadata: { readonly resourceVersion: string; readonly continue?: string };
  readonly items: readonly KubeObject[];
};

export type WatchEvent = {
  readonly type: "ADDED" | "MODIFIED" | "DELETED" | "BOOKMARK" | "ERROR";
  readonly object: KubeObject;
};

export type Query = Readonly<Record<string, string>>;

export type AdminRequest = {
  readonly method: "GET" | "POST" | "PUT" | "PATCH" | "DELETE";
  readonly path: string;
  readonly query?: Query;
  readonly body?: unknown;
  readonly contentType?: string;
  readonly accept?: string;
};

/** How to reach an API server, and as whom. */
export type KubeAccess = {
  readonly url: string;
  readonly caPem: string;
  readonly token: string;
};

/** The API server said no. The message is its own. */
export class KubeRefusal extends Error {
  override readonly name: string = "KubeRefusal";
  readonly status: number;
  /** Such as "AlreadyExists". */
  readonly reason: string;

  constructor(status: number, reason: string, message: string) {
    super(message);
    this.status = status;
    this.reason = reason;
  }
}

type Resource = {
  readonly kind: string;
  readonly apiVersions: readonly string[];
  readonly plural: string;
  readonly isClusterScoped?: boolean;
};

const RBAC = ["rbac.authorization.k8s.io/v1"];
const ADMISSION = ["admissionregistration.k8s.io/v1"];
const FLOW_CONTROL = ["flowcontrol.apiserver.k8s.io/v1"];

/** What tests need besides the kinds that Isoline reads. */
const OTHER_KINDS: readonly Resource[] = [
  { kind: "Namespace", apiVersions: ["v1"], plural: "namespaces", isClusterScoped: true },
  { kind: "ConfigMap", apiVersions: ["v1"], plural: "configmaps" },
  { kind: "ServiceAccount", apiVersions: ["v1"], plural: "serviceaccounts" },
  { kind: "Pod", apiVersions: ["v1"], plural: "pods" },
  { kind: "Event", apiVersions: ["v1", "events.k8s.io/v1"], plural: "events" },
  { kind: "Lease", apiVersions: ["coordination.k8s.io/v1"], plural: "leases" },
  { kind: "Deployment", apiVersions: ["apps/v1"], plural: "deployments" },
  { kind: "DaemonSet", apiVersions: ["apps/v1"], plural: "daemonsets" },
  { kind: "PodDisruptionBudget", apiVersions: ["policy/v1"], plural: "poddisruptionbudgets" },
  { kind: "NetworkPolicy", apiVersions: ["networking.k8s.io/v1"], plural: "networkpolicies" },
  { kind: "Role", apiVersions: RBAC, plural: "roles" },
  { kind: "RoleBinding", apiVersions: RBAC, plural: "rolebindings" },
  { kind: "ClusterRole", apiVersions: RBAC, plural: "clusterroles", isClusterScoped: true },
  { kind: "ClusterRoleBinding", apiVersions: RBAC, plural: "clusterrolebindings", isClusterScoped: true },
  {
    kind: "CustomResourceDefinition",
    apiVersions: ["apiextensions.k8s.io/v1"],
    plural: "customresourcedefinitions",
    isClusterScoped: true,
  },
  {
    kind: "ValidatingWebhookConfiguration",
    apiVersions: ADMISSION,
    plural: "validatingwebhookconfigurations",
    isClusterScoped: true,
  },
  {
    kind: "ValidatingAdmissionPolicy",
    apiVersions: ADMISSION,
    plural: "validatingadmissionpolicies",
    isClusterScoped: true,
  },
  {
    kind: "ValidatingAdmissionPolicyBinding",
    apiVersions: ADMISSION,
    plural: "validatingadmissionpolicybindings",
    isClusterScoped: true,
  },
  { kind: "FlowSchema", apiVersions: FLOW_CONTROL, plural: "flowschemas", isClusterScoped: true },
  {
    kind: "PriorityLevelConfiguration",
    apiVersions: FLOW_CONTROL,
    plural: "prioritylevelconfigurations",
    isClusterScoped: true,
  },
];

const RESOURCES: ReadonlyMap<string, Resource> = new Map(
  [...KINDS, ...OTHER_KINDS].map((resource) => [resource.kind, resource]),
);

/** The path of all objects of a kind, or of those in one namespace. */
export function collectionPath(kind: string, namespace?: string, apiVersion?: string): string {
  const resource = RESOURCES.get(kind);
  const version = apiVersion ?? resource?.apiVersions[0];
  if (resource === undefined || version === undefined) throw new Error(`${kind} is not in the table of kube-admin.ts`);
  if (resource.isClusterScoped === true && namespace !== undefined) throw new Error(`a ${kind} has no namespace`);
  const group = version.includes("/") ? `/apis/${version}` : `/api/${version}`;
  return `${group}${namespace === undefined ? "" : `/namespaces/${namespace}`}/${resource.plural}`;
}

/** The path of one object. */
export function objectPath({ kind, namespace, name, apiVersion }: ObjectRef): string {
  if (namespace === undefined && RESOURCES.get(kind)?.isClusterScoped !== true) {
    throw new Error(`${kind} ${name}: which namespace?`);
  }
  return `${collectionPath(kind, namespace, apiVersion)}/${name}`;
}

export function refOf({ apiVersion, kind, metadata: { namespace, name } }: KubeObject): ObjectRef {
  return { apiVersion, kind, name, ...(namespace === undefined ? {} : { namespace }) };
}

/**
 * What a user does to a cluster. Deliberately not Isoline's own client: a mistake in that must not hide itself here.
 * All methods reject with {@link KubeRefusal} when the API server says no.
 */
export class KubeAdmin {
  readonly #access: KubeAccess;
  readonly #agent: Agent;

  constructor(access: KubeAccess) {
    this.#access = access;
    this.#agent = new Agent({
      connections: 32,
      connect: { ca: access.caPem },
      // A watch may be silent for as long as it likes.
      bodyTimeout: 0,
    });
  }

  /** Makes the object what it says here, whether or not it exists (server-side apply); resolves to the result. */
  async apply(object: KubeObject): Promise<KubeObject> {
    return this.request({
      method: "PATCH",
      path: objectPath(refOf(object)),
      query: { fieldManager: "test", force: "true" },
      body: object,
      contentType: "application/apply-patch+yaml",
    });
  }

  async create(object: KubeObject): Promise<KubeObject> {
    const { kind, namespace, apiVersion } = refOf(object);
    return this.request({ method: "POST", path: collectionPath(kind, namespace, apiVersion), body: object });
  }

  /** A merge patch, of the object or of one of its subresources. */
  async patch(ref: ObjectRef, change: unknown, subresource?: "status" | "scale"): Promise<KubeObject> {
    return this.request({
      method: "PATCH",
      path: `${objectPath(ref)}${subresource === undefined ? "" : `/${subresource}`}`,
      body: change,
      contentType: "application/merge-patch+json",
    });
  }

  /** Does nothing when there is no such object. */
  async remove(ref: ObjectRef): Promise<void> {
    try {
      await this.request({ method: "DELETE", path: objectPath(ref) });
    } catch (error) {
      if (!isNotFound(error)) throw error;
    }
  }

  /** Undefined when there is no such object. */
  async get(ref: ObjectRef): Promise<KubeObject | undefined> {
    try {
      return await this.request({ method: "GET", path: objectPath(ref) });
    } catch (error) {
      if (!isNotFound(error)) throw error;
      return undefined;
    }
  }

  /** All objects of a kind, in one namespace or in all of them. */
  async list(kind: string, namespace?: string, query: Query = {}): Promise<ObjectList> {
    return this.request({ method: "GET", path: collectionPath(kind, namespace), query });
  }

  /** Events until the API server ends the watch, or the reader leaves the loop. */
  async *watch(kind: string, namespace?: string, query: Query = {}): AsyncGenerator<WatchEvent> {
    const path = collectionPath(kind, namespace);
    const { body } = await this.#send({ method: "GET", path, query: { ...query, watch: "true" } });
    let rest = "";
    for await (const chunk of body.setEncoding("utf8")) {
      const lines = `${rest}${chunk}`.split("\n");
      rest = lines.pop() ?? "";
      for (const line of lines) yield JSON.parse(line);
    }
  }

  /** The answer's JSON. */
  async request<T = KubeObject>(request: AdminRequest): Promise<T> {
    return JSON.parse(await this.text(request));
  }

  async text(request: AdminRequest): Promise<string> {
    return (await this.#send(request)).body.text();
  }

  /** Makes a namespace that no other test has, and returns its name. */
  async freshNamespace(): Promise<string> {
    const { metadata } = await this.request({
      method: "POST",
      path: collectionPath("Namespace"),
      body: { apiVersion: "v1", kind: "Namespace", metadata: { generateName: "test-" } },
    });
    return metadata.name;
  }

  /** Ends all connections, watches too. */
  async close(): Promise<void> {
    await this.#agent.destroy();
  }

  async #send({ method, path, query = {}, body, contentType, accept }: AdminRequest): Promise<Dispatcher.ResponseData> {
    const response = await this.#agent.request({
      origin: this.#access.url,
      method,
      path,
      query,
      headers: {
        authorization: `Bearer ${this.#access.token}`,
        accept: accept ?? "application/json",
        ...(body === undefined ? {} : { "content-type": contentType ?? "application/json" }),
      },
      body: body === undefined ? null : JSON.stringify(body),
    });
    if (response.statusCode < 400) return response;
    const text = await response.body.text();
    throw refusal(response.statusCode, text);
  }
}

function refusal(status: number, text: string): KubeRefusal {
  let said: { readonly reason?: unknown; readonly message?: unknown };
  try {
    said = JSON.parse(text);
  } catch {
    said = { message: text }; // from a filter before the API: plain text
  }
  return new KubeRefusal(status, `${said.reason ?? ""}`, `${status}: ${said.message ?? text}`);
}

function isNotFound(error: unknown): boolean {
  return error instanceof KubeRefusal && error.status === 404;
}
