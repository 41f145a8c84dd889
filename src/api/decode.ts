import { isRecord } from "./is-record.ts";

/**
 * Decoding happens once, at the edge. A decoder reads a raw object field by field through an {@link ObjectReader}; what it
 * cannot read it leaves out and notes, so that one wrong field never hides the rest: a root whose routes are unreadable
 * still holds its host.
 */

/** What is the matter with one field. `at` is a path such as `spec.routes[2].match`. */
export type FieldNote = {
  readonly at: string;
  readonly reason: string;
  /** Set when the field itself is not part of the schema. */
  readonly unknown?: true;
};

/** What decoding found: `faults` make the whole object invalid, `warnings` are told and otherwise ignored. */
export type Notes = { readonly faults: readonly FieldNote[]; readonly warnings: readonly FieldNote[] };

/** What to do with a key that the schema does not have: refuse the object, or warn. In both cases with a reason. */
export type UnknownFieldRule = (field: {
  readonly key: string;
  readonly at: string;
  readonly known: readonly string[];
}) => {
  readonly refuse: boolean;
  readonly reason: string;
};

/** Shared by all objects with nothing to note, which are nearly all of them. */
const NONE: FieldNote[] = [];
Object.freeze(NONE);

class Collector {
  readonly notes = { faults: NONE, warnings: NONE };
  readonly unknownField: UnknownFieldRule;
  /** How many fields of the object were unknown so far. */
  unknown = 0;

  constructor(unknownField: UnknownFieldRule) {
    this.unknownField = unknownField;
  }

  add(list: keyof Notes, note: FieldNote): void {
    if (this.notes[list] === NONE) this.notes[list] = [note];
    else this.notes[list].push(note);
  }
}

/** Beyond this many unknown fields the rest is not looked at: to find out what they may have meant takes time. */
const MAX_UNKNOWN_FIELDS = 1000;

/** The longest key of an annotation: a prefix of 253 characters, a slash, a name of 63. */
const MAX_KEY_LENGTH = 317;

/** Where an object stands: in a field of another one, or in a list in such a field. */
type Place = { readonly parent: ObjectReader; readonly key: string; readonly index?: number };

export class ObjectReader {
  readonly #raw: Readonly<Record<string, unknown>>;
  readonly #place: Place | undefined;
  readonly #collector: Collector;
  readonly #known: string[] = [];

  private constructor(raw: Readonly<Record<string, unknown>>, place: Place | undefined, collector: Collector) {
    this.#raw = raw;
    this.#place = place;
    this.#collector = collector;
  }

