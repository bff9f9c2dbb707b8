// Where a redirected connection was on its way to: getsockopt(SO_ORIGINAL_DST).

import type { Socket } from 'node:net'

export interface Address {
  host: string
  port: number
}

const SOL_IP = 0
const SO_ORIGINAL_DST = 80

type Getsockopt = (fd: number, level: number, name: number, value: Buffer, length: Uint32Array) => number

/** Makes the look-up; needs the native bridge, so the module is loaded here. */
export async function originalDestination(): Promise<(socket: Socket) => Address> {
  const koffi = (await import('koffi')).default
  const libc = koffi.load('libc.so.6')
  const getsockopt = libc.func(
    'int getsockopt(int fd, int level, int name, _Out_ uint8_t *value, _Inout_ uint32_t *length)',
  ) as unknown as Getsockopt
  return (socket) => {
    const { fd } = (socket as unknown as { _handle: { fd: number } })._handle
    const value = Buffer.alloc(16)
    const length = new Uint32Array([16])
    if (getsockopt(fd, SOL_IP, SO_ORIGINAL_DST, value, length) !== 0)
      return { host: socket.localAddress ?? '', port: socket.localPort ?? 0 }
    return { host: `${value[4]}.${value[5]}.${value[6]}.${value[7]}`, port: value.readUInt16BE(2) }
  }
}
