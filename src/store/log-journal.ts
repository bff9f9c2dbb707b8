// The durable journal: an append-only file, one fdatasync for all writes that wait, rewritten when it grows.

import {
  closeSync,
  existsSync,
  fdatasync,
  fsyncSync,
  mkdirSync,
  openSync,
  readFileSync,
  renameSync,
  rmSync,
  write,
} from 'node:fs'
import { type FileHandle, open } from 'node:fs/promises'
import { dirname, join } from 'node:path'
import { SampanError } from '#base'
import { type KeyValue, StoreErrors, type StoreEvent } from './contract.ts'
import { HISTORY } from './history.ts'
import type { Change, Journal, JournalOwner } from './journal.ts'
import { type MvccState, MvccStore } from './mvcc-store.ts'
import { decodeFrames, encodeFrame, type JournalRecord } from './record.ts'

const MAGIC = Buffer.from('sampan-journal-2\n')
/** The file is rewritten once it is this many bytes and twice the size of what it holds. */
const REWRITE_AT = 16 * 1024 * 1024
/** How long after a failed write the next try to repair comes, milliseconds. */
const REPAIR_MS = 1000
/** Bytes of a frame of a rewritten file, about. */
const CHUNK = 1024 * 1024

export interface EmbeddedOptions {
  /** Bytes from which on the file is rewritten. */
  rewriteAt?: number
  repairMs?: number
  /** Told when the disk does not take writes, and when it does again. */
  warn?: (message: string) => void
}

/** The journal's file of a store. */
export const journalIn = (directory: string) => join(directory, 'journal')

/** Opens the durable store kept in `directory` (created if absent). Fails with Corrupt. */
export async function openEmbeddedStore(directory: string, options: EmbeddedOptions = {}): Promise<MvccStore> {
  mkdirSync(directory, { recursive: true, mode: 0o700 })
  const path = journalIn(directory)
  rmSync(`${path}.new`, { force: true })
  const { end, ...state } = existsSync(path) ? readJournal(path) : { items: [], revision: 1, end: 0 }
  const file = await open(path, end === 0 ? 'w' : 'r+', 0o600)
  if (end === 0) {
    await file.write(MAGIC, 0, MAGIC.length, 0)
    await file.datasync()
    syncDirectory(directory)
  } else {
    await file.truncate(end)
  }
  return new MvccStore(new LogJournal(path, file, end || MAGIC.length, options), state)
}

/** The state a journal's file holds, and where its good part ends. Fails with Corrupt. */
export const readJournal = (path: string) => parseJournal(readFileSync(path), path)

/** The same of a journal's bytes; `path` names them in errors. */
export function parseJournal(data: Buffer, path: string): MvccState & { end: number } {
  if (data.length < MAGIC.length && MAGIC.subarray(0, data.length).equals(data))
    return { items: [], revision: 1, end: 0 }
  if (!data.subarray(0, MAGIC.length).equals(MAGIC))
    throw new SampanError(StoreErrors.corrupt, `Cannot read ${path}: it is not a journal of this version`)
  const items = new Map<string, KeyValue>()
  let revision = 1
  // Records up to a mark are a snapshot; those after it are changes, whose newest are remembered.
  let mark = 1
  let history: StoreEvent[] = []
  const remember = (event: StoreEvent) => {
    if (event.revision <= mark) return
    history.push(event)
    if (history.length <= 2 * HISTORY) return
    mark = history[HISTORY - 1]!.revision
    history = history.slice(HISTORY)
  }
  const { end } = decodeFrames(
    data,
    path,
    (record) => {
      revision = Math.max(revision, record.revision)
      if (record.type === 'mark') {
        mark = Math.max(mark, record.revision)
        return
      }
      const previous = items.get(record.key)
      if (record.type === 'put') {
        const kv: KeyValue = {
          key: record.key,
          // Copied so that one small value does not keep the whole file in memory.
          value: Uint8Array.prototype.slice.call(record.value),
          createRevision: record.createRevision,
          modRevision: record.revision,
        }
        items.set(record.key, kv)
        remember({ type: 'put', revision: record.revision, kv, ...(previous ? { previous } : {}) })
      } else if (previous) {
        items.delete(record.key)
        remember({ type: 'delete', revision: record.revision, kv: previous, previous })
      }
    },
    MAGIC.length,
  )
  return { items: [...items.values()], revision, end, history, compacted: mark }
}