  /** Put together when it is asked for: nothing is the matter with most objects, and some have thousands of parts. */
  get at(): string {
    if (this.#place === undefined) return "";
    const { parent, key, index } = this.#place;
    return index === undefined ? parent.pathOf(key) : `${parent.pathOf(key)}[${index}]`;
  }

  /** A reader of a whole object, and the notes that it and its descendants will have collected once reading is over. */
  static open(raw: unknown, unknownField: UnknownFieldRule): { readonly reader: ObjectReader; readonly notes: Notes } {
    const collector = new Collector(unknownField);
    if (!isRecord(raw)) collector.add("faults", { at: "", reason: `must be an object, not ${nameOf(raw)}` });
    return { reader: new ObjectReader(isRecord(raw) ? raw : {}, undefined, collector), notes: collector.notes };
  }

  fault(key: string, reason: string): void {
    this.#collector.add("faults", { at: this.pathOf(key), reason });
  }

  warn(key: string, reason: string): void {
    this.#collector.add("warnings", { at: this.pathOf(key), reason });
  }

  pathOf(key: string): string {
    const { at } = this;
    if (key === "") return at;
    // A path stands in sentences; a key of a megabyte does not have to.
    if (key.length > MAX_KEY_LENGTH) return this.pathOf(`${key.slice(0, MAX_KEY_LENGTH - 1)}…`);
    // Annotation keys hold dots and slashes; brackets keep such a path unambiguous.
    if (!/^[A-Za-z0-9_-]+$/.test(key)) return `${at}[${JSON.stringify(key)}]`;
    return at === "" ? key : `${at}.${key}`;
  }

  /** Whether the key is there with a value; null counts as absent, as it does for the API server. */
  has(key: string): boolean {
    this.#known.push(key);
    return this.#value(key) !== undefined;
  }

  /** Refuses a key that is there without a value: for what must not be lost to a slip of indentation. */
  refuseEmpty(key: string): void {
    if (Object.hasOwn(this.#raw, key) && this.#raw[key] === null) this.fault(key, "is empty; remove it or fill it in");
  }

  string(key: string): string | undefined {
    return this.#typed(key, (value) => typeof value === "string", "a string");
  }

  /** What Kubernetes calls an IntOrString. */
  stringOrInteger(key: string): string | number | undefined {
    const isText = typeof this.#value(key) === "string";
    return isText ? this.string(key) : this.#typedInteger(key, "a string or a whole number");
  }

  boolean(key: string): boolean | undefined {
    return this.#typed(key, (value) => typeof value === "boolean", "true or false");
  }

  /** A whole number that a double holds exactly. */
  integer(key: string): number | undefined {
    return this.#typedInteger(key, "a whole number");
  }

  object(key: string): ObjectReader | undefined {
    const value = this.#typed(key, isRecord, "an object");
    return value && new ObjectReader(value, { parent: this, key }, this.#collector);
  }

  /** The items of a list, in their places: an item that is no object is noted and read as an empty one. */
  objects(key: string): readonly ObjectReader[] | undefined {
    const list = this.#typed(key, (value): value is unknown[] => Array.isArray(value), "a list");
    return list?.map((item, index) => {
      const reader = new ObjectReader(isRecord(item) ? item : {}, { parent: this, key, index }, this.#collector);
      if (!isRecord(item)) reader.fault("", `must be an object, not ${nameOf(item)}`);
      return reader;
    });
  }

  /** The strings of a list; other items are noted and left out. */
  strings(key: string): readonly string[] | undefined {
    const list = this.#typed(key, (value): value is unknown[] => Array.isArray(value), "a list of strings");
    return list?.filter((item, i): item is string => {
      if (typeof item === "string") return true;
      const reason = `must be a string, not ${nameOf(item)}`;
      this.#collector.add("faults", { at: `${this.pathOf(key)}[${i}]`, reason });
      return false;
    });
  }

  /** Keys that are there but not the decoder's business, such as `metadata.labels`. */
  ignore(...keys: readonly string[]): this {
    this.#known.push(...keys);
    return this;
  }

  keys(): readonly string[] {
    return Object.keys(this.#raw);
  }

  /** To be called when all known fields were read: notes every other key by the rule the object was opened with. */
  end(): void {
    for (const key of Object.keys(this.#raw)) {
      if (this.#known.includes(key) || this.#raw[key] === null) continue;
      const at = this.pathOf(key);
      const count = ++this.#collector.unknown;
      if (count > MAX_UNKNOWN_FIELDS) {
        // Among those that are left there may be some that ask for protection.
        const reason = `more than ${MAX_UNKNOWN_FIELDS} unknown fields; what follows was not looked at`;
        if (count === MAX_UNKNOWN_FIELDS + 1) this.#collector.add("faults", { at, reason });
        return;
      }
      const { refuse, reason } = this.#collector.unknownField({ key, at, known: [...new Set(this.#known)] });
      this.#collector.add(refuse ? "faults" : "warnings", { at, reason, unknown: true });
    }
  }

  #value(key: string): unknown {
    // A raw object may carry keys such as "__proto__" or "constructor": only its own properties are data.
    return Object.hasOwn(this.#raw, key) ? (this.#raw[key] ?? undefined) : undefined;
  }

  #typedInteger(key: string, expected: string): number | undefined {
    const value = this.#typed(key, (value): value is number => Number.isInteger(value), expected);
    if (value === undefined || Number.isSafeInteger(value)) return value;
    this.fault(key, `is too ${value > 0 ? "large" : "small"} for a number`);
    return undefined;
  }

  #typed<T>(key: string, is: (value: unknown) => value is T, expected: string): T | undefined {
    this.#known.push(key);
    const value = this.#value(key);
    if (value === undefined) return undefined;
    if (is(value)) return value;
    this.fault(key, `must be ${expected}, not ${nameOf(value)}`);
    return undefined;
  }
}

/** Names the kind of a value without its contents: the value may be secret, or a megabyte. */
function nameOf(value: unknown): string {
  if (value === null || value === undefined) return "empty";
  if (Array.isArray(value)) return "a list";
  switch (typeof value) {
    case "object":
      return "an object";
    case "string":
      return "a string";
    case "boolean":
      return "true or false";
    case "number":
      return Number.isInteger(value) ? "a whole number" : "a number with a fraction";
    default:
      return `a ${typeof value}`;
  }
}
