import type { MessagePort } from "node:worker_threads";
import { SecretText } from "../api/secret-text.ts";
import { allowedUnseen, type ReviewOptions, review } from "./review.ts";
import { type ReviewReport, ReviewServer } from "./review-server.ts";
import type { FromThread, ToThread } from "./thread-messages.ts";

/** Answers reviews as the other side of the port says. */
export function serveReviews(port: MessagePort, options: ReviewOptions): void {
  const say = (message: FromThread) => port.postMessage(message);
  const server = new ReviewServer({
    review: (body) => review(body, options),
    allowedUnseen,
    monotonicMs: () => performance.now(),
    onReport: (report) => say({ kind: "report", report: cloneable(report) }),
  });
  const listen = (address: string, wanted: number) =>
    server.listen(address, wanted).then(
      (listening) => say({ kind: "listening", port: listening }),
      (error: unknown) => say({ kind: "failed", ...factsOf(error) }),
    );
  const obey = async (message: ToThread): Promise<void> => {
    switch (message.kind) {
      case "listen":
        return listen(message.address, message.port);
      case "use":
        return server.use({ certPem: message.certPem, key: new SecretText(message.keyPem) });
      case "ping":
        return say({ kind: "pong" });
      case "close":
        await server.close();
        port.close();
    }
  };
  // What is thrown here is a bug, and ends the thread.
  port.on("message", (message: ToThread) => void obey(message));
}

/** What an error refers to may be of a kind that does not leave the thread. */
function cloneable(report: ReviewReport): ReviewReport {
  if (report.kind !== "bug") return report;
  const error = new Error(factsOf(report.error).message);
  if (report.error instanceof Error) error.stack = report.error.stack ?? "";
  return { kind: "bug", error };
}

function factsOf(error: unknown): { readonly message: string; readonly code: string } {
  const code = error instanceof Error && "code" in error ? String(error.code) : "";
  return { message: error instanceof Error ? error.message : String(error), code };
}
