import type { Annotation } from "../../api/annotations.ts";
import type { Ingress } from "../../api/ingress.ts";
import type * as ir from "../../ir/ir.ts";
import { compileRetry } from "../policies/retry.ts";
import { compileTimeout } from "../policies/timeout.ts";
import type { Fact } from "../problems.ts";
import { TLS_VERSIONS } from "../tls.ts";

/** What the annotations of an Ingress come to. One that cannot be read counts as one that is not there. */
export type IngressSettings = {
  /** Whether the insecure port sends everything to the secure one. */
  readonly redirects: boolean;
  /** Whether the Ingress may be on the insecure port. */
  readonly allowsHttp: boolean;
  readonly timeout: ir.Timeout;
  readonly retry: ir.Retry | undefined;
  /** Paths of rules, as they are written there. */
  readonly websocketPaths: ReadonlySet<string>;
  /** Where the Secrets that `spec.tls` names are, if not beside the Ingress; as written. */
  readonly certificateNamespace: string | undefined;
  readonly minimumTlsVersion: { readonly version: ir.TlsVersion; readonly at: string } | undefined;
  readonly problems: readonly { readonly at: string; readonly fact: Fact }[];
};

/** The conditions that Envoy knows, for HTTP and for gRPC. */
const RETRY_CONDITIONS: readonly string[] = [
  ...["5xx", "gateway-error", "reset", "reset-before-request", "connect-failure", "envoy-ratelimited"],
  ...["retriable-4xx", "refused-stream", "retriable-status-codes", "retriable-headers", "http3-post-connect-failure"],
  ...["cancelled", "deadline-exceeded", "internal", "resource-exhausted", "unavailable"],
];

export function compileAnnotations({ annotations, rules, defaultBackend }: Ingress): IngressSettings {
  const problems: { readonly at: string; readonly fact: Fact }[] = [];
  const fieldPath = (key: string) => `metadata.annotations[${JSON.stringify(key)}]`;
  const ignored = ({ key }: Annotation, reason: string): undefined => {
    problems.push({ at: fieldPath(key), fact: { code: "IngressAnnotationIgnored", annotation: key, reason } });
  };
  /** What `read` makes of the value; undefined when it is absent or could not be read, which is told. */
  const value = <T>(
    name: keyof Ingress["annotations"],
    read: (text: string, at: string) => { readonly value: T } | { readonly fault: string },
  ): T | undefined => {
    const annotation = annotations[name];
    if (annotation === undefined) return undefined;
    const result = read(annotation.value.trim(), fieldPath(annotation.key));
    return "value" in result ? result.value : ignored(annotation, result.fault);
  };

  const timeout = value("request-timeout", (request) => {
    const { value, problems } = compileTimeout({ request });
    return faultIn(problems) ?? { value };
  }) ?? { kind: "proxyDefault" };

  const on = value("retry-on", (text) => {
    const conditions = text.split(",").map((condition) => condition.trim());
    const unknown = conditions.find((condition) => !RETRY_CONDITIONS.includes(condition));
    if (unknown !== undefined) return { fault: `${JSON.stringify(unknown)} is no condition that Envoy knows` };
    return { value: conditions.join(",") };
  });
  const count = value("num-retries", (text) => {
    if (!/^[0-9]{1,9}$/.test(text)) return { fault: "is not a whole number" };
    return Number(text) === 0 ? { fault: "0 counts as 1; leave retry-on out for no retries" } : { value: Number(text) };
  });
  const perTry = value("per-try-timeout", (perTryTimeout) => {
    const { value, problems } = compileRetry({ count: undefined, perTryTimeout }, timeout);
    return faultIn(problems) ?? { value: value?.perTryTimeoutMs };
  });
  if (annotations["retry-on"] === undefined) {
    for (const name of ["num-retries", "per-try-timeout"] as const) {
      const annotation = annotations[name];
      if (annotation !== undefined) ignored(annotation, "does nothing without retry-on");
    }
  }

  const paths = new Set(rules.flatMap(({ paths }) => paths.map(({ path }) => path ?? "/")));
  if (defaultBackend !== undefined) paths.add("/");
  const websocketPaths = value("websocket-routes", (text) => {
    const named = text.split(",").map((path) => path.trim());
    const unknown = named.find((path) => !paths.has(path));
    const annotation = annotations["websocket-routes"];
    if (unknown !== undefined && annotation) ignored(annotation, `no rule has the path ${JSON.stringify(unknown)}`);
    return { value: named };
  });

  const flag = (name: keyof Ingress["annotations"]): boolean | undefined =>
    value(name, (text) => {
      return text === "true" || text === "false"
        ? { value: text === "true" }
        : { fault: 'is neither "true" nor "false"' };
    });
  return {
    redirects: flag("ingress.kubernetes.io/force-ssl-redirect") ?? false,
    allowsHttp: flag("kubernetes.io/ingress.allow-http") ?? true,
    timeout,
    retry: on === undefined ? undefined : { on, count: count ?? 1, perTryTimeoutMs: perTry },
    websocketPaths: new Set(websocketPaths),
    certificateNamespace: value("tls-cert-namespace", (text) => ({ value: text })),
    minimumTlsVersion: value("tls-minimum-protocol-version", (text, at) => {
      const version = TLS_VERSIONS.find((known) => known === text);
      return version === undefined ? { fault: `is none of ${TLS_VERSIONS.join(", ")}` } : { value: { version, at } };
    }),
    problems,
  };
}

function faultIn(problems: readonly { readonly fact: Fact }[]): { readonly fault: string } | undefined {
  const [first] = problems;
  if (first === undefined) return undefined;
  switch (first.fact.code) {
    case "DurationInvalid":
      return { fault: first.fact.reason };
    case "PerTryTimeoutTooLong":
      return { fault: "is longer than the request may take" };
    default:
      throw new Error(`no annotation leads to ${first.fact.code}`);
  }
}
