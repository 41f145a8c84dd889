import type { ObjectChange } from "../../src/api/kinds.ts";
import type { ObjectKey } from "../../src/api/object-key.ts";
import { EchoSource } from "../../src/cli/echo.ts";
import type { Source, SourceListener } from "../../src/sources/source.ts";
import { type Isoline, type IsolineOptions, startIsoline } from "./isoline.ts";

/** A whole Isoline with a real Envoy, fed by hand. Every Service without EndpointSlices has an echo backend. */
export type World = Isoline & {
  /** Applies the changes and resolves when Envoy runs what came of them. */
  readonly apply: (changes: readonly ObjectChange[]) => Promise<void>;
  /** Applies the changes and waits for nothing. */
  readonly change: (changes: readonly ObjectChange[]) => void;
  /** Makes these the only objects there are. */
  readonly replace: (objects: readonly ObjectChange[]) => Promise<void>;
};

export type WorldOptions = IsolineOptions & {
  /** Whether Services without EndpointSlices get an echo backend; true unless told otherwise. */
  readonly echo?: boolean;
  /** What there is before the controller and Envoy start; nothing unless told otherwise. */
  readonly objects?: readonly ObjectChange[];
};

export async function startWorld(options: WorldOptions): Promise<World> {
  const objects = new Map<ObjectKey, ObjectChange>(options.objects?.map((change) => [change.key, change]));
  const handle: { listener?: SourceListener } = {};
  const byHand = (listener: SourceListener): Source => {
    handle.listener = listener;
    const start = () => {
      if (objects.size > 0) listener.changed([...objects.values()]);
      listener.synced();
    };
    return { start, stop: async () => {}, locate: () => undefined };
  };
  const isoline = await startIsoline(options, (tell) => ({
    source: (listener) => (options.echo === false ? byHand(listener) : new EchoSource(byHand, listener, { tell })),
  }));
  const change = (changes: readonly ObjectChange[]) => {
    for (const change of changes) {
      if (change.kind === "applied") objects.set(change.key, change);
      else objects.delete(change.key);
    }
    handle.listener?.changed(changes);
  };
  const apply = async (changes: readonly ObjectChange[]) => {
    const { controller } = isoline.running();
    const seen = controller.batches;
    change(changes);
    await isoline.settled(() => controller.batches > seen);
  };
  return {
    ...isoline,
    apply,
    change,
    replace: async (wanted) => {
      const kept = new Set(wanted.map(({ key }) => key));
      const gone = [...objects.keys()].filter((key) => !kept.has(key));
      await apply([...gone.map((key): ObjectChange => ({ kind: "deleted", key })), ...wanted]);
    },
  };
}
