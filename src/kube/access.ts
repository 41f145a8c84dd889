/** How to reach an API server, and as whom. */
export type Access = {
  /** Such as `https://10.96.0.1:443`, possibly with a path. No slash at the end. */
  readonly server: string;
  readonly tls: {
    /** Certificates in PEM of the authorities that may have issued the server's; Node's own if there are none. */
    readonly authority: TextSource | undefined;
    /** The name that the server's certificate must have, if it is not that of its address. */
    readonly serverName: string | undefined;
    /** Whether any certificate will do. */
    readonly isInsecure: boolean;
  };
  readonly credentials: Credentials;
  /** The namespace that goes with it: of the kubeconfig's context, or of the pod. */
  readonly namespace: string | undefined;
};

/** What is shown to the API server. */
export type Identity = {
  /** The value of the header of that name. */
  readonly authorization: string | undefined;
  readonly certificate: { readonly certPem: string; readonly keyPem: string } | undefined;
};

export interface Credentials {
  /** Rejects with a `ConnectionError` when there are none to be had. */
  identity(): Promise<Identity>;
  /** To be called when the API server does not believe them: the next ones are made anew. */
  forget(): void;
}

/** A text that may change. */
export interface TextSource {
  read(): Promise<string>;
  /** The next one is read anew. */
  forget(): void;
}

/** Somebody whom the configuration does not know could not be spoken to anyway. The message is one line for the user. */
export class AccessError extends Error {
  override readonly name: string = "AccessError";
}
