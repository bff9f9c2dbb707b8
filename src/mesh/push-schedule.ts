// When changes are sent: the first at once, those of a storm together, so that pushing takes at most half the time.

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
    if (this.#timer || this.#running) return
    const wait = Math.max(GATHER_MS, this.#earliest - this.#clock.now())
    this.#timer = this.#clock.after(wait, () => {
      this.#timer = undefined
      void this.#run()
    })
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
    const start = this.#clock.now()
    await this.#push()
    const took = this.#clock.now() - start
    this.#pushes++
    this.#spent += took
    // As long again is left to others.
    this.#earliest = this.#clock.now() + Math.min(took, MOST_MS)
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
