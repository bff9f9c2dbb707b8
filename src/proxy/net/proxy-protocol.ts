// The PROXY protocol's line, versions 1 and 2 (haproxy.org, proxy-protocol.txt). Pure.

const SIGNATURE = Buffer.from('\r\n\r\n\0\r\nQUIT\n', 'latin1')
const LINE_MAX = 107

export interface ProxyLine {
  readonly length: number
  /** The client's address; "" when the line does not tell. */
  readonly client: string
  readonly port: number
}

/** Reads the line at the beginning of a connection. */
export function readProxyLine(first: Buffer): ProxyLine | 'more' | 'bad' {
  const known = Math.min(first.length, SIGNATURE.length)
  if (first.subarray(0, known).equals(SIGNATURE.subarray(0, known))) return known < 12 ? 'more' : readBinary(first)
  const end = first.indexOf('\r\n')
  if (end < 0) return first.length > LINE_MAX || !'PROXY '.startsWith(first.toString('latin1', 0, 6)) ? 'bad' : 'more'
  const m = /^PROXY (?:UNKNOWN(?: .*)?|TCP[46] (\S+) \S+ (\d{1,5}) \d{1,5})$/.exec(first.toString('latin1', 0, end))
  return m ? { length: end + 2, client: m[1] ?? '', port: Number(m[2] ?? 0) } : 'bad'
}

function readBinary(first: Buffer): ProxyLine | 'more' | 'bad' {
  if (first.length < 16) return 'more'
  const length = 16 + first.readUInt16BE(14)
  if (first[12]! >> 4 !== 2) return 'bad'
  if (first.length < length) return 'more'
  // LOCAL, and families other than TCP over IPv4, tell nothing.
  if ((first[12]! & 15) === 0 || first[13] !== 0x11 || length < 28) return { length, client: '', port: 0 }
  return { length, client: [...first.subarray(16, 20)].join('.'), port: first.readUInt16BE(24) }
}
