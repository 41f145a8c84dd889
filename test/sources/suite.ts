import { afterEach, beforeEach, describe, expect, test } from "vitest";
import { objectKey } from "../../src/api/object-key.ts";
import type { Source, SourceListener } from "../../src/sources/source.ts";
import { Store } from "../../src/store/store.ts";
import { eventually, eventuallySynced, Told } from "./told.ts";

export type Raw = {
  readonly apiVersion: string;
  readonly kind: string;
  readonly metadata: { readonly namespace: string; readonly name: string };
  readonly [field: string]: unknown;
};

/** Somewhere where objects are kept, with a source that reads them. */
export type Place = {
  /** Names of namespaces that nothing else is in. */
  readonly namespaces: readonly [string, string];
  readonly apply: (objects: readonly Raw[]) => Promise<void>;
  readonly remove: (objects: readonly Raw[]) => Promise<void>;
  /** With all that is in it. */
  readonly removeNamespace: (namespace: string) => Promise<void>;
  /** An edit that changes nothing that is read, such as a comment, a label or a status. */
  readonly touch: (object: Raw) => Promise<void>;
  readonly source: (listener: SourceListener) => Source;
  readonly stop: () => Promise<void>;
};

/** What holds for every source, wherever objects come from. */
export function sourceSuite(what: string, start: () => Promise<Place>): void {
  describe(`a source that reads ${what}`, () => {
    let place: Place;
    let told: Told;
    let source: Source | undefined;
    let one: string;
    let two: string;

    beforeEach(async () => {
      place = await start();
      [one, two] = place.namespaces;
      told = new Told();
    });
    afterEach(async () => {
      await source?.stop();
      source = undefined;
      await place.stop();
    });

    const run = () => {
      source = place.source(told.listener);
      source.start();
    };
    const runSynced = async () => {
      run();
      await eventuallySynced(told);
    };
    /** Of the two namespaces: others may be used by somebody else. */
    const keys = () =>
      [...told.objects.keys()]
        .filter((key) => place.namespaces.some((namespace) => key.split("/")[1] === namespace))
        .sort();
    const fqdnOf = ({ metadata: { namespace, name } }: Raw) => {
      const object = told.objects.get(objectKey("IngressRoute", namespace, name));
      return object?.kind === "IngressRoute" ? object.virtualHost?.fqdn : undefined;
    };

    test("tells all that is there at the start in one batch, before it is synced", async () => {
      const objects = [root(one, "a"), root(two, "a"), service(one, "a"), slice(one, "a"), secret(one, "a")];
      await place.apply(objects);
      let syncedAt = -1;
      const { synced } = told.listener;
      const listener = {
        ...told.listener,
        synced: () => {
          syncedAt = told.batches.length;
          synced();
        },
      };
      source = place.source(listener);
      source.start();
      await eventuallySynced(told);
      expect(syncedAt).toBe(1);
      expect(keys()).toEqual(objects.map(keyOf).sort());
      expect(told.problems).toEqual([]);
    });

    test("is synced when there is nothing to tell", async () => {
      await runSynced();
      expect(keys()).toEqual([]);
    });

    test("tells of objects that appear, change and go", async () => {
      const [a, b] = [root(one, "a"), service(one, "b")];
      await place.apply([a]);
      await runSynced();
      await place.apply([b]);
      await eventually(() => expect(keys()).toEqual([a, b].map(keyOf).sort()));
      await place.apply([root(one, "a", "new.example.com")]);
      await eventually(() => expect(fqdnOf(a)).toBe("new.example.com"));
      await place.remove([a]);
      await eventually(() => expect(keys()).toEqual([keyOf(b)]));
      await place.apply([root(one, "a", "again.example.com")]);
      await eventually(() => expect(fqdnOf(a)).toBe("again.example.com"));
      expect(told.synced).toBe(1);
    });

    test("tells of many changes in few batches, with each object once", async () => {
      await runSynced();
      const objects = Array.from({ length: 60 }, (_, i) => root(one, `r${i}`));
      await place.apply(objects);
      await eventually(() => expect(keys()).toHaveLength(objects.length));
      expect(told.batches.length).toBeLessThanOrEqual(objects.length);
      for (const batch of told.batches) {
        expect(batch.length).toBeGreaterThan(0);
        expect(new Set(batch.map(({ key }) => key)).size).toBe(batch.length);
      }
    });

    test("gives what was not really changed as what it was", async () => {
      const objects = [root(one, "a"), service(one, "a"), slice(one, "a"), secret(one, "a")];
      await place.apply(objects);
      await runSynced();
      const before = told.batches.length;
      for (const object of objects) await place.touch(object);
      await place.apply([root(one, "last")]);
      await eventually(() => expect(keys()).toContain(keyOf(root(one, "last"))));
      const store = new Store();
      const touched = told.batches.map((batch) => store.apply(batch));
      const touchedLater = new Set(touched.slice(before).flatMap(({ objects: some }) => [...some]));
      expect([...touchedLater].filter((key) => key.split("/")[1] === one)).toEqual([keyOf(root(one, "last"))]);
    });

    test("tells of a broken object too, and of all others", async () => {
      const tls = { secretName: "a", clientValidation: { caSecret: "a" } };
      const broken = root(one, "broken", "broken.example.com", { tls });
      await place.apply([root(one, "a"), broken, root(one, "b")]);
      await runSynced();
      const object = told.objects.get(keyOf(broken));
      expect(object?.notes.faults.length).toBeGreaterThan(0);
      expect(keys()).toHaveLength(3);
      await place.apply([root(one, "broken")]);
      await eventually(() => expect(told.objects.get(keyOf(broken))?.notes.faults).toEqual([]));
    });

    test("lets go of a namespace that is removed, and of nothing else", async () => {
      await place.apply([root(one, "a"), service(one, "a"), secret(one, "a"), root(two, "a")]);
      await runSynced();
      await place.removeNamespace(one);
      await eventually(() => expect(keys()).toEqual([keyOf(root(two, "a"))]));
    });

    test("tells nothing after it was stopped", async () => {
      await place.apply([root(one, "a")]);
      await runSynced();
      const change = place.apply([root(one, "b")]);
      await source?.stop();
      const before = told.batches.length;
      await change;
      await place.apply([root(one, "c")]);
      // Another source has heard of it by then.
      const other = new Told();
      const second = place.source(other.listener);
      second.start();
      await eventually(() => expect([...other.objects.keys()]).toContain(keyOf(root(one, "c"))));
      await second.stop();
      expect(told.batches).toHaveLength(before);
    });
  });
}

function keyOf({ kind, metadata: { namespace, name } }: Raw): string {
  return objectKey(kind, namespace, name);
}

function root(namespace: string, name: string, fqdn = `${name}.example.com`, more: object = {}): Raw {
  return {
    apiVersion: "contour.heptio.com/v1beta1",
    kind: "IngressRoute",
    metadata: { namespace, name },
    spec: { virtualhost: { fqdn, ...more }, routes: [{ match: "/", services: [{ name: "web", port: 80 }] }] },
  };
}

function service(namespace: string, name: string): Raw {
  const spec = { clusterIP: "None", ports: [{ port: 80 }] };
  return { apiVersion: "v1", kind: "Service", metadata: { namespace, name }, spec };
}

function slice(namespace: string, name: string): Raw {
  return {
    apiVersion: "discovery.k8s.io/v1",
    kind: "EndpointSlice",
    metadata: { namespace, name },
    addressType: "IPv4",
    ports: [{ port: 8080 }],
    endpoints: [{ addresses: ["10.244.0.9"] }],
  };
}

function secret(namespace: string, name: string): Raw {
  return { apiVersion: "v1", kind: "Secret", metadata: { namespace, name }, data: { "ca.crt": "YQ==" } };
}
