// The durable journal: an append-only file, one fdatasync for all writes that wait, rewritten when it grows.

import { closeSync, existsSync, fsyncSync, mkdirSync, openSync, readFileSync, renameSync, rmSync } from 'node:fs'
import { type FileHandle, open } from 'node:fs/promises'
import { dirname, join } from 'node:path'
import { SampanError } from '#base'
import { type KeyValue, StoreErrors, type StoreEvent } from './contract.ts'
import type { Change, Journal, JournalState } from './journal.ts'
import { HISTORY, type MvccState, MvccStore } from './mvcc-store.ts'
import { decodeFrames, encodeFrame, encodeRecord } from './record.ts'

const MAGIC = Buffer.from('sampan-journal-1\n')
/** The file is rewritten once it is this many bytes and twice the size of what it holds. */
const REWRITE_AT = 16 * 1024 * 1024

/** Opens the durable store kept in `directory` (created if absent). Fails with Corrupt. */
export async function openEmbeddedStore(directory: string, options: { rewriteAt?: number } = {}): Promise<MvccStore> {
  mkdirSync(directory, { recursive: true, mode: 0o700 })
  const path = join(directory, 'journal')
  rmSync(`${path}.new`, { force: true })
  const { end, ...state } = existsSync(path) ? load(path) : { items: [], revision: 1, end: 0 }
  const file = await open(path, end === 0 ? 'w' : 'r+', 0o600)
  if (end === 0) {
    await file.write(MAGIC, 0, MAGIC.length, 0)
    await file.datasync()
    syncDirectory(directory)
  } else {
    await file.truncate(end)
  }
  const journal = new LogJournal(path, file, end || MAGIC.length, options.rewriteAt ?? REWRITE_AT)
  return new MvccStore(journal, state)
}

function load(path: string): MvccState & { end: number } {
  const data = readFileSync(path)
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

interface Waiting {
  revision: number
  record: Buffer
  resolve: () => void
  reject: (error: unknown) => void
}

interface Exchange {
  file: FileHandle
  next: string
  size: number
  resolve: () => void
  reject: (error: unknown) => void
}

class LogJournal implements Journal {
  readonly #path: string
  readonly #rewriteAt: number
  #file: FileHandle
  #size: number
  #waiting: Waiting[] = []
  #flushing: Promise<void> | undefined
  #rewriting = false
  /** A rewritten file that waits to take the place of the one in use. */
  #exchange: Exchange | undefined
  /** The batch on disk whose writers are just being told. */
  #written: readonly Waiting[] = []
  /** Records accepted while the file is being rewritten; they follow the snapshot in the new file. */
  #tail: Buffer[] | undefined
  #failed: unknown

  constructor(path: string, file: FileHandle, size: number, rewriteAt: number) {
    this.#path = path
    this.#file = file
    this.#size = size
    this.#rewriteAt = rewriteAt
  }

  append(change: Change): Promise<void> {
    if (this.#failed) return Promise.reject(this.#failed)
    const record = encodeRecord(change)
    return new Promise((resolve, reject) => {
      this.#waiting.push({ revision: change.revision, record, resolve, reject })
      this.#startFlush()
    })
  }

  #startFlush(): void {
    this.#flushing ??= this.#flush().finally(() => {
      this.#flushing = undefined
    })
  }

  maintain(state: JournalState): void {
    if (this.#rewriting || this.#failed || this.#size < this.#rewriteAt || this.#size < 2 * state.liveBytes) return
    this.#rewriting = true
    // The snapshot is taken here, synchronously: it is exactly the state at state.revision.
    const snapshot = [...state.entries()]
    // Of the batch just synced, later records are on disk but not yet in the state.
    this.#tail = this.#written.filter((w) => w.revision > state.revision).map((w) => w.record)
    void this.#rewrite(snapshot, state.revision).finally(() => {
      this.#rewriting = false
    })
  }

  async close(): Promise<void> {
    while (this.#flushing) await this.#flushing
    await this.#file.close()
  }

  async #flush(): Promise<void> {
    // One turn of the event loop, so that writes made together share a sync.
    await new Promise((resolve) => setImmediate(resolve))
    while (this.#waiting.length > 0 || this.#exchange) {
      if (this.#exchange) {
        await this.#swap(this.#exchange)
        continue
      }
      const batch = this.#waiting
      this.#waiting = []
      try {
        await this.#write(batch)
      } catch (error) {
        // The state of the file is unknown after a failed sync: nothing more is accepted.
        this.#failed = error
        for (const w of [...batch, ...this.#waiting]) w.reject(error)
        this.#waiting = []
        return
      }
      for (const w of batch) w.resolve()
      await undefined
    }
  }

  async #write(batch: readonly Waiting[]): Promise<void> {
    const file = this.#file
    const records = batch.map((w) => w.record)
    const frame = encodeFrame(records)
    await file.write(frame, 0, frame.length, this.#size)
    await file.datasync()
    this.#size += frame.length
    this.#written = batch
    this.#tail?.push(...records)
  }

  async #rewrite(snapshot: readonly Change[], revision: number): Promise<void> {
    const next = `${this.#path}.new`
    let file: FileHandle | undefined
    try {
      file = await open(next, 'w', 0o600)
      let at = (await file.write(MAGIC, 0, MAGIC.length, 0)).bytesWritten
      let chunk: Buffer[] = [encodeRecord({ type: 'mark', revision })]
      let bytes = 0
      for (const change of snapshot) {
        const record = encodeRecord(change)
        chunk.push(record)
        bytes += record.length
        if (bytes < 1024 * 1024) continue
        at += await writeFrame(file, chunk, at)
        chunk = []
        bytes = 0
      }
      at += await writeFrame(file, chunk, at)
      await file.datasync()
      // The files are exchanged between two syncs; writers that never pause must not hold it up.
      await new Promise<void>((resolve, reject) => {
        this.#exchange = { file: file!, next, size: at, resolve, reject }
        this.#startFlush()
      })
    } catch {
      // The old file stays in use; the next write tries again.
      this.#tail = undefined
      await file?.close().catch(() => {})
    }
  }

  async #swap({ file, next, size, resolve, reject }: Exchange): Promise<void> {
    this.#exchange = undefined
    try {
      const at = size + (await writeFrame(file, this.#tail ?? [], size))
      this.#tail = undefined
      await file.datasync()
      renameSync(next, this.#path)
      syncDirectory(dirname(this.#path))
      const old = this.#file
      this.#file = file
      this.#size = at
      resolve()
      await old.close()
    } catch (error) {
      reject(error)
    }
  }
}

async function writeFrame(file: FileHandle, records: readonly Buffer[], at: number): Promise<number> {
  if (records.length === 0) return 0
  const data = encodeFrame(records)
  await file.write(data, 0, data.length, at)
  return data.length
}

function syncDirectory(directory: string): void {
  const fd = openSync(directory, 'r')
  try {
    fsyncSync(fd)
  } finally {
    closeSync(fd)
  }
}
