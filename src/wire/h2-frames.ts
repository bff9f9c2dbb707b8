// Frames of HTTP/2 (RFC 9113, 4 and 6): their numbers, and writing them.

export const FrameType = {
  data: 0,
  headers: 1,
  priority: 2,
  rstStream: 3,
  settings: 4,
  pushPromise: 5,
  ping: 6,
  goaway: 7,
  windowUpdate: 8,
  continuation: 9,
} as const

export const Flag = { endStream: 1, ack: 1, endHeaders: 4, padded: 8, priority: 32 } as const

export const Setting = {
  headerTableSize: 1,
  enablePush: 2,
  maxConcurrentStreams: 3,
  initialWindowSize: 4,
  maxFrameSize: 5,
  maxHeaderListSize: 6,
  enableConnectProtocol: 8,
} as const

/** Error codes (RFC 9113, 7). */
export const H2Code = {
  noError: 0,
  protocol: 1,
  internal: 2,
  flowControl: 3,
  settingsTimeout: 4,
  streamClosed: 5,
  frameSize: 6,
  refusedStream: 7,
  cancel: 8,
  compression: 9,
  connect: 10,
  enhanceYourCalm: 11,
  inadequateSecurity: 12,
  http11Required: 13,
} as const

/** What a client sends first. */
export const PREFACE = Buffer.from('PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n')
/** Bytes of a frame's payload at most, until the peer says more. */
export const FRAME_SIZE = 16_384
export const FRAME_HEAD = 9
/** A window's size before anybody has said anything. */
export const DEFAULT_WINDOW = 65_535
export const MAX_WINDOW = 0x7fff_ffff

/** Writes a frame's nine bytes. */
export function writeFrameHead(out: Buffer, at: number, length: number, type: number, flags: number, id: number): void {
  out.writeUIntBE(length, at, 3)
  out[at + 3] = type
  out[at + 4] = flags
  out.writeUInt32BE(id, at + 5)
}

/** The nine bytes before a payload that is sent apart. */
export function frameHead(length: number, type: number, flags: number, id: number): Buffer {
  const out = Buffer.allocUnsafe(FRAME_HEAD)
  writeFrameHead(out, 0, length, type, flags, id)
  return out
}

/** A frame with its payload. */
export function frame(type: number, flags: number, id: number, payload: Uint8Array): Buffer {
  const out = Buffer.allocUnsafe(FRAME_HEAD + payload.length)
  writeFrameHead(out, 0, payload.length, type, flags, id)
  out.set(payload, FRAME_HEAD)
  return out
}

/** A frame whose payload is one 32-bit number. */
export function numberFrame(type: number, id: number, value: number): Buffer {
  const out = Buffer.allocUnsafe(FRAME_HEAD + 4)
  writeFrameHead(out, 0, 4, type, 0, id)
  out.writeUInt32BE(value, FRAME_HEAD)
  return out
}

export function settingsFrame(settings: readonly (readonly [id: number, value: number])[]): Buffer {
  const payload = Buffer.allocUnsafe(settings.length * 6)
  for (const [i, [id, value]] of settings.entries()) {
    payload.writeUInt16BE(id, i * 6)
    payload.writeUInt32BE(value, i * 6 + 2)
  }
  return frame(FrameType.settings, 0, 0, payload)
}

export function goawayFrame(lastId: number, code: number, text: string): Buffer {
  const payload = Buffer.allocUnsafe(8 + text.length)
  payload.writeUInt32BE(lastId, 0)
  payload.writeUInt32BE(code, 4)
  payload.write(text, 8, 'latin1')
  return frame(FrameType.goaway, 0, 0, payload)
}
