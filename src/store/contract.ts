// The store's contract: a revisioned key-value map with etcd's semantics.

import { SampanError } from '#base'

/** A stored value. `createRevision` is the revision at which the key last came into being. */
export interface KeyValue {
  readonly key: string
  readonly value: Uint8Array
  readonly createRevision: number
  readonly modRevision: number
}

/** One change. A delete carries the value that was removed. */
export interface StoreEvent {
  readonly type: 'put' | 'delete'
  readonly revision: number
  readonly kv: KeyValue
  readonly previous?: KeyValue
}

export interface ListResult {
  readonly items: readonly KeyValue[]
  /** The revision the list shows. */
  readonly revision: number
  /** True when `limit` cut the list. */
  readonly more: boolean
}

export interface ListOptions {
  /** At most this many items; 0 or absent is no limit. */
  limit?: number
  /** Start at this key instead of at the prefix. */
  from?: string
  /** Show the state at this revision; absent is the newest. */
  revision?: number
}

export interface WatchOptions {
  /** First revision to deliver; absent means only changes after the call. */
  fromRevision?: number
}

/** A subscription to changes; `close` ends it without an error, whatever is on its way. */
export interface Watch {
  close(): void
}

/** Receives batches in order of revision. `onError` is called at most once and ends the watch. */
export interface Watcher {
  onEvents(events: readonly StoreEvent[]): void
  onError?(error: SampanError): void
}

/**
 * A revisioned key-value store. Revisions are integers that grow by one with each change of any key.
 * A write resolves, and becomes readable and watchable, only once it is durable; watchers see
 * a change no later than its writer. Errors are SampanErrors with the codes of `StoreErrors`.
 */
export interface Store {
  /** The newest readable revision. */
  readonly revision: number
  /** Whether other servers write to it too: what is readable here may lag behind what they were told. */
  readonly shared: boolean
  /** The revision after which every change is still known: watches may begin behind it. */
  readonly oldest: number
  /** Stores a new key. Fails with KeyExists. */
  create(key: string, value: Uint8Array): Promise<KeyValue>
  /** Replaces a key whose modRevision is `revision`. Fails with KeyMissing or Conflict. */
  update(key: string, value: Uint8Array, revision: number): Promise<KeyValue>
  /** Removes a key; with `revision`, only at that modRevision. Fails with KeyMissing or Conflict. */
  delete(key: string, revision?: number): Promise<{ previous: KeyValue; revision: number }>
  /** Resolves when everything acknowledged before the call, to whichever server, is readable here. */
  consistent(): Promise<void>
  get(key: string): Promise<KeyValue | undefined>
  /** Keys that begin with `prefix`, in byte order. Fails with Compacted or FutureRevision. */
  list(prefix: string, options?: ListOptions): Promise<ListResult>
  /** Delivers changes below `prefix`; a `fromRevision` that is gone ends with Compacted. */
  watch(prefix: string, watcher: Watcher, options?: WatchOptions): Watch
  /** Forgets history up to `revision`; the newest state stays. */
  compact(revision: number): Promise<void>
  close(): Promise<void>
}

export const StoreErrors = {
  keyExists: 'KeyExists',
  keyMissing: 'KeyMissing',
  conflict: 'Conflict',
  compacted: 'Compacted',
  futureRevision: 'FutureRevision',
  closed: 'Closed',
  corrupt: 'Corrupt',
  notDurable: 'NotDurable',
  unreachable: 'Unreachable',
} as const

export function isStoreError(error: unknown, code: (typeof StoreErrors)[keyof typeof StoreErrors]): boolean {
  return error instanceof SampanError && error.code === code
}
