import { Agent, type IncomingMessage, request } from "node:http";
import { setTimeout as delay } from "node:timers/promises";

/** So that clients leave something of the machine to what they ask. */
const PAUSE_MS = 2;
const ANSWER_MS = 10_000;

export type LoadReport = {
  readonly requests: number;
  /** What came in place of a 200, and of whom. */
  readonly failures: readonly string[];
  /** How often each backend answered. */
  readonly answers: ReadonlyMap<string, number>;
};

export type Load = {
  readonly requests: () => number;
  /** Resolves when every request that was begun is over. */
  readonly stop: () => Promise<LoadReport>;
};

/** Clients that ask these hosts of an Envoy in turn, each over one connection that it keeps. */
export function startLoad(port: number, hosts: readonly string[], clients = 4): Load {
  let isStopped = false;
  let requests = 0;
  const failures: string[] = [];
  const answers = new Map<string, number>();
  const agent = new Agent({ keepAlive: true, maxSockets: clients });
  const client = async () => {
    while (!isStopped) {
      const host = hosts[requests++ % hosts.length] ?? "";
      try {
        const { status, body } = await ask(agent, port, host);
        if (status !== 200) failures.push(`${host}: ${status} ${body}`);
        else answers.set(body, (answers.get(body) ?? 0) + 1);
      } catch (error) {
        failures.push(`${host}: ${error}`);
      }
      await delay(PAUSE_MS);
    }
  };
  const running = Promise.all(Array.from({ length: clients }, client));
  return {
    requests: () => requests,
    stop: async () => {
      isStopped = true;
      await running;
      agent.destroy();
      return { requests, failures, answers };
    },
  };
}

function ask(agent: Agent, port: number, host: string): Promise<{ readonly status: number; readonly body: string }> {
  return new Promise((resolve, reject) => {
    const options = { agent, host: "127.0.0.1", port, headers: { host }, signal: AbortSignal.timeout(ANSWER_MS) };
    request(options, (response: IncomingMessage) => {
      let body = "";
      response.setEncoding("utf8").on("data", (text: string) => {
        body += text;
      });
      response.on("error", reject);
      response.on("end", () => resolve({ status: response.statusCode ?? 0, body }));
    })
      .on("error", reject)
      .end();
  });
}
