import { STATUS_CODES } from "node:http";

/** Messages of servers and plugins are cut to this: some answer with a page. */
const MAX_MESSAGE = 500;

/** The API server has answered, and said no. */
export class ApiError extends Error {
  override readonly name: string = "ApiError";
  /** Of HTTP, or of the Status that came in its place. */
  readonly status: number;
  /** The `reason` of the Status, such as `NotFound`; empty if there is none. */
  readonly reason: string;
  /** Reasons of the Status's causes, such as `ResourceVersionTooLarge`. */
  readonly causes: readonly string[];
  /** How long the API server wants to be left alone. */
  readonly retryAfterMs: number | undefined;

  constructor(answer: Pick<ApiError, "message" | "status" | "reason" | "causes" | "retryAfterMs">) {
    super(answer.message);
    this.status = answer.status;
    this.reason = answer.reason;
    this.causes = answer.causes;
    this.retryAfterMs = answer.retryAfterMs;
  }
}

/**
 * What kept an answer from coming: no connection (`connect`), one that broke off (`cut`), one on which nothing more came
 * (`timeout`), something that no API server says (`garbled`), more than is read at once (`too large`), or nothing to show to the
 * API server (`credentials`).
 */
export type ConnectionFault = "connect" | "cut" | "timeout" | "garbled" | "too large" | "credentials";

/** No answer came, or half of one. Whether the API server has done what it was asked is unknown. */
export class ConnectionError extends Error {
  override readonly name: string = "ConnectionError";
  readonly fault: ConnectionFault;

  constructor(fault: ConnectionFault, message: string, options?: ErrorOptions) {
    super(message, options);
    this.fault = fault;
  }
}

/** The error of an answer that is no success. `retryAfter` is the header of that name. */
export function apiError(httpStatus: number, body: unknown, retryAfter?: string): ApiError {
  const { message, reason, details, code } = fields(body);
  const { causes, retryAfterSeconds } = fields(details);
  const status = typeof code === "number" ? code : httpStatus;
  const label = `${status} ${STATUS_CODES[status] ?? "(unknown status)"}`;
  const seconds = retryAfter ?? retryAfterSeconds;
  return new ApiError({
    message: typeof message === "string" && message !== "" ? `${label}: ${excerpt(message)}` : label,
    status,
    reason: typeof reason === "string" ? reason : "",
    causes: Array.isArray(causes) ? causes.map((cause) => String(fields(cause).reason)) : [],
    // The header may hold a date as well; no API server sends that.
    retryAfterMs: /^\d{1,6}$/.test(String(seconds)) ? Number(seconds) * 1000 : undefined,
  });
}

export function excerpt(text: string): string {
  const line = text.replace(/\s+/g, " ").trim();
  return line.length <= MAX_MESSAGE ? line : `${line.slice(0, MAX_MESSAGE)}…`;
}

/** The fields of what may be an object. */
export function fields(value: unknown): Readonly<Record<string, unknown>> {
  return isRecord(value) ? value : {};
}

function isRecord(value: unknown): value is Readonly<Record<string, unknown>> {
  return typeof value === "object" && value !== null;
}
