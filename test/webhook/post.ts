import { type RequestOptions, request } from "node:https";

/** Sends a body to a server on this machine, over a connection of its own. */
export function post(
  options: RequestOptions,
  body: string,
): Promise<{ readonly status: number; readonly body: string }> {
  const target = { host: "127.0.0.1", method: "POST", agent: false };
  return new Promise((resolve, reject) => {
    const sent = request({ ...target, ...options }, (response) => {
      let text = "";
      response.setEncoding("utf8").on("data", (chunk: string) => {
        text += chunk;
      });
      response.on("end", () => resolve({ status: response.statusCode ?? 0, body: text }));
    });
    // The server may have answered before all was sent.
    sent.on("error", reject).end(body);
  });
}
