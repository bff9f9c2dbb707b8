// What makes a store durable: an ordered record of changes.

/** A change as it is written down. */
export interface Change {
  readonly type: 'put' | 'delete'
  readonly revision: number
  readonly key: string
  readonly value: Uint8Array
  readonly createRevision: number
}

/** Writes changes down in order. */
export interface Journal {
  /** Resolves when the change, and every one appended before it, is on disk. */
  append(change: Change): Promise<void>
  /** Called after a change became visible; the journal may shorten itself from `state`. */
  maintain?(state: JournalState): void
  close(): Promise<void>
}

/** The live state a journal may be rewritten from. */
export interface JournalState {
  readonly revision: number
  readonly liveBytes: number
  entries(): Iterable<Change>
}

/** A journal that keeps nothing: the store lives in memory only. */
export const noJournal: Journal = {
  append: () => Promise.resolve(),
  close: () => Promise.resolve(),
}
