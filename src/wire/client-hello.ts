// The first message of a TLS connection: the name a client asks for and the protocols it offers (RFC 8446, 4.1.2;
// RFC 6066, 3; RFC 7301). Pure.

/** What a client says in the clear. */
export interface ClientHello {
  /** The name asked for, in lower case; "" when none. */
  readonly serverName: string
  /** Protocols offered for what follows the handshake. */
  readonly alpn: readonly string[]
}

const HANDSHAKE = 22
const CLIENT_HELLO = 1
/** A hello longer than this is refused. */
const LIMIT = 16 * 1024

/** Reads a ClientHello. `more`: bytes are missing; `none`: this is not TLS, or it is broken. */
export function readClientHello(first: Buffer): ClientHello | 'more' | 'none' {
  if (first.length > 0 && first[0] !== HANDSHAKE) return 'none'
  if (first.length > 1 && first[1] !== 3) return 'none'
  try {
    const body = handshakeBytes(first)
    if (body === undefined) return first.length > LIMIT ? 'none' : 'more'
    if (body[0] !== CLIENT_HELLO) return 'none'
    return extensionsOf(body)
  } catch {
    return 'none'
  }
}

/** Records a hello is split into at most. */
const MAX_RECORDS = 16

/** The handshake message out of its records; undefined while it is not complete. Throws when it is in too many. */
function handshakeBytes(first: Buffer): Buffer | undefined {
  const parts: Buffer[] = []
  let have = 0
  let wanted = 4
  for (let at = 0; at + 5 <= first.length; ) {
    const length = first.readUInt16BE(at + 3)
    const part = first.subarray(at + 5, at + 5 + length)
    parts.push(part)
    have += part.length
    at += 5 + length
    if (have >= 4 && wanted === 4) wanted = 4 + Buffer.concat(parts).readUIntBE(1, 3)
    if (have >= 4 && have >= wanted) return parts.length === 1 ? part : Buffer.concat(parts)
    if (part.length < length) return undefined
    if (parts.length >= MAX_RECORDS) throw new RangeError('the hello is in too many records')
  }
  return undefined
}

const SERVER_NAME = 0
const ALPN = 16

/** Walks through the extensions. Throws a RangeError when lengths lie. */
function extensionsOf(body: Buffer): ClientHello {
  let serverName = ''
  let alpn: string[] = []
  let at = 4 + 2 + 32
  at += 1 + body.readUInt8(at)
  at += 2 + body.readUInt16BE(at)
  at += 1 + body.readUInt8(at)
  if (at >= body.length) return { serverName, alpn }
  const end = Math.min(body.length, at + 2 + body.readUInt16BE(at))
  at += 2
  while (at + 4 <= end) {
    const type = body.readUInt16BE(at)
    const length = body.readUInt16BE(at + 2)
    const data = body.subarray(at + 4, Math.min(at + 4 + length, end))
    if (type === SERVER_NAME && length >= 5) {
      const size = data.readUInt16BE(3)
      serverName = data
        .subarray(5, 5 + size)
        .toString('latin1')
        .toLowerCase()
    }
    if (type === ALPN && length >= 2) alpn = protocolsOf(data)
    at += 4 + length
  }
  return { serverName, alpn }
}

function protocolsOf(data: Buffer): string[] {
  const protocols: string[] = []
  for (let at = 2; at < data.length; ) {
    const size = data.readUInt8(at)
    protocols.push(data.subarray(at + 1, at + 1 + size).toString('latin1'))
    at += 1 + size
  }
  return protocols
}
