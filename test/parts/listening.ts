import { once } from "node:events";
import type { Server, Socket } from "node:net";

export type Listening = {
  readonly address: string;
  readonly port: number;
  /** Ends the server with all its connections; resolves when nothing of it is left. */
  readonly stop: () => Promise<void>;
};

/** Makes a server listen on an address, on that port or, for 0, on one that nobody else has. */
export async function listening(server: Server, address = "127.0.0.1", port = 0): Promise<Listening> {
  const sockets = new Set<Socket>();
  server.on("connection", (socket: Socket) => {
    sockets.add(socket);
    // Clients break connections off as they please.
    socket.on("error", () => socket.destroy());
    socket.on("close", () => sockets.delete(socket));
  });
  server.listen(port, address);
  await once(server, "listening");
  const bound = server.address();
  if (bound === null || typeof bound === "string") throw new Error("not listening on a port");
  return {
    address,
    port: bound.port,
    stop: async () => {
      const closed = once(server, "close");
      server.close();
      for (const socket of sockets) socket.destroy();
      await closed;
    },
  };
}
