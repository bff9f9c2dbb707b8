// Heads of HTTP/1.1 messages: first lines and fields, gone over once (RFC 9112, 3 to 5). Hot path.

import { SampanError } from '#base'

/** A message that breaks the rules; `status` is what a server answers, `details` what Envoy calls the reason in logs. */
export class H1Error extends SampanError {
  readonly status: number
  readonly details: string

  constructor(status: number, message: string, details = 'http1.codec_error') {
    super('H1Error', message)
    this.status = status
    this.details = details
  }
}

/** The first line and the fields of a message. */
export interface H1Head {
  method: string
  target: string
  status: number
  /** What follows "HTTP/1.". */
  minor: number
  /**
   * End-to-end fields, names in lower case and values by turns. Those of the connection and of its framing are
   * not among them, nor are those that the connection field names (RFC 9110, 7.6.1); content-length is.
   */
  fields: string[]
  /** The one host field of a request. */
  host: string | undefined
  /** The connection field in lower case, "" without one. */
  connection: string
  upgrade: string | undefined
  /** Whether the client waits for "100 Continue". */
  expect: boolean
  /** The body's length, -1 when it is not told. */
  length: number
  chunked: boolean
  /** The te field asks for trailers. */
  trailers: boolean
  /** Seconds after which the peer closes an idle connection, as its keep-alive field tells; -1 when it does not. */
  keepAlive: number
}

/** Fields of a head at most (Envoy's max_headers_count). */
const MAX_FIELDS = 100
const LF = 10
const CR = 13

/** What a character may be part of. */
const TOKEN = 1
const UPPER = 2
const VALUE = 4
const TARGET = 8
const KINDS = new Uint8Array(256)
for (const c of "!#$%&'*+-.^_`|~0123456789abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ")
  KINDS[c.charCodeAt(0)]! |= TOKEN
for (let c = 65; c <= 90; c++) KINDS[c]! |= UPPER
for (let c = 32; c < 256; c++) if (c !== 127) KINDS[c]! |= VALUE
KINDS[9]! |= VALUE
for (let c = 33; c < 127; c++) KINDS[c]! |= TARGET

/** A head without anything. */
export const emptyHead = (): H1Head => ({
  method: '',
  target: '',
  status: 0,
  minor: 1,
  fields: [],
  host: undefined,
  connection: '',
  upgrade: undefined,
  expect: false,
  length: -1,
  chunked: false,
  trailers: false,
  keepAlive: -1,
})

/** "HTTP/1." before a digit, at a place. */
function minorAt(text: string, at: number): number {
  if (!text.startsWith('HTTP/1.', at)) return -1
  const digit = text.charCodeAt(at + 7) - 48
  return digit === 0 || digit === 1 ? digit : -1
}

/** The number that digits in a text make; -1 where there is anything else. */
function numberAt(text: string, from: number, to: number): number {
  let n = 0
  for (let at = from; at < to; at++) {
    const digit = text.charCodeAt(at) - 48
    if (!(digit >= 0 && digit <= 9)) return -1
    n = n * 10 + digit
  }
  return n
}

/** Method, target and version. Fails with H1Error. */
export function requestLine(text: string, end: number, head: H1Head): void {
  const bad = () => new H1Error(400, 'Cannot read a request: bad request line')
  let at = 0
  while (at < end && KINDS[text.charCodeAt(at)]! & TOKEN) at++
  if (at === 0 || text.charCodeAt(at) !== 32) throw bad()
  head.method = text.slice(0, at)
  const from = ++at
  while (at < end && KINDS[text.charCodeAt(at)]! & TARGET) at++
  if (at === from || text.charCodeAt(at) !== 32) throw bad()
  head.target = text.slice(from, at)
  head.minor = minorAt(text, at + 1)
  if (head.minor < 0 && /^HTTP\/\d\.\d$/.test(text.slice(at + 1, end)))
    throw new H1Error(505, 'Cannot read a request: its version is not supported', 'low_version')
  if (head.minor < 0 || at + 9 !== end) throw bad()
}