/** Writes a state as a journal of its own: a snapshot up to `revision`. Returns the file, synced, and its size. */
export async function writeJournal(
  path: string,
  revision: number,
  entries: Iterable<Change>,
): Promise<{ file: FileHandle; size: number }> {
  const file = await open(path, 'w', 0o600)
  try {
    let size = (await file.write(MAGIC, 0, MAGIC.length, 0)).bytesWritten
    let chunk: JournalRecord[] = [{ type: 'mark', revision }]
    let bytes = 0
    const flush = async () => {
      const frame = encodeFrame(chunk, size)
      await writeAll(file, frame, size)
      size += frame.length
      chunk = []
      bytes = 0
    }
    for (const change of entries) {
      chunk.push(change)
      bytes += change.value.length + change.key.length
      if (bytes >= CHUNK) await flush()
    }
    if (chunk.length > 0) await flush()
    await file.datasync()
    return { file, size }
  } catch (error) {
    await file.close().catch(() => {})
    throw error
  }
}

/** Writes all bytes at a place and waits until they are on disk. A disk that is full takes a part of them first. */
function writeDurably(file: FileHandle, data: Buffer, place: number): Promise<void> {
  return new Promise((resolve, reject) => {
    const from = (done: number) =>
      write(file.fd, data, done, data.length - done, place + done, (error, written) => {
        if (error) return reject(error)
        if (done + written < data.length) return from(done + written)
        fdatasync(file.fd, (failed) => (failed ? reject(failed) : resolve()))
      })
    from(0)
  })
}

/** Writes all bytes at a place. */
async function writeAll(file: FileHandle, data: Buffer, place: number): Promise<void> {
  for (let done = 0; done < data.length; )
    done += (await file.write(data, done, data.length - done, place + done)).bytesWritten
}

class LogJournal implements Journal {
  readonly #path: string
  readonly #rewriteAt: number
  readonly #repairMs: number
  readonly #warn: (message: string) => void
  #owner!: JournalOwner
  #file: FileHandle
  #size: number
  #waiting: Change[] = []
  #flushing: Promise<void> | undefined
  #rewriting = false
  /** The rewrite under way: a repair waits for its end, they write the same file. */
  #rewrite: Promise<unknown> = Promise.resolve()
  /** A rewritten file that waits to take the place of the one in use. */
  #exchange: { file: FileHandle; size: number } | undefined
  /** Changes made durable since the snapshot of a rewrite was taken; they follow it in the new file. */
  #tail: Change[] = []
  #failed = false
  #closed = false

  constructor(path: string, file: FileHandle, size: number, options: EmbeddedOptions) {
    this.#path = path
    this.#file = file
    this.#size = size
    this.#rewriteAt = options.rewriteAt ?? REWRITE_AT
    this.#repairMs = options.repairMs ?? REPAIR_MS
    this.#warn = options.warn ?? (() => {})
  }

  attach(owner: JournalOwner): void {
    this.#owner = owner
  }

  append(change: Change): void {
    this.#waiting.push(change)
    this.#startFlush()
  }

