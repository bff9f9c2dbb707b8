// How many retries a cluster bears at once, as a share of its requests (envoy.config.cluster.v3, RetryBudget). Pure.

export interface RetryBudgetConfig {
  /** Retries of a hundred requests. */
  readonly percent: number
  /** So many are borne in any case. */
  readonly least: number
  /** Requests count for so long after they began, milliseconds; 0: only while they are under way. */
  readonly interval: number
}

/** Requests are forgotten in so many steps within an interval. */
const SLOTS = 10

export class RetryBudget {
  readonly #config: RetryBudgetConfig
  readonly #slots = new Array<number>(SLOTS).fill(0)
  /** The newest slot, counted from the beginning of time. */
  #newest = 0

  constructor(config: RetryBudgetConfig) {
    this.#config = config
  }

  /** A request begins. `now` in milliseconds. */
  count(now: number): void {
    if (this.#config.interval === 0) return
    this.#advance(now)
    this.#slots[this.#newest % SLOTS]!++
  }

  /** How many retries may be under way beside so many requests. */
  limit(underWay: number, now: number): number {
    const { percent, least, interval } = this.#config
    if (interval > 0) this.#advance(now)
    const recent = this.#slots.reduce((sum, n) => sum + n, 0)
    return Math.max(least, Math.floor((percent / 100) * Math.max(underWay, recent)))
  }

  #advance(now: number): void {
    const slot = Math.floor((now * SLOTS) / this.#config.interval)
    for (let i = Math.max(this.#newest + 1, slot - SLOTS + 1); i <= slot; i++) this.#slots[i % SLOTS] = 0
    this.#newest = Math.max(this.#newest, slot)
  }
}