/** Version and status. Fails with H1Error. */
export function statusLine(text: string, end: number, head: H1Head): void {
  const bad = () => new H1Error(502, 'Cannot read a response: bad status line')
  head.minor = minorAt(text, 0)
  const status = numberAt(text, 9, 12)
  if (head.minor < 0 || text.charCodeAt(8) !== 32 || end < 12 || status < 100) throw bad()
  if (end > 12 && text.charCodeAt(12) !== 32) throw bad()
  for (let i = 12; i < end; i++) if (!(KINDS[text.charCodeAt(i)]! & VALUE)) throw bad()
  head.status = status
}

/** Names that come again and again, as the one string that others are compared with. */
const NAMES = new Map<string, string>()
const KNOWN =
  'host connection content-length content-type transfer-encoding upgrade expect te trailer keep-alive accept accept-encoding accept-language user-agent cookie authorization cache-control date server location set-cookie etag last-modified vary x-request-id x-forwarded-for x-forwarded-proto x-envoy-peer-metadata x-envoy-peer-metadata-id x-envoy-attempt-count x-envoy-upstream-service-time traceparent tracestate x-b3-traceid x-b3-spanid x-b3-sampled end-user referer origin grpc-status grpc-message'
for (const name of KNOWN.split(' ')) {
  NAMES.set(name, name)
  // As most write them.
  NAMES.set(
    name.replace(/(^|-)[a-z]/g, (s) => s.toUpperCase()),
    name,
  )
}

/** Fields until the end of the text. Fails with H1Error. */
export function parseFields(text: string, from: number, head: H1Head): void {
  const { fields } = head
  const { length } = text
  let count = 0
  let nominated = false
  for (let at = from; at < length; ) {
    if (++count > MAX_FIELDS) throw new H1Error(431, 'Cannot read a message: too many fields', 'http1.too_many_headers')
    const begin = at
    let kinds = 0
    for (let kind = 0; (kind = KINDS[text.charCodeAt(at)]!) & TOKEN; at++) kinds |= kind
    // White space before the colon, folded lines and control characters smuggle requests.
    if (at === begin || text.charCodeAt(at) !== 58) throw new H1Error(400, 'Cannot read a message: bad field name')
    const written = text.slice(begin, at)
    const name = NAMES.get(written) ?? (kinds & UPPER ? written.toLowerCase() : written)
    at++
    while (text.charCodeAt(at) === 32 || text.charCodeAt(at) === 9) at++
    const valueAt = at
    while (at < length && KINDS[text.charCodeAt(at)]! & VALUE) at++
    let valueEnd = at
    if (at < length && (text.charCodeAt(at) !== CR || text.charCodeAt(at + 1) !== LF))
      throw new H1Error(400, 'Cannot read a message: bad field value', 'http1.invalid_characters')
    at += 2
    while (valueEnd > valueAt && (text.charCodeAt(valueEnd - 1) === 32 || text.charCodeAt(valueEnd - 1) === 9))
      valueEnd--
    const value = text.slice(valueAt, valueEnd)
    switch (name) {
      case 'host':
        if (head.host !== undefined) throw new H1Error(400, 'Cannot read a message: more than one host')
        head.host = value
        break
      case 'content-length':
        if (head.length >= 0 || value === '' || value.length > 15)
          throw new H1Error(400, 'Cannot read a message: bad content-length')
        head.length = numberAt(value, 0, value.length)
        if (head.length < 0) throw new H1Error(400, 'Cannot read a message: bad content-length')
        fields.push(name, value)
        break
      case 'transfer-encoding':
        if (text.charCodeAt(at) === 32 || text.charCodeAt(at) === 9)
          throw new H1Error(400, 'Cannot read a message: a folded transfer-encoding')
        if (head.chunked || value.toLowerCase() !== 'chunked')
          throw new H1Error(
            501,
            `Cannot read a message: transfer-encoding ${JSON.stringify(value)} is not supported`,
            'http1.invalid_transfer_encoding',
          )
        head.chunked = true
        break
      case 'connection':
        head.connection = head.connection ? `${head.connection},${value.toLowerCase()}` : value.toLowerCase()
        nominated ||= !USUAL.has(head.connection)
        break
      case 'upgrade':
        head.upgrade = head.upgrade === undefined ? value : `${head.upgrade},${value}`
        break
      case 'expect':
        // Other expectations are the server's to meet.
        if (value.toLowerCase() === '100-continue') head.expect = true
        else fields.push(name, value)
        break
      case 'te':
        head.trailers = value.toLowerCase().includes('trailers')
        break
      case 'keep-alive':
        head.keepAlive = Number(/(?:^|[ ,])timeout=(\d{1,6})/.exec(value)?.[1] ?? -1)
        break
      case 'proxy-connection':
      case 'http2-settings':
        break
      default:
        fields.push(name, value)
    }
  }
  if (nominated) dropNominated(head)
}

