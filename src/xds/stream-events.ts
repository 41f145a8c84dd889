import type { ResourceType } from "./type-urls.ts";
import type { DeltaRequest } from "./wire.ts";

export type StreamEvent =
  | { readonly kind: "request"; readonly request: DeltaRequest }
  /** The cache has changed, or has become ready. */
  | { readonly kind: "changed" }
  /** The last response was taken: the socket accepted it, or has drained since. */
  | { readonly kind: "writable" }
  /** The time has come that the stream waits for, see `XdsStream.wakeAtMs`. */
  | { readonly kind: "time" }
  | { readonly kind: "closed" };

/** What an Envoy said, for logs, metrics and status. */
export type Report =
  | { readonly kind: "accepted"; readonly type: ResourceType; readonly resources: readonly NamedVersion[] }
  /** It told how many resources of a type it holds from before this stream; those that are current count as accepted. */
  | { readonly kind: "claimed"; readonly type: ResourceType; readonly resources: number }
  | {
      /** This resource is the culprit of a refused response, and is not sent again until it changes. */
      readonly kind: "refused";
      readonly type: ResourceType;
      readonly name: string;
      readonly version: string;
      readonly origins: readonly string[];
      readonly message: string;
    }
  /** A response of several resources was refused; they are sent again in parts to find the culprit. */
  | { readonly kind: "retried"; readonly type: ResourceType; readonly resources: number; readonly message: string }
  | { readonly kind: "unknownType"; readonly typeUrl: string };

/** An empty version is a removal. */
export type NamedVersion = { readonly name: string; readonly version: string };

export type Effect =
  | {
      /** At most one for an event, and no more until the event "writable". */
      readonly kind: "send";
      readonly type: ResourceType;
      readonly nonce: string;
      readonly bytes: Buffer;
      readonly set: readonly string[];
      readonly removed: readonly string[];
    }
  | { readonly kind: "report"; readonly report: Report };
