const HIDDEN = "(secret)";

/**
 * Text that must not be seen: key material. However it is printed, put into a message or serialised, a fixed text comes
 * out; only {@link SecretText.reveal} gives it away. Compare with `sameValue`: other deep
 * comparisons, and Node's `inspect`, find no fields in it.
 */
export class SecretText {
  readonly #text: string;

  constructor(text: string) {
    this.#text = text;
  }

  reveal(): string {
    return this.#text;
  }

  equals(other: SecretText): boolean {
    return this.#text === other.#text;
  }

  toString(): string {
    return HIDDEN;
  }

  toJSON(): string {
    return HIDDEN;
  }
}
