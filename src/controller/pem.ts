/** One block of a PEM text. */
export type PemBlock = {
  /** What stands behind BEGIN, such as `CERTIFICATE`. */
  readonly label: string;
  /** Undefined when what stands between the lines is not base64, or holds headers, as an old encrypted key does. */
  readonly der: Buffer | undefined;
  readonly isEncrypted: boolean;
};

const BEGIN = "-----BEGIN ";
const END = "-----END ";
const DASHES = "-----";

/** The blocks of a text, whatever stands around them; undefined when one has no end. Takes linear time. */
export function readPem(text: string): readonly PemBlock[] | undefined {
  const blocks: PemBlock[] = [];
  let at = text.indexOf(BEGIN);
  while (at >= 0) {
    const label = labelAt(text, at + BEGIN.length);
    if (label === undefined) return undefined;
    const start = at + BEGIN.length + label.length + DASHES.length;
    const end = text.indexOf(END, start);
    if (end < 0 || labelAt(text, end + END.length) !== label) return undefined;
    const body = text.slice(start, end);
    const base64 = body.replace(/\s/g, "");
    const der = isBase64(base64) ? Buffer.from(base64, "base64") : undefined;
    const isEncrypted = label === "ENCRYPTED PRIVATE KEY" || body.includes("ENCRYPTED");
    blocks.push({ label, der, isEncrypted });
    at = text.indexOf(BEGIN, end);
  }
  return blocks;
}

export function writePem(label: string, der: Buffer): string {
  const lines = der.toString("base64").match(/.{1,64}/g) ?? [];
  return [`${BEGIN}${label}${DASHES}`, ...lines, `${END}${label}${DASHES}`, ""].join("\n");
}

function labelAt(text: string, at: number): string | undefined {
  return /^([A-Z0-9 ]{1,40})-----/.exec(text.slice(at, at + 45))?.[1];
}

function isBase64(text: string): boolean {
  if (text.length % 4 !== 0) return false;
  const end = text.search(/[^A-Za-z0-9+/]/);
  return end < 0 || /^={1,2}$/.test(text.slice(end));
}
