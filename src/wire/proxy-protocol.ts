// The PROXY protocol's line, versions 1 and 2 (haproxy.org, proxy-protocol.txt). Pure.

import { isIP } from 'node:net'

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

/** Both ends of a client's connection, "address:port". */
export interface Ends {
  readonly from: string
  readonly to: string
}

/** The line that tells a server where a connection comes from. */
export function writeProxyLine(version: 1 | 2, { from, to }: Ends): Buffer {
  const [client, server] = [split(from), split(to)]
  const family = isIP(client.host)
  if (family === 0 || isIP(server.host) !== family)
    return version === 1 ? Buffer.from('PROXY UNKNOWN\r\n') : Buffer.concat([SIGNATURE, Buffer.from([0x20, 0, 0, 0])])
  if (version === 1)
    return Buffer.from(`PROXY TCP${family} ${client.host} ${server.host} ${client.port} ${server.port}\r\n`)
  const ports = Buffer.alloc(4)
  ports.writeUInt16BE(client.port, 0)
  ports.writeUInt16BE(server.port, 2)
  const told = Buffer.concat([addressBytes(client.host), addressBytes(server.host), ports])
  const head = Buffer.from([0x21, family === 4 ? 0x11 : 0x21, told.length >> 8, told.length & 255])
  return Buffer.concat([SIGNATURE, head, told])
}

function split(end: string): { host: string; port: number } {
  const colon = end.lastIndexOf(':')
  return { host: end.slice(0, colon).replace(/^\[|\]$/g, ''), port: Number(end.slice(colon + 1)) }
}

function addressBytes(host: string): Buffer {
  if (isIP(host) === 4) return Buffer.from(host.split('.').map(Number))
  // URL writes an IPv6 address in full groups but for "::".
  const [left = '', right] = new URL(`http://[${host}]`).hostname.slice(1, -1).split('::')
  const groups = (text: string) => (text ? text.split(':').map((g) => Number.parseInt(g, 16)) : [])
  const [before, after] = [groups(left), groups(right ?? '')]
  const all = [...before, ...Array<number>(8 - before.length - after.length).fill(0), ...after]
  return Buffer.from(all.flatMap((g) => [g >> 8, g & 255]))
}
