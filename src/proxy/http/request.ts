// An HTTP request on its way through the proxy, whatever the protocol on either side.

import type { Ends } from '#wire'
import { fieldsFit, headerFits } from '../config/matchers.ts'
import type { HeaderMatch } from '../config/model.ts'

/** A request as the proxy sees it. `fields` alternates lower-case names and values, without pseudo-headers and host. */
export interface HttpRequest {
  method: string
  path: string
  authority: string
  scheme: string
  fields: string[]
  hasBody: boolean
  protocol: 'HTTP/1.0' | 'HTTP/1.1' | 'HTTP/2'
  /** What the connection is to become, in lower case; "" for none. */
  upgrade: string
  /** The client's connection, for servers that are told of it. */
  ends?: Ends
  /** Whether the client reads trailers. */
  trailers: boolean
}

/** The client's side of an exchange. */
export interface Downstream {
  /** Sends the head of the answer; 1xx heads may come before it. */
  respond(status: number, fields: readonly string[], end: boolean): void
  /** False when the client is slow: `drained` follows. */
  data(chunk: Uint8Array): boolean
  end(trailers: readonly string[] | undefined): void
  /** The response cannot be completed: the client must notice. */
  abort(): void
  pauseRequest(): void
  resumeRequest(): void
  /** The exchange is over on the server's side too. */
  finished(): void
}

/** The server's side of an exchange. `write` returns false when the server is slow. */
export interface Upstream {
  write(chunk: Uint8Array): boolean
  end(trailers: readonly string[] | undefined): void
  cancel(): void
  pause(): void
  resume(): void
  /** The address our side of the connection has. */
  readonly local: string
}

/** What went wrong before a response was complete. */
export type UpstreamFailure = 'connect' | 'timeout' | 'reset' | 'refused' | 'overflow' | 'protocol' | 'remoteReset'

/** What the server's side tells. */
export interface UpstreamEvents {
  /** A head; 1xx ones other than 101 are not told. */
  onHead(status: number, fields: string[], end: boolean): void
  onData(chunk: Buffer): void
  onEnd(trailers: readonly string[] | undefined): void
  onDrain(): void
  /** `reused` tells that the connection had served others before: the server may just have closed it. */
  onError(kind: UpstreamFailure, reason: string, reused: boolean): void
}

/** The value of a field; several of one name are joined by commas. */
export function fieldOf(fields: readonly string[], name: string): string | undefined {
  for (let i = 0; i < fields.length; i += 2)
    if (fields[i] === name) {
      let value = fields[i + 1]!
      for (let j = i + 2; j < fields.length; j += 2) if (fields[j] === name) value += `,${fields[j + 1]}`
      return value
    }
  return undefined
}

/** The first value of a field. */
export function firstOf(fields: readonly string[], name: string): string | undefined {
  for (let i = 0; i < fields.length; i += 2) if (fields[i] === name) return fields[i + 1]
  return undefined
}

/** Removes a field in place. */
export function dropField(fields: string[], name: string): void {
  for (let i = fields.length - 2; i >= 0; i -= 2) if (fields[i] === name) fields.splice(i, 2)
}

/** Puts a value in the place of those a field has. */
export function setField(fields: string[], name: string, value: string): void {
  dropField(fields, name)
  fields.push(name, value)
}

/** A field, or a pseudo-field, of a request. */
export function requestField(request: HttpRequest, name: string): string | undefined {
  switch (name) {
    case ':method':
      return request.method
    case ':authority':
    case 'host':
      return request.authority
    case ':path':
    case 'path':
      return request.path
    case ':scheme':
      return request.scheme
    default:
      return fieldOf(request.fields, name)
  }
}

/** Whether a field, or a pseudo-field, of a request is as wanted. */
export function requestFits(h: HeaderMatch, request: HttpRequest): boolean {
  return h.name.startsWith(':') || h.name === 'host'
    ? headerFits(h, requestField(request, h.name))
    : fieldsFit(h, request.fields)
}

/** Whether a request speaks gRPC. */
export function isGrpc(fields: readonly string[]): boolean {
  for (let i = 0; i < fields.length; i += 2)
    if (fields[i] === 'content-type') {
      const type = fields[i + 1]!
      return type.startsWith('application/grpc') && (type.length === 16 || type[16] === '+' || type[16] === ';')
    }
  return false
}

/** Asks for another host, and says which one it was; in x-forwarded-host too where that is `told`. */
export function rewriteHost(request: HttpRequest, host: string, told: boolean): void {
  const { fields, authority } = request
  if (authority === host) return
  if (told) {
    const before = fieldOf(fields, 'x-forwarded-host')
    const last = before?.slice(before.lastIndexOf(',') + 1).trim()
    if (last !== authority) setField(fields, 'x-forwarded-host', before ? `${before},${authority}` : authority)
  }
  setField(fields, 'x-envoy-original-host', authority)
  request.authority = host
}

/** The first value of a query parameter, as it is written; undefined without one. */
export function queryParameter(target: string, name: string): string | undefined {
  const mark = target.indexOf('?')
  if (mark < 0) return undefined
  for (const part of target.slice(mark + 1).split('&')) {
    const equals = part.indexOf('=')
    if ((equals < 0 ? part : part.slice(0, equals)) === name) return equals < 0 ? '' : part.slice(equals + 1)
  }
  return undefined
}

/** The path without its query. */
export function pathOf(target: string): string {
  const mark = target.indexOf('?')
  return mark < 0 ? target : target.slice(0, mark)
}

/** Fields that say how a message is read or whom it is for: in trailers they are too late, and not passed on. */
const NOT_IN_TRAILERS = new Set([
  'content-length',
  'content-type',
  'content-encoding',
  'content-range',
  'transfer-encoding',
  'host',
  'authorization',
  'cookie',
  'set-cookie',
  'expect',
  'range',
])

/** Trailers that may be passed on (RFC 9110, 6.5.1); undefined when there are none. */
export function safeTrailers(trailers: readonly string[] | undefined): readonly string[] | undefined {
  if (!trailers?.some((name, i) => i % 2 === 0 && NOT_IN_TRAILERS.has(name))) return trailers
  const safe = trailers.filter((_, i) => !NOT_IN_TRAILERS.has(trailers[i - (i % 2)]!))
  return safe.length > 0 ? safe : undefined
}

/** A host with its port or without (RFC 3986, 3.2.2 and 3.2.3); no user names. */
export const AUTHORITY = /^(?:[A-Za-z0-9._~!$&'()*+,;=%-]*|\[[0-9A-Fa-f:.]+\])(?::\d{0,5})?$/