const USUAL = new Set(['', 'close', 'keep-alive', 'upgrade', 'te', 'keep-alive, upgrade', 'upgrade, keep-alive'])
const OF_CONNECTION = new Set(['', 'close', 'keep-alive', 'upgrade', 'te', 'http2-settings', 'transfer-encoding'])

/** Removes the fields that the connection field names; those that tell who asks must not be taken off that way. */
function dropNominated(head: H1Head): void {
  for (const part of head.connection.split(',')) {
    const name = part.trim()
    if (OF_CONNECTION.has(name)) continue
    if (name === 'host' || name === 'content-length' || name.startsWith('x-forwarded-') || name.startsWith(':'))
      throw new H1Error(400, `Cannot read a message: the connection field names ${name}`)
    for (let i = head.fields.length - 2; i >= 0; i -= 2) if (head.fields[i] === name) head.fields.splice(i, 2)
  }
}

/** Whether a comma-separated field in lower case has a value. */
export function hasToken(list: string, token: string): boolean {
  return list === token || (list.includes(token) && list.split(',').some((part) => part.trim() === token))
}

/** Whether a text may be a field's value; anything else would end the field or the message. */
export function isFieldValue(text: string): boolean {
  for (let i = 0; i < text.length; i++) {
    const code = text.charCodeAt(i)
    if (code > 255 || !(KINDS[code]! & VALUE)) return false
  }
  return true
}

/** A text's bytes in UTF-8, a character each: what is written as latin1 is then the text. */
export const utf8 = (text: string): string =>
  // biome-ignore lint/suspicious/noControlCharactersInRegex: what is not ASCII.
  /^[\x00-\x7f]*$/.test(text) ? text : Buffer.from(text, 'utf8').toString('latin1')

/** Whether a text is a token in lower case: a field's name in HTTP/2. */
export function isFieldName(text: string): boolean {
  for (let i = 0; i < text.length; i++) {
    const code = text.charCodeAt(i)
    if (code > 255 || (KINDS[code]! & (TOKEN | UPPER)) !== TOKEN) return false
  }
  return text.length > 0
}

/** Whether a text may be a method. */
export function isToken(text: string): boolean {
  for (let i = 0; i < text.length; i++) {
    const code = text.charCodeAt(i)
    if (code > 255 || !(KINDS[code]! & TOKEN)) return false
  }
  return text.length > 0
}

/** Whether a text may be a request's target. */
export function isTarget(text: string): boolean {
  for (let i = 0; i < text.length; i++) {
    const code = text.charCodeAt(i)
    if (code > 255 || !(KINDS[code]! & TARGET)) return false
  }
  return text.length > 0
}

/** Writes fields and the empty line behind them. */
export function writeFields(fields: readonly string[]): string {
  let text = ''
  for (let i = 0; i < fields.length; i += 2) text += `${fields[i]}: ${fields[i + 1]}\r\n`
  return `${text}\r\n`
}

/** Where pieces of a message go: `Output`, mostly. */
interface Pieces {
  write(piece: string | Uint8Array): boolean
}

/** Writes a part of a chunked body; false when the writer should wait. */
export function writeChunk(out: Pieces, chunk: Uint8Array): boolean {
  // An empty chunk would end the body.
  if (chunk.length === 0) return true
  out.write(`${chunk.length.toString(16)}\r\n`)
  out.write(chunk)
  return out.write('\r\n')
}

/** Ends a chunked body. */
export function writeLastChunk(out: Pieces, trailers: readonly string[] | undefined): void {
  out.write(trailers?.length ? `0\r\n${writeFields(trailers)}` : '0\r\n\r\n')
}
