// Reading request bodies and writing answers.

import type { IncomingMessage, ServerResponse } from 'node:http'
import { parseDocument } from 'yaml'
import { errors, type Json, StatusError } from '#api'
import { decodeProtobuf, encodeProtobuf, PROTOBUF } from './protobuf-codec.ts'

/** Bytes of a request body at most (kube-apiserver's own limit is 3 MiB). */
export const BODY_LIMIT = 3 * 1024 * 1024

/** Reads a whole body. Fails with RequestEntityTooLarge. */
export function readBody(request: IncomingMessage, limit = BODY_LIMIT): Promise<Buffer> {
  return new Promise((resolve, reject) => {
    const declared = Number(request.headers['content-length'] ?? 0)
    if (declared > limit) {
      request.resume()
      return reject(errors.tooLarge(limit))
    }
    const parts: Buffer[] = []
    let size = 0
    request.on('data', (part: Buffer) => {
      size += part.length
      if (size > limit) {
        request.removeAllListeners('data')
        request.resume()
        reject(errors.tooLarge(limit))
      } else parts.push(part)
    })
    request.on('end', () => resolve(parts.length === 1 ? parts[0]! : Buffer.concat(parts)))
    request.on('error', reject)
  })
}

/** Parses a body as JSON or YAML by its content type. Fails with BadRequest or UnsupportedMediaType. */
export function parseBody(body: Buffer, contentType: string | undefined): Json {
  const type = (contentType ?? 'application/json').split(';')[0]!.trim()
  if (type === PROTOBUF) return decodeProtobuf(body)
  if (body.length === 0) throw errors.badRequest('the request body is empty')
  const text = body.toString('utf8')
  let value: unknown
  try {
    value = type === 'application/yaml' ? parseYaml(text) : JSON.parse(text)
  } catch (error) {
    throw errors.badRequest(`couldn't parse the request body: ${(error as Error).message}`)
  }
  if (typeof value !== 'object' || value === null) throw errors.badRequest('the request body is not an object')
  return value as Json
}

function parseYaml(text: string): unknown {
  const document = parseDocument(text, { maxAliasCount: 100 } as never)
  if (document.errors[0]) throw document.errors[0]
  return document.toJS({ maxAliasCount: 100 })
}

/** Answers whose reader prefers protobuf. */
const inProtobuf = new WeakSet<ServerResponse>()

/** From here on objects are sent to this reader as protobuf, where their kind has a message. */
export function preferProtobuf(response: ServerResponse): void {
  inProtobuf.add(response)
}

/** Answers with JSON, or with protobuf for who prefers it. */
export function sendJson(response: ServerResponse, code: number, value: Json, warnings: readonly string[] = []): void {
  const bytes = inProtobuf.has(response) ? encodeProtobuf(value) : undefined
  if (bytes) sendBytes(response, code, PROTOBUF, bytes, warnings)
  else sendBytes(response, code, 'application/json', Buffer.from(JSON.stringify(value)), warnings)
}

export function sendBytes(
  response: ServerResponse,
  code: number,
  contentType: string,
  body: Uint8Array,
  warnings: readonly string[] = [],
): void {
  for (const text of warnings.slice(0, 50))
    response.appendHeader('Warning', `299 - "${text.replaceAll('\\', '\\\\').replaceAll('"', '\\"')}"`)
  response.writeHead(code, {
    'Content-Type': contentType,
    'Content-Length': body.length,
    'Cache-Control': 'no-cache, private',
  })
  response.end(body)
}

/** Answers with a Status for anything thrown. */
export function sendError(response: ServerResponse, error: unknown): void {
  const status = error instanceof StatusError ? error : errors.internal(error)
  if (response.headersSent) {
    response.destroy()
    return
  }
  const retry = status.status.details?.retryAfterSeconds
  if (retry) response.setHeader('Retry-After', String(retry))
  if (status.httpCode === 401) response.setHeader('WWW-Authenticate', 'Bearer realm="sampan"')
  sendJson(response, status.httpCode, status.status)
}
