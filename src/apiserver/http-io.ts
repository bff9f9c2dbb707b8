// Reading request bodies and writing answers.

import { createHash } from 'node:crypto'
import type { IncomingMessage, ServerResponse } from 'node:http'
import { gzip } from 'node:zlib'
import { LineCounter, parseDocument } from 'yaml'
import { errors, type Json, StatusError } from '#api'
import { WholeRequest } from './http1-connection.ts'
import { MAX_DEPTH, scanJson } from './json-scan.ts'
import { decodeProtobuf, encodeProtobuf, PROTOBUF } from './protobuf-codec.ts'

/** Bytes of a request body at most (kube-apiserver's own limit is 3 MiB). */
export const BODY_LIMIT = 3 * 1024 * 1024

/** Reads a whole body. Fails with RequestEntityTooLarge. */
export function readBody(request: IncomingMessage, limit = BODY_LIMIT): Promise<Buffer> {
  if (request instanceof WholeRequest) return Promise.resolve(request.body)
  if (request.destroyed) return Promise.reject(errors.badRequest('the request ended before its body'))
  return new Promise((resolve, reject) => {
    // Nothing happens to a promise that is settled already.
    request.on('close', () => reject(errors.badRequest('the request ended before its body')))
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
    request.on('end', () => {
      // A stream of HTTP/2 that is reset ends like one that is whole.
      if (request.aborted || (request.headers['content-length'] !== undefined && size !== declared))
        reject(errors.badRequest('the request ended before its body'))
      else resolve(parts.length === 1 ? parts[0]! : Buffer.concat(parts))
    })
    request.on('error', reject)
  })
}

/** Whether nobody is left to be answered: its `close` has been, and what is bound to it now would stay for ever. */
export function isGone(response: ServerResponse): boolean {
  const { stream } = response as { stream?: { destroyed: boolean } }
  return response.destroyed || response.closed === true || stream?.destroyed === true
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

/** Answers smaller than this are not worth compressing (upstream's own bound). */
const GZIP_MIN = 128 * 1024

const wantsGzip = (response: ServerResponse) => /\bgzip\b/.test(String(response.req?.headers['accept-encoding'] ?? ''))

export function sendBytes(
  response: ServerResponse,
  code: number,
  contentType: string,
  body: Uint8Array,
  warnings: readonly string[] = [],
): void {
  for (const text of warnings.slice(0, 50)) response.appendHeader('Warning', `299 - "${headerText(text)}"`)
  const headers = { 'Content-Type': contentType, 'Cache-Control': 'no-cache, private' }
  if (body.length < GZIP_MIN || !wantsGzip(response)) {
    response.writeHead(code, { ...headers, 'Content-Length': body.length })
    response.end(body)
    return
  }
  gzip(body, { level: 1 }, (error, zipped) => {
    if (error || response.writableEnded) return void response.destroy()
    response.writeHead(code, {
      ...headers,
      'Content-Encoding': 'gzip',
      Vary: 'Accept-Encoding',
      'Content-Length': zipped.length,
    })
    response.end(zipped)
  })
}

/**
 * Answers with JSON of `length` bytes that is made while it is sent, in pieces of a size that `pieces` is given: each
 * is made when the reader has taken the one before, whose memory may then be used again. Who asked for compression is sent
 * all of it at once.
 */
export async function sendPieces(
  response: ServerResponse,
  length: number,
  pieces: (size: number) => Pieces,
): Promise<void> {
  const zips = length >= GZIP_MIN && wantsGzip(response)
  if (zips || length < PIECE) return sendBytes(response, 200, 'application/json', Buffer.concat([...pieces(length)]))
  response.writeHead(200, { ...JSON_HEADERS, 'Content-Length': length })
  const all = pieces(PIECE)
  for (let next = all.next(false); !next.done; ) {
    const held = response.write(next.value)
    if (!held && !(await drained(response))) return
    next = all.next(held)
  }
  response.end()
}

/** Pieces of an answer; whoever asks for the next one says whether the one before is still held. */
export type Pieces = Generator<Uint8Array, void, boolean | undefined>

/** Bytes of a piece: more than streams hold by themselves, so that each is taken before the next is made. */
const PIECE = 128 * 1024

const JSON_HEADERS = { 'Content-Type': 'application/json', 'Cache-Control': 'no-cache, private' }

/** Resolves when more may be written; false when the reader has gone. */
export function drained(response: ServerResponse): Promise<boolean> {
  if (isGone(response)) return Promise.resolve(false)
  return new Promise((resolve) => {
    const done = (open: boolean) => {
      response.off('drain', onDrain)
      response.off('close', onClose)
      resolve(open)
    }
    const onDrain = () => done(true)
    const onClose = () => done(false)
    response.on('drain', onDrain)
    response.on('close', onClose)
  })
}

/** A document that clients keep: with its ETag, or 304 when they have it already. */
export interface Document {
  readonly body: Buffer
  readonly etag: string
}

/** Makes a document of bytes; the tag is of the bytes. */
export function documentOf(body: Buffer): Document {
  return { body, etag: createHash('sha256').update(body).digest('hex').toUpperCase() }
}

/** Answers with a document. */
export function sendDocument(
  response: ServerResponse,
  contentType: string,
  document: Document,
  asked: { ifNoneMatch: string | undefined },
): void {
  const tag = `"${document.etag}"`
  response.setHeader('ETag', tag)
  response.setHeader('Vary', 'Accept')
  if (asked.ifNoneMatch?.split(',').some((t) => t.trim().replace(/^W\//, '') === tag)) {
    response.writeHead(304, { 'Cache-Control': 'no-cache, private' })
    response.end()
    return
  }
  sendBytes(response, 200, contentType, document.body)
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
