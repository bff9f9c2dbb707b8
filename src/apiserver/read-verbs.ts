// GET and LIST, served from the watch cache.

import type { ServerResponse } from 'node:http'
import {
  errors,
  type FieldMatcher,
  groupResource,
  groupVersion,
  isExpired,
  type Json,
  type LabelMatcher,
  parseFieldSelector,
  parseLabelSelector,
  partialMetadata,
  type ResourceKind,
  STORED_FIELDS,
  storedKind,
} from '#api'
import type { CacheEntry } from './cache-entry.ts'
import { type Pieces, sendBytes, sendJson, sendPieces } from './http-io.ts'
import { represent, tableOf, type Wanted } from './negotiate.ts'
import type { ObjectStore } from './object-store.ts'
import type { ResourceRequest } from './request-info.ts'
import type { Resources } from './resources.ts'
import { asVersion } from './versions.ts'

/** Selects entries by namespace, name, labels and fields. */
export interface Selection {
  namespace: string
  name: string
  labels?: LabelMatcher
  fields?: FieldMatcher
}

/** The selection a request asks for. Fails with BadRequest for a bad selector. */
export function selectionOf(request: ResourceRequest): Selection {
  const { kind, query } = request
  const selection: Selection = { namespace: request.namespace, name: request.name }
  const labels = query.get('labelSelector')
  const fields = query.get('fieldSelector')
  if (labels) selection.labels = parseLabelSelector(labels)
  if (fields) {
    const extra = (kind.custom?.selectableFields ?? []).map((f: Json) => String(f.jsonPath).replace(/^\./, ''))
    const asked = groupResource(kind)
    const renamed = STORED_FIELDS[asked]
    selection.fields = parseFieldSelector(fields, renamed ? asked : groupResource(storedKind(kind)), extra, renamed)
  }
  return selection
}

export function selects(selection: Selection, entry: CacheEntry): boolean {
  if (!selection.namespace && !selection.name && !selection.labels && !selection.fields) return true
  const { object } = entry
  if (selection.namespace && object.metadata.namespace !== selection.namespace) return false
  if (selection.name && object.metadata.name !== selection.name) return false
  if (selection.labels && !selection.labels(object.metadata.labels)) return false
  return !selection.fields || selection.fields(object)
}

/** An entry in the version of a request, as JSON. */
export function entryBytes(kind: ResourceKind, entry: CacheEntry): Uint8Array {
  return servedAsStored(kind) ? entry.json() : Buffer.from(JSON.stringify(asVersion(kind, entry.object)))
}

/** Whether objects of a kind are served with the very bytes that are stored. */
function servedAsStored(kind: ResourceKind): boolean {
  return !kind.converted && kind.version === kind.storageVersion
}

export async function getVerb(
  resources: Resources,
  request: ResourceRequest,
  wanted: Wanted,
  response: ServerResponse,
): Promise<void> {
  const { kind, namespace, name } = request
  const cache = await resources.store.cache(storedKind(kind))
  if (request.query.get('resourceVersion') !== '0') await resources.store.consistent()
  const entry = cache.entry(kind.namespaced ? `${namespace}/${name}` : name)
  if (!entry) throw errors.notFound(kind, name)
  if (wanted.representation === 'object' && !wanted.protobuf)
    return sendBytes(response, 200, 'application/json', entryBytes(kind, entry))
  sendJson(response, 200, represent(kind, entry.object, wanted, resources.clock.now()))
}

export async function listVerb(
  resources: Resources,
  request: ResourceRequest,
  wanted: Wanted,
  response: ServerResponse,
): Promise<void> {
  const { kind, query } = request
  const page = await listPage(resources.store, kind, selectionOf(request), pageOptions(query))
  const metadata: Json = { resourceVersion: String(page.revision) }
  if (page.next) {
    metadata.continue = page.next
    if (page.remaining !== undefined) metadata.remainingItemCount = page.remaining
  }
  if (wanted.representation === 'table')
    return sendJson(
      response,
      200,
      tableOf(
        kind,
        page.entries.map((e) => e.object),
        metadata,
        { now: resources.clock.now(), includeObject: wanted.includeObject },
      ),
    )
  if (wanted.representation === 'partial')
    return sendJson(response, 200, {
      kind: 'PartialObjectMetadataList',
      apiVersion: 'meta.k8s.io/v1',
      metadata,
      items: page.entries.map((e) => partialMetadata(e.object)),
    })
  if (wanted.protobuf)
    return sendJson(response, 200, {
      kind: `${kind.kind}List`,
      apiVersion: groupVersion(kind),
      metadata,
      items: page.entries.map((e) => asVersion(kind, e.object)),
    })
  const { length, pieces } = listAnswer(kind, metadata, page.entries)
  await sendPieces(response, length, pieces)
}

