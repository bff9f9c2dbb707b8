// What makes a store durable: an ordered record of changes.

import type { KeyValue } from './contract.ts'

/** A change as it is written down. */
export interface Change {
  readonly type: 'put' | 'delete'
  readonly revision: number
  readonly key: string
  readonly value: Uint8Array
  readonly createRevision: number
}

/** A value as the change that put it there. */
export function putOf({ key, value, createRevision, modRevision }: KeyValue): Change {
  return { type: 'put', revision: modRevision, key, value, createRevision }
}

/** Whom a journal serves. */
export interface JournalOwner {
  /** Every change up to this revision is on disk. */
  durable(revision: number): void
  /** What was appended and is not yet durable is lost; nothing is taken until `repaired`. */
  failed(error: unknown): void
  /** The journal holds the owner's state again. */
  repaired(): void
  /** The state of everything durable, from which the journal may be written anew. */
  state(): JournalState
}

/** Writes changes down in order. */
export interface Journal {
  /** Says whom to tell; called once, before the first change. */
  attach(owner: JournalOwner): void
  /** Takes a change of the next revision. */
  append(change: Change): void
  /** Waits for what was appended. */
  close(): Promise<void>
}

/** The state a journal may be rewritten from. */
export interface JournalState {
  readonly revision: number
  readonly liveBytes: number
  entries(): Iterable<Change>
}

/** A journal that keeps nothing: the store lives in memory only. */
export function noJournal(): Journal {
  let owner: JournalOwner
  let newest = 0
  let told = true
  return {
    attach: (o) => {
      owner = o
    },
    append: ({ revision }) => {
      newest = revision
      if (!told) return
      told = false
      queueMicrotask(() => {
        told = true
        owner.durable(newest)
      })
    },
    close: () => Promise.resolve(),
  }
}
