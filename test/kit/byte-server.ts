// A server of bytes under a test's hand.

import { once } from 'node:events'
import { type AddressInfo, createServer, type Socket } from 'node:net'

export interface ByteServer extends Disposable {
  readonly port: number
  /** The connections there have been. */
  readonly open: ReadonlySet<Socket>
}

/** Serves on a free port; `serve` is given each connection, which may be half closed. */
export async function byteServer(serve: (socket: Socket) => void): Promise<ByteServer> {
  const open = new Set<Socket>()
  const server = createServer({ allowHalfOpen: true }, (socket) => {
    open.add(socket)
    socket.on('error', () => {})
    serve(socket)
  }).listen(0, '127.0.0.1')
  await once(server, 'listening')
  return {
    port: (server.address() as AddressInfo).port,
    open,
    [Symbol.dispose]() {
      server.close()
      for (const socket of open) socket.destroy()
    },
  }
}