/** Joins the stored bytes of the items into a list, in pieces. */
function listAnswer(kind: ResourceKind, metadata: Json, entries: readonly CacheEntry[]) {
  const head = `{"kind":"${kind.kind}List","apiVersion":"${groupVersion(kind)}","metadata":${JSON.stringify(metadata)},"items":[`
  const tail = ']}'
  if (!servedAsStored(kind)) {
    const items = entries.map((e) => JSON.stringify(asVersion(kind, e.object))).join(',')
    const whole = Buffer.from(head + items + tail)
    return { length: whole.length, pieces: () => inOne(whole) }
  }
  let length = Buffer.byteLength(head) + tail.length + Math.max(0, entries.length - 1)
  for (const entry of entries) length += entry.size
  return { length, pieces: (size: number) => listPieces(head, entries, tail, Math.min(length, size)) }
}

function* inOne(whole: Uint8Array): Pieces {
  yield whole
}

/**
 * A list in pieces of `size` bytes, the last one perhaps shorter. A piece that is not held any more when the next one is
 * asked for is filled anew.
 */
function* listPieces(head: string, entries: readonly CacheEntry[], tail: string, size: number): Pieces {
  let out = Buffer.allocUnsafe(size)
  let at = 0
  /** What does not fit as a whole is cut. */
  function* put(bytes: Uint8Array): Pieces {
    for (let from = 0; from < bytes.length; ) {
      if (at === size) {
        if (yield out) out = Buffer.allocUnsafe(size)
        at = 0
      }
      const part = bytes.subarray(from, from + size - at)
      out.set(part, at)
      at += part.length
      from += part.length
    }
  }
  yield* put(Buffer.from(head))
  let first = true
  for (const entry of entries) {
    if (!first) {
      if (at < size) out[at++] = COMMA
      else yield* put(COMMA_BYTES)
    }
    first = false
    if (at + entry.size <= size) at = entry.writeJson(out, at)
    else yield* put(entry.json())
  }
  yield* put(Buffer.from(tail))
  yield out.subarray(0, at)
}

const COMMA = 0x2c
const COMMA_BYTES = Uint8Array.of(COMMA)

interface Page {
  entries: CacheEntry[]
  revision: number
  next?: string
  remaining?: number
}

/** What of a list is asked for: metav1.ListOptions. */
export interface PageOptions {
  limit: number
  token: string
  version: string
  match: string
}

const ALL: PageOptions = { limit: 0, token: '', version: '', match: '' }

/** Every selected object as it is now. */
export async function selectAll(store: ObjectStore, kind: ResourceKind, selection: Selection): Promise<Page> {
  return listPage(store, kind, selection, ALL)
}

export function pageOptions(query: URLSearchParams): PageOptions {
  return {
    limit: Number(query.get('limit') ?? 0),
    token: query.get('continue') ?? '',
    version: query.get('resourceVersion') ?? '',
    match: query.get('resourceVersionMatch') ?? '',
  }
}

