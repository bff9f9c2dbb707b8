// WATCH: a stream of events from the watch cache; one encoding of an object serves all watchers.

import type { ServerResponse } from 'node:http'
import { errors, groupVersion, type Json, partialMetadata, StatusError, storedKind } from '#api'
import type { CacheEntry } from './cache-entry.ts'
import { drained, isGone } from './http-io.ts'
import { tableOf, type Wanted } from './negotiate.ts'
import { encodeWatchFrame, PROTOBUF } from './protobuf-codec.ts'
import { entryBytes, type Selection, selectionOf, selects } from './read-verbs.ts'
import { flag, type ResourceRequest } from './request-info.ts'
import type { Resources } from './resources.ts'
import { asVersion } from './versions.ts'
import type { Batch, CacheEvent, Scope } from './watch-cache.ts'

/** A watcher that has this much unread data is cut off, never waited for. */
const BACKLOG_LIMIT = 16 * 1024 * 1024
/** A watcher that has not yet read what was there when this many events have come is cut off too. */
const PENDING_LIMIT = 10_000
const BOOKMARK_MS = 60_000
const DEFAULT_TIMEOUT_S = 1800
const END = Buffer.from('}\n')

/** Streams events until the client goes, the timeout passes or `signal` aborts. */
export async function watchVerb(
  resources: Resources,
  request: ResourceRequest,
  wanted: Wanted,
  response: ServerResponse,
  signal: AbortSignal,
): Promise<void> {
  const { kind, query } = request
  const cache = await resources.store.cache(storedKind(kind))
  const selection = selectionOf(request)
  const bookmarks = flag(query, 'allowWatchBookmarks') === true
  const initial = flag(query, 'sendInitialEvents')
  const version = query.get('resourceVersion') ?? ''
  if (version && !/^\d+$/.test(version))
    throw errors.badRequest(
      `resourceVersion: Invalid value: "${version}": strconv.ParseUint: parsing "${version}": invalid syntax`,
    )
  if (initial !== undefined && query.get('resourceVersionMatch') !== 'NotOlderThan')
    throw errors.invalid('ListOptions', 'meta.k8s.io', '', [
      {
        path: 'resourceVersionMatch',
        reason: 'FieldValueForbidden',
        message: 'Forbidden: sendInitialEvents requires setting resourceVersionMatch to NotOlderThan',
      },
    ])
  const apiVersion = groupVersion(kind)
  let headers = true
  const encode = (type: string, entry: CacheEntry): Uint8Array => {
    if (wanted.protobuf) return encodeWatchFrame(type, asVersion(kind, entry.object)) ?? END
    if (wanted.representation === 'object')
      return Buffer.concat([Buffer.from(`{"type":"${type}","object":`), entryBytes(kind, entry), END])
    const { object } = entry
    const body: Json =
      wanted.representation === 'partial'
        ? partialMetadata(object)
        : tableOf(
            kind,
            [object],
            { resourceVersion: object.metadata.resourceVersion },
            { now: resources.clock.now(), includeObject: wanted.includeObject, noHeaders: !headers },
          )
    headers = false
    return Buffer.from(`${JSON.stringify({ type, object: body })}\n`)
  }
  const send = (bytes: Uint8Array) => {
    response.write(bytes)
    if (response.writableLength > BACKLOG_LIMIT) response.destroy()
  }
  const bookmark = (revision: number, end: boolean) => {
    const metadata: Json = { resourceVersion: String(revision), creationTimestamp: null }
    if (end) metadata.annotations = { 'k8s.io/initial-events-end': 'true' }
    const object =
      wanted.representation === 'table'
        ? {
            kind: 'Table',
            apiVersion: 'meta.k8s.io/v1',
            metadata: { resourceVersion: String(revision) },
            columnDefinitions: [],
            rows: [{ cells: [], object: { kind: 'PartialObjectMetadata', apiVersion: 'meta.k8s.io/v1', metadata } }],
          }
        : {
            kind: wanted.representation === 'partial' ? 'PartialObjectMetadata' : kind.kind,
            apiVersion: wanted.representation === 'partial' ? 'meta.k8s.io/v1' : apiVersion,
            metadata,
          }
    send(
      (wanted.protobuf && encodeWatchFrame('BOOKMARK', object)) ||
        Buffer.from(`${JSON.stringify({ type: 'BOOKMARK', object })}\n`),
    )
  }
  const start = () =>
    response.writeHead(200, {
      'Content-Type': wanted.protobuf ? `${PROTOBUF};stream=watch` : 'application/json',
      'Cache-Control': 'no-cache, private',
    })

  let stop: () => void = () => {}
  const encoded = (event: CacheEvent): Uint8Array | undefined => {
    const type = eventFor(selection, event)
    if (!type) return undefined
    // What leaves a selection is shown as it last was in it.
    const left = type === 'DELETED' && event.type !== 'DELETED' && event.previous
    return encode(type, left ? left.at(event.revision) : event.entry)
  }
  // Whoever asks for the same is sent the same bytes; a Table's first row has what the others have not.
  const audience =
    wanted.representation === 'table'
      ? undefined
      : JSON.stringify([
          apiVersion,
          wanted.representation,
          wanted.protobuf,
          selection.namespace,
          selection.name,
          query.get('labelSelector'),
          query.get('fieldSelector'),
        ])
  const deliver = ({ events, encoded: shared }: Batch) => {
    // It has ended, and waits for its reader: what is written now would follow the end.
    if (response.writableEnded) return
    const chunked = audience !== undefined && response.headersSent && response.chunkedEncoding && response.socket
    const form = chunked ? `chunk ${audience}` : audience
    let bytes = form === undefined ? undefined : shared.get(form)
    if (!bytes) {
      const parts = events.map(encoded).filter((part) => part !== undefined)
      bytes = chunked ? chunkOf(parts) : parts.length === 1 ? parts[0]! : Buffer.concat(parts)
      if (form !== undefined) shared.set(form, bytes)
    }
    if (bytes.length === 0) return
    if (!chunked) return send(bytes)
    // The same bytes, framed once for all, past what Node does for each answer.
    chunked.write(bytes)
    if (chunked.writableLength > BACKLOG_LIMIT) response.destroy()
  }
  const scope: Scope =
    selection.name && (selection.namespace || !kind.namespaced)
      ? { key: selection.namespace ? `${selection.namespace}/${selection.name}` : selection.name }
      : { namespace: selection.namespace }
  const fromNow = initial === true || (initial === undefined && (version === '' || version === '0'))
  if (fromNow) {
    if (version !== '0') await resources.store.consistent()
    if (isGone(response)) return
    if (Number(version) > cache.revision)
      throw errors.timeout(`Too large resource version: ${version}, current: ${cache.revision}`)
    start()
    const { revision } = cache
    const pending: Batch[] = []
    let waiting = 0
    let live = false
    stop = cache.subscribe(scope, (batch) => {
      if (live) return deliver(batch)
      pending.push(batch)
      waiting += batch.events.length
      if (waiting > PENDING_LIMIT) response.destroy()
    })
    response.on('close', () => stop())
    // What is there at the start may be more than a reader takes at once: it is waited for.
    for (const entry of cache.entries(selection.namespace)) {
      if (!selects(selection, entry)) continue
      if (!response.write(encode('ADDED', entry)) && !(await drained(response))) return stop()
    }
    if (initial === true && bookmarks) bookmark(revision, true)
    live = true
    for (const batch of pending) deliver(batch)
  } else {
    // Another server may have shown more than is here yet.
    if (Number(version) > cache.revision) await resources.store.consistent()
    if (Number(version) > cache.revision)
      throw errors.timeout(`Too large resource version: ${version}, current: ${cache.revision}`)
    if (isGone(response)) return
    const pending: Batch[] = []
    try {
      stop = cache.watch(Number(version), scope, (batch) =>
        response.headersSent ? deliver(batch) : pending.push(batch),
      )
    } catch (error) {
      if (!(error instanceof StatusError)) throw error
      // A watch that cannot start says so as its first event, as clients expect.
      start()
      response.end(
        (wanted.protobuf && encodeWatchFrame('ERROR', error.status)) ||
          `${JSON.stringify({ type: 'ERROR', object: error.status })}\n`,
      )
      return
    }
    start()
    response.flushHeaders()
    for (const batch of pending) deliver(batch)
  }
  response.flushHeaders()
  await new Promise<void>((resolve) => {
    const seconds = Number(query.get('timeoutSeconds') ?? 0) || DEFAULT_TIMEOUT_S
    const timer = resources.clock.after(seconds * 1000, () => response.end())
    const beat = () => {
      if (bookmarks) bookmark(cache.revision, false)
      beatTimer = resources.clock.after(BOOKMARK_MS, beat)
    }
    let beatTimer = resources.clock.after(BOOKMARK_MS, beat)
    const onAbort = () => response.end()
    signal.addEventListener('abort', onAbort, { once: true })
    response.on('close', () => {
      stop()
      timer.cancel()
      beatTimer.cancel()
      signal.removeEventListener('abort', onAbort)
      resolve()
    })
  })
}

/** Parts of a body as one chunk of HTTP/1.1 (RFC 9112, section 7.1); nothing for none. */
function chunkOf(parts: readonly Uint8Array[]): Uint8Array {
  const length = parts.reduce((sum, part) => sum + part.length, 0)
  if (length === 0) return EMPTY
  return Buffer.concat([Buffer.from(`${length.toString(16)}\r\n`), ...parts, LINE_END])
}

const EMPTY = Buffer.alloc(0)
const LINE_END = Buffer.from('\r\n')

/** What a change means to a watcher that sees only a selection. */
export function eventFor(selection: Selection, event: CacheEvent): 'ADDED' | 'MODIFIED' | 'DELETED' | undefined {
  const before = event.previous !== undefined && selects(selection, event.previous)
  const after = event.type !== 'DELETED' && selects(selection, event.entry)
  if (after) return before ? 'MODIFIED' : 'ADDED'
  return before ? 'DELETED' : undefined
}
