// Reading request bodies and writing answers.

import type { IncomingMessage, ServerResponse } from 'node:http'
import { LineCounter, parseDocument } from 'yaml'
import { errors, type Json, StatusError } from '#api'
import { MAX_DEPTH, scanJson } from './json-scan.ts'
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

/** What was seen in a body besides its value. */
export interface BodyNotes {
  /** Fields that stand twice, as paths; for YAML in the words of its reader. */
  readonly duplicates: readonly string[]
  /** Sorts paths by where they stand in the body. */
  inOrder(paths: readonly string[]): string[]
}

const notes = new WeakMap<object, BodyNotes>()

/** The notes on a value that `parseBody` returned. */
export function notesOn(value: object): BodyNotes | undefined {
  return notes.get(value)
}

/** Parses a body as JSON, YAML or protobuf by its content type. Fails with BadRequest or UnsupportedMediaType. */
export function parseBody(body: Buffer, contentType: string | undefined): Json {
  const type = (contentType ?? 'application/json').split(';')[0]!.trim()
  if (type === PROTOBUF) return decodeProtobuf(body)
  if (body.length === 0) throw errors.badRequest('the request body is empty')
  const text = body.toString('utf8')
  let value: unknown
  let about: BodyNotes | undefined
  try {
    if (type === 'application/yaml') {
      const yaml = parseYaml(text)
      value = yaml.value
      about = { duplicates: yaml.duplicates, inOrder: (paths) => [...paths] }
    } else {
      value = JSON.parse(text)
      const { duplicates, depth } = scanJson(text)
      if (depth > MAX_DEPTH) throw new Error(`exceeded max depth: the limit is ${MAX_DEPTH}`)
      about = { duplicates, inOrder: (paths) => inOrder(text, paths) }
    }
  } catch (error) {
    throw errors.badRequest(`couldn't parse the request body: ${(error as Error).message}`)
  }
  if (typeof value !== 'object' || value === null) throw errors.badRequest('the request body is not an object')
  // The one name that would reach beyond its object.
  if (text.includes('__proto__') || text.includes('\\u005')) refuseProto(value)
  if (about) notes.set(value, about)
  return value as Json
}

function refuseProto(value: unknown): void {
  if (typeof value !== 'object' || value === null) return
  if (Object.hasOwn(value, '__proto__')) throw errors.badRequest('a field may not be called "__proto__"')
  for (const child of Object.values(value)) refuseProto(child)
}

function inOrder(text: string, paths: readonly string[]): string[] {
  const wanted = new Set(paths)
  const found = new Set<string>()
  scanJson(text, (path) => wanted.has(path) && found.add(path))
  return [...found, ...paths.filter((p) => !found.has(p))]
}

/** Aliases may make a document larger by this factor at most. */
const MAX_ALIASES = 100

function parseYaml(text: string): { value: unknown; duplicates: string[] } {
  const document = parseDocument(text, { uniqueKeys: false })
  if (document.errors[0]) throw document.errors[0]
  const lines = new LineCounter()
  const duplicates = parseDocument(text, { lineCounter: lines })
    .errors.filter((e) => e.code === 'DUPLICATE_KEY')
    .map((e) => {
      const { line } = lines.linePos(e.pos[0])
      const key = /^\s*(?:- )?["']?([^"':]+)/.exec(text.split('\n')[line - 1] ?? '')?.[1] ?? ''
      return `line ${line}: key "${key.trim()}" already set in map`
    })
  return { value: document.toJS({ maxAliasCount: MAX_ALIASES }), duplicates }
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

/** A text as the quoted part of a header: no line breaks, no characters a header cannot carry. */
function headerText(text: string): string {
  return text
    .replace(/[\\"]/g, '\\$&')
    .replace(/[^\x20-\x7e]/g, (c) => `\\u${c.charCodeAt(0).toString(16).padStart(4, '0')}`)
    .slice(0, 1024)
}

export function sendBytes(
  response: ServerResponse,
  code: number,
  contentType: string,
  body: Uint8Array,
  warnings: readonly string[] = [],
): void {
  for (const text of warnings.slice(0, 50)) response.appendHeader('Warning', `299 - "${headerText(text)}"`)
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