function checkOptions({ limit, token, version, match }: PageOptions): void {
  const invalid = (
    path: string,
    message: string,
    reason: 'FieldValueForbidden' | 'FieldValueInvalid' = 'FieldValueForbidden',
  ) => errors.invalid('ListOptions', 'meta.k8s.io', '', [{ path, reason, message }])
  if (!Number.isFinite(limit) || limit < 0) throw errors.badRequest(`limit: Invalid value: ${limit}`)
  if (version && !/^\d+$/.test(version))
    throw errors.badRequest(
      `resourceVersion: Invalid value: "${version}": strconv.ParseUint: parsing "${version}": invalid syntax`,
    )
  if (!match) {
    if (token && version && version !== '0')
      throw errors.badRequest('specifying resource version is not allowed when using continue')
    return
  }
  if (token)
    throw invalid('resourceVersionMatch', 'Forbidden: resourceVersionMatch is forbidden when continue is provided')
  if (!version)
    throw invalid(
      'resourceVersionMatch',
      'Forbidden: resourceVersionMatch is forbidden unless resourceVersion is provided',
    )
  if (match !== 'Exact' && match !== 'NotOlderThan')
    throw invalid(
      'resourceVersionMatch',
      `Unsupported value: "${match}": supported values: "Exact", "NotOlderThan", ""`,
      'FieldValueInvalid',
    )
  if (match === 'Exact' && version === '0')
    throw invalid(
      'resourceVersionMatch',
      'Forbidden: resourceVersionMatch "exact" is forbidden for resourceVersion "0"',
    )
}

interface Token {
  start: string
  /** The revision the first page showed; -1 goes on with the newest state. */
  rv: number
}

function readToken(text: string): Token {
  try {
    const parsed = JSON.parse(Buffer.from(text, 'base64url').toString()) as Token
    if (typeof parsed.start === 'string' && Number.isInteger(parsed.rv)) return parsed
  } catch {
    // Said below.
  }
  throw errors.badRequest('continue key is not valid: it is not one this server gave')
}

const writeToken = (token: Token) => Buffer.from(JSON.stringify(token)).toString('base64url')

/** Upstream's own words, which clients and people search for. */
const TOO_OLD =
  'The provided continue parameter is too old to display a consistent list result. You can start a new list without the continue parameter, or use the continue token in this response to retrieve the remainder of the results. Continuing with the provided token results in an inconsistent list - objects that were created, modified, or deleted between the time the first chunk was returned and now may show up in the list.'

/**
 * One page of a list. Pages after the first show the state of the first; when that is forgotten the answer
 * is Expired, with a token that goes on with the newest state.
 */
export async function listPage(
  store: ObjectStore,
  kind: ResourceKind,
  selection: Selection,
  options: PageOptions,
): Promise<Page> {
  checkOptions(options)
  const stored = storedKind(kind)
  const cache = await store.cache(stored)
  const { limit, version, match } = options
  if (version !== '0' && !options.token) await store.consistent()
  if (Number(version) > cache.revision)
    throw errors.timeout(`Too large resource version: ${version}, current: ${cache.revision}`)
  const token = options.token ? readToken(options.token) : undefined
  let revision = cache.revision
  if (token && token.rv >= 0) revision = token.rv
  else if (match === 'Exact' || (limit > 0 && version && version !== '0' && !match)) revision = Number(version)
  const start = token?.start ?? ''
  // The entries are of the namespace already.
  const rest: Selection = { ...selection, namespace: '' }
  const page: Page = { entries: [], revision }
  let left = 0
  const take = (key: string, entry: CacheEntry) => {
    if (!selects(rest, entry)) return
    if (!(limit > 0) || page.entries.length < limit) page.entries.push(entry)
    else if (left++ === 0) page.next = writeToken({ start: key, rv: revision })
  }
  // With a selector nobody knows how many are left: upstream does not say either.
  const counts = !selection.labels && !selection.fields
  if (revision === cache.revision) {
    for (const key of cache.keys(selection.namespace, start)) {
      if (left > 0 && counts) left++
      else take(key, cache.entry(key)!)
      if (left > 0 && !counts) break
    }
  } else {
    try {
      const entries = await store.entriesAt(stored, selection.namespace, start, revision)
      for (const [key, entry] of entries) take(key, entry)
    } catch (error) {
      if (!token || !isExpired(error)) throw error
      const expired = errors.expired(TOO_OLD)
      expired.status.metadata = { continue: writeToken({ start: token.start, rv: -1 }) }
      throw expired
    }
  }
  return left > 0 && counts ? { ...page, remaining: left } : page
}
