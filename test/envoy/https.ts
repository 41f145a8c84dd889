import { type Agent, request as send } from "node:https";
import type { Reply } from "./harness.ts";

export type HttpsRequest = {
  readonly port: number;
  /** The name in the ClientHello; none when empty. */
  readonly serverName: string;
  readonly host: string;
  readonly path: string;
  /** In PEM: whose certificates are trusted; undefined trusts any, also for other names. */
  readonly authority: string | undefined;
  readonly agent?: Agent;
  readonly minVersion?: "TLSv1" | "TLSv1.1" | "TLSv1.2" | "TLSv1.3";
  readonly maxVersion?: "TLSv1" | "TLSv1.1" | "TLSv1.2" | "TLSv1.3";
};

/** One HTTP/1.1 request on a TLS connection of its own. Rejects when the handshake fails, or the certificate is not for the server name. */
export function httpsRequest(options: HttpsRequest): Promise<Reply> {
  const { port, serverName, host, path, authority, minVersion, maxVersion } = options;
  return new Promise((resolve, reject) => {
    send(
      {
        host: "127.0.0.1",
        port,
        servername: serverName,
        path,
        headers: { host },
        ...(authority === undefined ? { rejectUnauthorized: false } : { ca: authority }),
        agent: options.agent ?? false,
        signal: AbortSignal.timeout(10_000),
        ...(minVersion === undefined ? {} : { minVersion }),
        ...(maxVersion === undefined ? {} : { maxVersion }),
        // OpenSSL has the versions before 1.2 only at its lowest level of security.
        ciphers: "DEFAULT:@SECLEVEL=0",
      },
      (response) => {
        let body = "";
        response.setEncoding("utf8");
        response.on("data", (text: string) => {
          body += text;
        });
        response.on("error", reject);
        response.on("end", () => resolve({ status: response.statusCode ?? 0, headers: response.headers, body }));
      },
    )
      .on("error", reject)
      .end();
  });
}
