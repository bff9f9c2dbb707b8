// The workers of a proxy: processes that share its addresses. One that ends takes its own connections along and no
// others, and another takes its place.

import cluster, { type Worker } from 'node:cluster'
import type { Log } from '#base'
import type { Demanded, FromWorker, ToWorker } from './message.ts'
import { addTallies, departed, type Tally } from './tally.ts'

/** A worker that cannot live is begun anew so often at most, milliseconds. */
const RESTART_MS = 250
/** A count is waited for so long; then the last one is shown. */
const TALLY_MS = 1000

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
}

export class WorkerPool {
  readonly #options: WorkerPoolOptions
  readonly #workers = new Map<number, Known>()
  readonly #waiting = new Map<string, (tally: Tally) => void>()
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

  /** What all have counted together, those that are gone included. */
  async tally(): Promise<Tally> {
    const id = ++this.#asked
    await Promise.all(
      [...this.#workers.values()].map(
        (known) =>
          new Promise<void>((resolve) => {
            const key = `${known.worker.id} ${id}`
            const done = () => {
              clearTimeout(timer)
              this.#waiting.delete(key)
              resolve()
            }
            const timer = setTimeout(done, TALLY_MS)
            this.#waiting.set(key, (tally) => {
              known.last = tally
              done()
            })
            if (known.worker.isConnected()) known.worker.send({ kind: 'tally', id } satisfies ToWorker)
            else done()
          }),
      ),
    )
    return addTallies(
      [...[...this.#workers.values()].map((w) => w.last), this.#gone].filter((t): t is Tally => t !== undefined),
    )
  }

  close(): void {
    this.#closed = true
    for (const { worker } of this.#workers.values()) worker.kill()
  }

  #fork(): void {
    const { log, everything } = this.#options
    const begun = performance.now()
    const worker = cluster.fork()
    const known: Known = { worker, serving: false, last: undefined }
    this.#workers.set(worker.id, known)
    worker.on('message', (message: FromWorker) => this.#receive(known, message))
    worker.on('error', (error) => log.error('worker', { error: error.message }))
    worker.once('online', () => {
      for (const update of everything()) worker.send(update)
    })
    worker.once('exit', (code, signal) => {
      this.#workers.delete(worker.id)
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
      case 'tally':
        this.#waiting.get(`${worker.id} ${message.id}`)?.(message.tally)
    }
  }
}
