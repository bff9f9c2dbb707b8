// When changes are sent: the first at once, those of a storm together, so that pushing takes nine tenths of the time at
// most.

import type { Clock } from '#base'

/** Changes that come together within this long are one push: an apply of several files. */
const GATHER_MS = 2
/** However long a push took, the next begins within this. */
const MOST_MS = 1000

export class PushSchedule {
  readonly #clock: Clock
  readonly #push: () => Promise<void>
  #dirty = false
  #timer: { cancel(): void } | undefined
  #running: Promise<void> | undefined
  #earliest = 0
  #pushes = 0
  /** How many changes there were, and how many of them are sent. */
  #changes = 0
  #sent = 0
  readonly #waiting: { readonly upTo: number; readonly done: () => void }[] = []
  #spent = 0

  constructor(clock: Clock, push: () => Promise<void>) {
    this.#clock = clock
    this.#push = push
  }

  get pushes(): number {
    return this.#pushes
  }

  /** Something changed: it is sent soon. */
  changed(): void {
    this.#dirty = true
    this.#changes++
    if (this.#timer || this.#running) return
    const wait = Math.max(GATHER_MS, this.#earliest - this.#clock.now())
    this.#timer = this.#clock.after(wait, () => {
      this.#timer = undefined
      void this.#run()
    })
  }

  /** Resolves when what has changed until now is sent, in its time. */
  sent(): Promise<void> {
    const upTo = this.#changes
    if (this.#sent >= upTo) return Promise.resolve()
    return new Promise((done) => this.#waiting.push({ upTo, done }))
  }

  /** Sends what waits to be sent now. */
  async flush(): Promise<void> {
    await this.#running
    if (!this.#dirty) return
    this.#timer?.cancel()
    this.#timer = undefined
    await this.#run()
  }

  #run(): Promise<void> {
    this.#running ??= this.#once().finally(() => {
      this.#running = undefined
      if (this.#dirty) this.changed()
    })
    return this.#running
  }

  async #once(): Promise<void> {
    this.#dirty = false
    const upTo = this.#changes
    const start = this.#clock.now()
    await this.#push()
    this.#sent = upTo
    while (this.#waiting.length > 0 && this.#waiting[0]!.upTo <= upTo) this.#waiting.shift()!.done()
    const took = this.#clock.now() - start
    this.#pushes++
    this.#spent += took
    // A tenth as long is left to others, who have their turns between batches as well.
    this.#earliest = this.#clock.now() + Math.min(took / 10, MOST_MS)
  }

  /** Prometheus lines, under Istio's names where it has one. */
  metrics(proxies: number): string {
    return [
      '# TYPE pilot_xds gauge',
      `pilot_xds{version="1.32-sampan"} ${proxies}`,
      '# TYPE pilot_xds_pushes counter',
      `pilot_xds_pushes{type="all"} ${this.#pushes}`,
      '# TYPE pilot_xds_push_time_seconds_sum counter',
      `pilot_xds_push_time_seconds_sum ${this.#spent / 1000}`,
      '',
    ].join('\n')
  }
}