  async close(): Promise<void> {
    this.#closed = true
    while (this.#flushing) await this.#flushing
    await this.#file.close().catch(() => {})
  }

  #startFlush(): void {
    this.#flushing ??= this.#flush().finally(() => {
      this.#flushing = undefined
      // What came in the very moment of the end.
      if (this.#waiting.length > 0) this.#startFlush()
    })
  }

  async #flush(): Promise<void> {
    // One turn of the event loop, so that writes made together share a sync.
    await new Promise((resolve) => setImmediate(resolve))
    while (!this.#failed && (this.#waiting.length > 0 || this.#exchange)) {
      if (this.#exchange) {
        await this.#swap(this.#exchange)
        continue
      }
      const batch = this.#waiting
      this.#waiting = []
      try {
        const frame = encodeFrame(batch, this.#size)
        await writeDurably(this.#file, frame, this.#size)
        this.#size += frame.length
      } catch (error) {
        return this.#fail(error)
      }
      if (this.#rewriting) this.#tail.push(...batch)
      this.#owner.durable(batch[batch.length - 1]!.revision)
      this.#shorten()
      // Writers that were just answered may write again at once and share the next sync.
      await new Promise((resolve) => setImmediate(resolve))
    }
  }

  /** Starts to rewrite the file when it is mostly past. */
  #shorten(): void {
    if (this.#rewriting || this.#closed || this.#size < this.#rewriteAt) return
    const { revision, liveBytes, entries } = this.#owner.state()
    if (this.#size < 2 * liveBytes) return
    this.#rewriting = true
    this.#tail = []
    // The snapshot is taken here, synchronously: it is exactly the state at its revision.
    this.#rewrite = writeJournal(`${this.#path}.new`, revision, [...entries()]).then(
      (next) => {
        if (this.#failed || this.#closed) return void next.file.close()
        // The files are exchanged between two syncs; writers that never pause must not hold it up.
        this.#exchange = next
        this.#startFlush()
      },
      (error) => {
        // The old file stays in use; a later write tries again.
        rmSync(`${this.#path}.new`, { force: true })
        if (this.#failed) return
        this.#rewriting = false
        this.#tail = []
        this.#warn(`the store's file could not be shortened: ${(error as Error).message}`)
      },
    )
  }

  async #swap(next: { file: FileHandle; size: number }): Promise<void> {
    this.#exchange = undefined
    try {
      let { size } = next
      if (this.#tail.length > 0) {
        const frame = encodeFrame(this.#tail, size)
        await writeDurably(next.file, frame, size)
        size += frame.length
      }
      renameSync(`${this.#path}.new`, this.#path)
      this.#use(next.file, size)
    } catch (error) {
      await next.file.close().catch(() => {})
      this.#warn(`the store's file could not be shortened: ${(error as Error).message}`)
    }
    this.#rewriting = false
    this.#tail = []
    try {
      // What is written from here on must not be lost with the name of its file.
      syncDirectory(dirname(this.#path))
    } catch (error) {
      this.#fail(error)
    }
  }

  #use(file: FileHandle, size: number): void {
    const old = this.#file
    this.#file = file
    this.#size = size
    void old.close().catch(() => {})
  }

  /**
   * After a failed write or sync nobody knows what the file holds. What waits is refused, and a new file is
   * written from what was acknowledged, again and again until the disk takes it.
   */
  #fail(error: unknown): void {
    this.#failed = true
    this.#waiting = []
    this.#exchange = undefined
    this.#rewriting = false
    this.#tail = []
    this.#warn(`the store cannot write: ${(error as Error).message}; reads go on`)
    this.#owner.failed(error)
    this.#repairLater()
  }

  #repairLater(): void {
    if (!this.#closed) setTimeout(() => void this.#repair(), this.#repairMs).unref()
  }

  async #repair(): Promise<void> {
    await this.#rewrite
    if (this.#closed) return
    const { revision, entries } = this.#owner.state()
    try {
      const { file, size } = await writeJournal(`${this.#path}.new`, revision, [...entries()])
      renameSync(`${this.#path}.new`, this.#path)
      this.#use(file, size)
      syncDirectory(dirname(this.#path))
    } catch {
      this.#repairLater()
      return
    }
    this.#failed = false
    this.#warn('the store writes again')
    this.#owner.repaired()
  }
}

/** Waits until a directory's entries are on disk. */
export function syncDirectory(directory: string): void {
  const fd = openSync(directory, 'r')
  try {
    fsyncSync(fd)
  } finally {
    closeSync(fd)
  }
}
