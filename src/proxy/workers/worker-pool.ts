// The workers of a proxy: processes that share its addresses. One that ends takes its own connections along and no
// others, and another takes its place.

import cluster, { type Worker } from 'node:cluster'
import type { Log } from '#base'
import type { Demanded, FromWorker, ToWorker, Update } from './message.ts'
import { addTallies, departed, type Tally } from './tally.ts'

/** A worker that cannot live is begun anew so often at most, milliseconds. */
const RESTART_MS = 250
/** A count is waited for so long; then the last one is shown. */
const TALLY_MS = 1000
/** An update is waited for so long: a worker that stands still does not keep news from the others. */
const APPLY_MS = 5000

export interface WorkerPoolOptions {
  readonly count: number
  readonly log: Log
  /** All there is, for a worker that begins. */
  readonly everything: () => readonly ToWorker[]
  /** A worker asks for what the control plane tells only when asked. */
  readonly onAsk: (what: Demanded, name: string, answer: (message: ToWorker) => void) => void
}

interface Known {
  readonly worker: Worker
  serving: boolean
  last: Tally | undefined
  /** Those who wait for its answers, by the ids of the questions. */
  readonly asked: Map<number, (answer?: FromWorker) => void>
}

export class WorkerPool {
  readonly #options: WorkerPoolOptions
  readonly #workers = new Map<number, Known>()
  /** What those that are gone had counted. */
  #gone: Tally | undefined
  #asked = 0
  #closed = false

  constructor(options: WorkerPoolOptions) {
    this.#options = options
  }

  /** Begins them. They run this very program, in which `cluster.isWorker` is true. */
  start(): void {
    // They accept for themselves: a connection costs its worker only.
    cluster.schedulingPolicy = cluster.SCHED_NONE
    cluster.setupPrimary({ serialization: 'advanced' })
    for (let i = 0; i < this.#options.count; i++) this.#fork()
  }

  /** Whether all of them take connections. */
  get ready(): boolean {
    return this.#workers.size === this.#options.count && [...this.#workers.values()].every((w) => w.serving)
  }

  /** The processes, for those who look after them. */
  get pids(): number[] {
    return [...this.#workers.values()].map(({ worker }) => worker.process.pid!)
  }

  send(message: ToWorker): void {
    for (const { worker } of this.#workers.values()) if (worker.isConnected()) worker.send(message)
  }

  /**
   * Tells all of an update; resolves when those that serve have put it in force. One that stands still is waited for
   * no longer than {@link APPLY_MS}.
   */
  async apply(update: Omit<Update, 'kind' | 'id'>): Promise<void> {
    const id = ++this.#asked
    const serving = [...this.#workers.values()].filter((w) => w.serving)
    const answered = serving.map((known) => this.#answer(known, id, APPLY_MS))
    this.send({ kind: 'apply', id, ...update })
    await Promise.all(answered)
  }

  /** What all have counted together, those that are gone included. */
  async tally(): Promise<Tally> {
    const id = ++this.#asked
    const answered = [...this.#workers.values()].map(async (known) => {
      const answer = await this.#answer(known, id, TALLY_MS)
      if (answer?.kind === 'tally') known.last = answer.tally
    })
    this.send({ kind: 'tally', id })
    await Promise.all(answered)
    return addTallies(
      [...[...this.#workers.values()].map((w) => w.last), this.#gone].filter((t): t is Tally => t !== undefined),
    )
  }

  /** What a worker answers to a question; undefined when it takes too long or is gone. */
  #answer(known: Known, id: number, ms: number): Promise<FromWorker | undefined> {
    if (!known.worker.isConnected()) return Promise.resolve(undefined)
    return new Promise((resolve) => {
      const done = (answer?: FromWorker) => {
        clearTimeout(timer)
        known.asked.delete(id)
        resolve(answer)
      }
      const timer = setTimeout(done, ms)
      known.asked.set(id, done)
    })
  }

  close(): void {
    this.#closed = true
    for (const { worker } of this.#workers.values()) worker.kill()
  }

  #fork(): void {
    const { log, everything } = this.#options
    const begun = performance.now()
    const worker = cluster.fork()
    const known: Known = { worker, serving: false, last: undefined, asked: new Map() }
    this.#workers.set(worker.id, known)
    worker.on('message', (message: FromWorker) => this.#receive(known, message))
    worker.on('error', (error) => log.error('worker', { error: error.message }))
    worker.once('online', () => {
      for (const update of everything()) worker.send(update)
    })
    worker.once('exit', (code, signal) => {
      this.#workers.delete(worker.id)
      for (const done of [...known.asked.values()]) done()
      if (known.last) this.#gone = addTallies([departed(known.last), ...(this.#gone ? [this.#gone] : [])])
      if (this.#closed) return
      log.error('a worker ended, its connections with it; another takes its place', { code, signal: signal ?? '' })
      setTimeout(() => this.#closed || this.#fork(), Math.max(0, RESTART_MS - (performance.now() - begun)))
    })
  }

  #receive(known: Known, message: FromWorker): void {
    const { worker } = known
    switch (message.kind) {
      case 'serving':
        known.serving = true
        break
      case 'ask':
        this.#options.onAsk(message.what, message.name, (answer) => worker.isConnected() && worker.send(answer))
        break
      default:
        known.asked.get(message.id)?.(message)
    }
  }
}
