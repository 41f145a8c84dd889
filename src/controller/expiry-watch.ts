import { expiryWarning } from "../compile/tls.ts";
import type * as ir from "../ir/ir.ts";

export type Expiry = {
  /** What there is to say of the certificate. */
  readonly text: string;
  /** One of the hosts that it is presented for, and how many there are among those looked at. */
  readonly host: string;
  readonly hosts: number;
  /** What names the certificate for that host. */
  readonly object: string;
};

/** Tells of certificates in service that end soon, and again when they have ended: each once, for all of its hosts. */
export class ExpiryWatch {
  readonly #tell: (expiry: Expiry) => void;
  /** What was told last, by the certificate. */
  #told = new Map<string, string>();

  constructor(tell: (expiry: Expiry) => void) {
    this.#tell = tell;
  }

  /** Looks at all that is served. */
  lookAtAll(hosts: Iterable<ir.Host>, nowMs: number): void {
    const found = this.lookAt(hosts, nowMs);
    // Nobody asks again after what is not served any more.
    this.#told = new Map([...found].map(([chain, { text }]) => [chain, text]));
  }

  /** Looks at hosts that have changed. Returns what ends or has ended, told or not, by the certificate. */
  lookAt(hosts: Iterable<ir.Host>, nowMs: number): ReadonlyMap<string, Expiry> {
    const found = new Map<string, Expiry>();
    for (const { name, tls } of hosts) {
      const text = tls && expiryWarning(tls.certificate, nowMs);
      if (tls === undefined || text === undefined) continue;
      const { chainPem, origin } = tls.certificate;
      const known = found.get(chainPem);
      if (known !== undefined) found.set(chainPem, { ...known, hosts: known.hosts + 1 });
      else found.set(chainPem, { text, host: name, hosts: 1, object: origin.object });
    }
    for (const [chain, expiry] of found) {
      if (this.#told.get(chain) === expiry.text) continue;
      this.#told.set(chain, expiry.text);
      this.#tell(expiry);
    }
    return found;
  }
}
