import type { ReviewReport } from "./review-server.ts";

/** What the thread that answers reviews is told. */
export type ToThread =
  | { readonly kind: "listen"; readonly address: string; readonly port: number }
  | { readonly kind: "use"; readonly certPem: string; readonly keyPem: string }
  | { readonly kind: "ping" }
  | { readonly kind: "close" };

/** What it says. */
export type FromThread =
  | { readonly kind: "listening"; readonly port: number }
  | { readonly kind: "failed"; readonly message: string; readonly code: string }
  | { readonly kind: "pong" }
  | { readonly kind: "report"; readonly report: ReviewReport };
