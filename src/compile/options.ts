export type CompileOptions = {
  /** Namespaces where a root may live; empty means anywhere. */
  readonly rootNamespaces: readonly string[];
  /** Let ExternalName Services lead to the proxy's own loopback. */
  readonly allowLoopbackExternalName: boolean;
};
