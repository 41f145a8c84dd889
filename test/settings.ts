import { type Settings, translateOptions } from "../src/controller/settings.ts";
import type { TranslateOptions } from "../src/translate/translator.ts";

/** The settings that the flags have by themselves, except that everything is on the loopback. */
export const DEFAULT_SETTINGS: Settings = {
  rootNamespaces: [],
  ingressClass: "contour",
  allowLoopbackExternalName: false,
  disablePermitInsecure: false,
  minimumTlsVersion: "1.1",
  maxHealthCheckConnections: 8192,
  envoy: {
    address: "127.0.0.1",
    httpPort: 8080,
    httpsPort: 8443,
    accessLog: true,
    trustedHops: 0,
    redirectPort: undefined,
  },
};

/** What the core is given with these settings, where they differ from the defaults. */
export function testOptions(settings: Partial<Settings>): TranslateOptions {
  return translateOptions({ ...DEFAULT_SETTINGS, ...settings });
}
