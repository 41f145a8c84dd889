import { once } from "node:events";
import { createServer } from "node:net";
import { AddressInUseError } from "../xds/server.ts";

/** Rejects when somebody listens there already, naming the flag that chooses the port. */
export async function assertFree(address: string, port: number, flag: string): Promise<void> {
  const server = createServer();
  server.listen(port, address);
  try {
    await once(server, "listening");
  } catch (error) {
    const isTaken = error instanceof Error && "code" in error && error.code === "EADDRINUSE";
    if (!isTaken) throw error;
    throw new AddressInUseError(`${address} port ${port} is in use; choose another one with ${flag}`, { cause: error });
  }
  server.close();
  await once(server, "close");
}
