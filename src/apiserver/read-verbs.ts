// GET and LIST, served from the watch cache.

import type { ServerResponse } from 'node:http'
import {
  errors,
  type FieldMatcher,
  groupResource,
  groupVersion,
  type Json,
  type LabelMatcher,
  parseFieldSelector,
  parseLabelSelector,
  partialMetadata,
  type ResourceKind,
  storedKind,
} from '#api'
import { sendBytes, sendJson } from './http-io.ts'
import { represent, tableOf, type Wanted } from './negotiate.ts'
import { asVersion } from './object-store.ts'
import type { ResourceRequest } from './request-info.ts'
import type { Resources } from './resources.ts'
import type { CacheEntry, WatchCache } from './watch-cache.ts'

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
    selection.fields = parseFieldSelector(fields, groupResource(storedKind(kind)), extra)
  }
  return selection
}

export function selects(selection: Selection, entry: CacheEntry): boolean {
  const { object } = entry
  if (selection.namespace && object.metadata.namespace !== selection.namespace) return false
  if (selection.name && object.metadata.name !== selection.name) return false
  if (selection.labels && !selection.labels(object.metadata.labels)) return false
  return !selection.fields || selection.fields(object)
}

/** An entry in the version of a request. */
export function entryBytes(kind: ResourceKind, entry: CacheEntry): Uint8Array {
  return entry.jsonIn(groupVersion(kind), (object) => asVersion(kind, object))
}

export async function getVerb(
  resources: Resources,
  request: ResourceRequest,
  wanted: Wanted,
  response: ServerResponse,
): Promise<void> {
  const { kind, namespace, name } = request
  const cache = await resources.store.cache(storedKind(kind))
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
  const cache = await resources.store.cache(storedKind(kind))
  const page = listPage(
    cache,
    selectionOf(request),
    Number(query.get('limit') ?? 0),
    query.get('continue') ?? '',
    query.get('resourceVersion') ?? '',
    query.get('resourceVersionMatch') ?? '',
  )
  const metadata: Json = { resourceVersion: String(page.revision) }
  if (page.next) {
    metadata.continue = page.next
    metadata.remainingItemCount = page.remaining
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
  sendBytes(response, 200, 'application/json', listBytes(kind, metadata, page.entries))
}

/** Joins the stored bytes of the items into a list. */
function listBytes(kind: ResourceKind, metadata: Json, entries: readonly CacheEntry[]): Buffer {
  const head = `{"kind":"${kind.kind}List","apiVersion":"${groupVersion(kind)}","metadata":${JSON.stringify(metadata)},"items":[`
  const parts: Uint8Array[] = [Buffer.from(head)]
  const comma = Buffer.from(',')
  for (const [i, entry] of entries.entries()) {
    if (i > 0) parts.push(comma)
    parts.push(entryBytes(kind, entry))
  }
  parts.push(Buffer.from(']}'))
  return Buffer.concat(parts)
}

interface Page {
  entries: CacheEntry[]
  revision: number
  next?: string
  remaining?: number
}

/** One page of a list. A continue token carries the key to go on from; lists show the newest state. */
export function listPage(
  cache: WatchCache,
  selection: Selection,
  limit: number,
  token: string,
  version: string,
  match: string,
): Page {
  if (version && !/^\d+$/.test(version))
    throw errors.badRequest(
      `resourceVersion: Invalid value: "${version}": strconv.ParseUint: parsing "${version}": invalid syntax`,
    )
  if (Number(version) > cache.revision)
    throw errors.timeout(`Too large resource version: ${version}, current: ${cache.revision}`)
  if (match === 'Exact' && Number(version) !== cache.revision && version !== '0' && !token)
    throw errors.expired('The provided resource version is no longer available at the server.')
  let start = ''
  let revision = cache.revision
  if (token) {
    try {
      const parsed = JSON.parse(Buffer.from(token, 'base64url').toString()) as { start: string; rv: number }
      start = parsed.start
      revision = parsed.rv
    } catch {
      throw errors.badRequest('continue key is not valid: invalid base64 or JSON')
    }
  }
  const matching = cache.entries(selection.namespace).filter((e) => selects(selection, e))
  const from = start ? matching.filter((e) => keyText(e) >= start) : matching
  if (!(limit > 0) || from.length <= limit) return { entries: from, revision }
  const next = Buffer.from(JSON.stringify({ start: keyText(from[limit]!), rv: revision })).toString('base64url')
  return { entries: from.slice(0, limit), revision, next, remaining: from.length - limit }
}

function keyText(entry: CacheEntry): string {
  const { namespace, name } = entry.object.metadata
  return namespace ? `${namespace}/${name}` : name
}
