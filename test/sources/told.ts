import { expect, vi } from "vitest";
import type { ApiObject, ObjectChange } from "../../src/api/kinds.ts";
import { problemText, type SourceListener, type SourceProblem } from "../../src/sources/source.ts";

/** What a source has told. */
export class Told {
  readonly objects: Map<string, ApiObject> = new Map();
  readonly batches: (readonly ObjectChange[])[] = [];
  synced = 0;
  #problems: readonly SourceProblem[] = [];
  readonly #base: string;

  /** `base` is a folder that problems are told without. */
  constructor(base = "") {
    this.#base = base;
  }

  readonly listener: SourceListener = {
    changed: (batch: readonly ObjectChange[]) => {
      this.batches.push(batch);
      for (const change of batch) {
        if (change.kind === "applied") this.objects.set(change.key, change.object);
        else this.objects.delete(change.key);
      }
    },
    synced: () => {
      this.synced += 1;
    },
    problems: (problems: readonly SourceProblem[]) => {
      this.#problems = problems;
    },
  };

  /** Names of the objects, of roots with their fqdn, sorted. */
  get names(): readonly string[] {
    return [...this.objects.values()]
      .map((object) => `${object.metadata.name}${object.kind === "IngressRoute" ? `=${object.virtualHost?.fqdn}` : ""}`)
      .sort();
  }

  get problems(): readonly string[] {
    return this.#problems.map(({ place, severity, text }) => {
      const problem = problemText({ place, text: `${severity}: ${text}` });
      return this.#base === "" ? problem : problem.replaceAll(`${this.#base}/`, "");
    });
  }

  get deletions(): number {
    return this.batches.flat().filter(({ kind }) => kind === "deleted").length;
  }
}

export async function eventually(check: () => void | Promise<void>, timeout = 10_000): Promise<void> {
  await vi.waitFor(check, { timeout, interval: 5 });
}

export async function eventuallySynced(told: Told): Promise<void> {
  await eventually(() => expect(told.synced).toBe(1));
}
