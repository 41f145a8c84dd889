import { inspect } from "node:util";
import { expect, test } from "vitest";
import { sameValue } from "../../src/api/same-value.ts";
import { decodeSecret } from "../../src/api/secret.ts";
import { SecretText } from "../../src/api/secret-text.ts";

const base64 = (text: string) => Buffer.from(text).toString("base64");
const secret = (fields: Readonly<Record<string, unknown>>) =>
  decodeSecret({ apiVersion: "v1", kind: "Secret", metadata: { namespace: "default", name: "tls" }, ...fields });

test("a Secret keeps three values and its type, and nothing else", () => {
  const decoded = secret({
    type: "kubernetes.io/tls",
    data: {
      "tls.crt": base64("certificate"),
      "tls.key": base64("key"),
      "ca.crt": base64("authority"),
      password: base64("hunter2"),
    },
    stringData: { token: "hunter3" },
  });
  expect(decoded.type).toBe("kubernetes.io/tls");
  expect(decoded.certificate?.reveal()).toBe("certificate");
  expect(decoded.key?.reveal()).toBe("key");
  expect(decoded.authority?.reveal()).toBe("authority");
  expect(decoded.notes).toEqual({ faults: [], warnings: [] });
  expect(Object.keys(decoded)).toEqual(["kind", "metadata", "type", "certificate", "key", "authority", "notes"]);
});

test("stringData stands over data, as in an API server", () => {
  const decoded = secret({ data: { "tls.key": "%%%" }, stringData: { "tls.key": "plain" } });
  expect(decoded.key?.reveal()).toBe("plain");
  expect(decoded.notes.faults).toEqual([]);
});

test("line ends in base64 do not count, and an empty value is there", () => {
  const decoded = secret({ data: { "tls.key": "a2\nV5\r\n", "tls.crt": "" } });
  expect(decoded.key?.reveal()).toBe("key");
  expect(decoded.certificate?.reveal()).toBe("");
  expect(decoded.authority).toBeUndefined();
});

test("values of many megabytes are read", () => {
  const text = "x".repeat(3_000_000);
  expect(secret({ data: { "tls.crt": base64(text) } }).certificate?.reveal()).toBe(text);
});

test.each(["a2V", "a2V5=", "a2V5====", "a=V5", "a2 V5", "a2V_", "hunter2 hunter2", "=", "===="])(
  "%j is not base64, and is not told",
  (value) => {
    const { key, notes } = secret({ data: { "tls.key": value } });
    expect(key).toBeUndefined();
    expect(notes.faults).toEqual([
      { at: 'data["tls.key"]', reason: "must be base64; text as it is goes into stringData" },
    ]);
  },
);

test("a value of another type is a fault that does not tell it", () => {
  const { key, notes } = secret({ data: { "tls.key": 4711 } });
  expect(key).toBeUndefined();
  expect(notes.faults).toEqual([{ at: 'data["tls.key"]', reason: "must be a string, not a whole number" }]);
  expect(secret({ data: "hunter2" }).notes.faults).toEqual([{ at: "data", reason: "must be an object, not a string" }]);
});

test("a secret text shows itself to nobody who does not ask", () => {
  const text = new SecretText("hunter2");
  const error = new Error(`cannot use ${text}`, { cause: text });
  const shown = [
    String(text),
    `${text}`,
    JSON.stringify({ text }),
    inspect({ text }, { showHidden: true, depth: 9 }),
    inspect(error),
    JSON.stringify(structuredClone({ text })),
    JSON.stringify(Object.entries(text)),
    JSON.stringify({ ...text }),
  ];
  for (const one of shown) expect(one).not.toContain("hunter2");
  expect(text.reveal()).toBe("hunter2");
});

test("secret texts are compared by what they hide", () => {
  const decoded = (key: string) => secret({ stringData: { "tls.key": key } });
  expect(sameValue(decoded("one"), decoded("one"))).toBe(true);
  expect(sameValue(decoded("one"), decoded("two"))).toBe(false);
  expect(sameValue(new SecretText("one"), {})).toBe(false);
  expect(sameValue({}, new SecretText("one"))).toBe(false);
  expect(sameValue([new SecretText("one")], [new SecretText("one")])).toBe(true);
});
