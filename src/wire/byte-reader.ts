// Reading a connection past Node's streams, into one block that all connections share. Hot path; bench/proxy measures it.
//
// Node reads so where `onread` is given to `connect` (its documentation of net.Socket). For connections that were
// accepted, and for TLS, it has no public way: what is used here is looked for first, and where it is not as expected
// bytes come by the stream's "data".

import type { Socket } from 'node:net'

/** What Node keeps on every socket for `onread`, by the names of its symbols. */
interface Keys {
  readonly buffer: symbol
  readonly callback: symbol
}

type Inside = Socket & Record<symbol, unknown> & { _handle?: { useUserBuffer?(block: Uint8Array): void } }

/** As much as one read takes. A read is over before the next begins, so one block does for all. */
const block = Buffer.allocUnsafeSlow(64 * 1024)

let keys: Keys | null | undefined

function findKeys(socket: Socket): Keys | null {
  const find = (name: string) => Object.getOwnPropertySymbols(socket).find((s) => s.description === name)
  const buffer = find('kBuffer')
  const callback = find('kBufferCb')
  return buffer && callback && find('kBufferGen') ? { buffer, callback } : null
}

/**
 * Hands what is read of a connection to `take`, what waits in its stream first. Bytes are those of the connection only
 * until `take` returns: whoever keeps them copies them. Ends and errors are told by the socket's events.
 */
export function readBytes(socket: Socket, take: (data: Buffer) => void): void {
  const inside = socket as Inside
  const handle = inside._handle
  keys ??= findKeys(socket)
  if (!keys || typeof handle?.useUserBuffer !== 'function') {
    socket.on('data', take)
    return
  }
  inside[keys.buffer] = block
  inside[keys.callback] = (length: number) => take(block.subarray(0, length))
  handle.useUserBuffer(block)
  for (let data: Buffer | null; socket.readableLength > 0 && (data = socket.read()); ) take(data)
}
