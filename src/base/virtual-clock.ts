// Virtual time: timers fire only when the owner advances the clock.

import type { Clock, Timer } from './clock.ts'

interface Pending {
  at: number
  seq: number
  fn: () => void
}

/** A clock that stands still until `advance`. Timers fire in order of instant, then of creation. */
export class VirtualClock implements Clock {
  #now: number
  #seq = 0
  #pending: Pending[] = []

  constructor(start = Date.parse('2030-01-01T00:00:00Z')) {
    this.#now = start
  }

  now(): number {
    return this.#now
  }

  after(ms: number, fn: () => void): Timer {
    const entry = { at: this.#now + Math.max(0, ms), seq: this.#seq++, fn }
    this.#pending.push(entry)
    return {
      cancel: () => {
        this.#pending = this.#pending.filter((p) => p !== entry)
      },
    }
  }

  /** Moves time forward, firing due timers and letting promises settle after each of them. */
  async advance(ms: number): Promise<void> {
    const end = this.#now + ms
    await settle()
    for (;;) {
      const next = this.#pending.filter((p) => p.at <= end).sort((a, b) => a.at - b.at || a.seq - b.seq)[0]
      if (!next) break
      this.#pending = this.#pending.filter((p) => p !== next)
      this.#now = next.at
      next.fn()
      await settle()
    }
    this.#now = end
    await settle()
  }
}

/** Lets every microtask and immediate that is already due run. */
export async function settle(): Promise<void> {
  for (let i = 0; i < 8; i++) await new Promise((resolve) => setImmediate(resolve))
}
