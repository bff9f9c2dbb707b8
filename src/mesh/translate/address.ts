// Where something listens, in xDS.

import type { Message } from '#wire'
import { isSocket, socketPath } from '../model/unix-socket.ts'

/** envoy.config.core.v3.Address: a socket's path, or an address with a port. */
export const addressMessage = (address: string, port: number): Message =>
  isSocket(address) ? { pipe: { path: socketPath(address) } } : { socket_address: { address, port_value: port } }
