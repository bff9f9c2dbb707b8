// Fair shares: requests of different users take turns, so that one who floods delays only himself.

import { errors } from '#api'

export interface FairQueueOptions {
  /** Requests of one user under way at once. */
  readonly seats?: number
  /** Requests of one user that wait; more are refused. */
  readonly queue?: number
  /** Watches and streams of one user at once. */
  readonly longRunning?: number
  /** Milliseconds, as performance.now() counts them. */
  readonly now?: () => number
}

const SEATS = 200
/** Of those, while other users compete: what ends together is answered in one go, and that must be short. */
const CONTENDED_SEATS = 4
const QUEUE = 600
const LONG_RUNNING = 15_000
/** A user is among those who compete for so long after a request, milliseconds. */
const ACTIVE_MS = 1000
/** Requests begun in one turn of the event loop while users compete: sockets are read in between. */
const PER_TURN = 2

/** One user's requests. */
interface Flow {
  readonly name: string
  readonly waiting: (() => void)[]
  executing: number
  longRunning: number
}

/**
 * Hands out turns. As long as one user alone sends requests they begin at once; when several do, each has a
 * queue, and the queues are served in rotation, a few requests a turn of the event loop, so that what a quiet
 * user sends is read and begun ahead of a busy one's backlog. (Upstream: API priority and fairness.)
 */
export class FairQueue {
  readonly #flows = new Map<string, Flow>()
  /** Flows with waiting requests, in order of their turn. */
  readonly #rotation: Flow[] = []
  readonly #seats: number
  readonly #queue: number
  readonly #longRunning: number
  readonly #now: () => number
  /** The user seen most, and when another was seen last. */
  #main = ''
  #mainAt = Number.NEGATIVE_INFINITY
  #otherAt = Number.NEGATIVE_INFINITY
  #pumping = 0
  #waiting = 0
  #rejected = 0

  constructor(options: FairQueueOptions = {}) {
    this.#seats = options.seats ?? SEATS
    this.#queue = options.queue ?? QUEUE
    this.#longRunning = options.longRunning ?? LONG_RUNNING
    this.#now = options.now ?? (() => performance.now())
  }

  /** Requests that wait now, and those refused so far. */
  get counts(): { waiting: number; rejected: number } {
    return { waiting: this.#waiting, rejected: this.#rejected }
  }

  /**
   * A request of a user begins: undefined when it may at once, else a promise of its turn. Every request that
   * began must `leave`. Fails with TooManyRequests when too many of the user's wait already.
   */
  enter(user: string): Promise<void> | undefined {
    const flow = this.#flow(user)
    const contended = this.#contended(user)
    if (flow.waiting.length === 0 && flow.executing < this.#seats && !contended) {
      flow.executing++
      return undefined
    }
    if (flow.waiting.length >= this.#queue) {
      this.#rejected++
      throw errors.tooManyRequests(
        `too many requests: ${flow.waiting.length} of user "${user}" are waiting already; try again later`,
        1,
      )
    }
    return new Promise((resolve) => {
      if (flow.waiting.length === 0) this.#rotation.push(flow)
      flow.waiting.push(resolve)
      this.#waiting++
      this.#pump()
    })
  }

  /** A request that began has ended. */
  leave(user: string): void {
    const flow = this.#flows.get(user)
    if (!flow) return
    flow.executing--
    if (flow.waiting.length > 0) this.#pump()
    else this.#forget(flow)
  }

  /**
   * A watch or a stream begins; call what is returned when it ends. Fails with TooManyRequests when the user has
   * too many.
   */
  stay(user: string): () => void {
    const flow = this.#flow(user)
    if (flow.longRunning >= this.#longRunning) {
      this.#rejected++
      throw errors.tooManyRequests(
        `too many watches and streams: user "${user}" has ${flow.longRunning}, the limit is ${this.#longRunning}`,
        5,
      )
    }
    flow.longRunning++
    let left = false
    return () => {
      if (left) return
      left = true
      flow.longRunning--
      this.#forget(flow)
    }
  }

  #flow(name: string): Flow {
    let flow = this.#flows.get(name)
    if (!flow) {
      flow = { name, waiting: [], executing: 0, longRunning: 0 }
      this.#flows.set(name, flow)
    }
    return flow
  }

  #forget(flow: Flow): void {
    if (flow.executing === 0 && flow.longRunning === 0 && flow.waiting.length === 0) this.#flows.delete(flow.name)
  }

  /** Whether several users have sent requests lately. */
  #contended(user: string): boolean {
    const now = this.#now()
    if (user === this.#main) this.#mainAt = now
    else if (now - this.#mainAt > ACTIVE_MS) {
      this.#main = user
      this.#mainAt = now
    } else this.#otherAt = now
    return this.#contendedNow(now)
  }

  #contendedNow(now = this.#now()): boolean {
    return now - this.#otherAt < ACTIVE_MS
  }

  /** Sees to it that waiting requests get their turns. */
  #pump(): void {
    // Each immediate runs by itself, with all that follows from the request it begins.
    while (this.#pumping < PER_TURN && this.#pumping < this.#waiting) {
      this.#pumping++
      setImmediate(() => {
        this.#pumping--
        // When nobody may begin, the next to leave goes on with it.
        if (this.#next()) this.#pump()
      })
    }
  }

  /** Begins one request of the flow whose turn it is; false when none may. */
  #next(): boolean {
    for (let i = this.#rotation.length; i > 0; i--) {
      const flow = this.#rotation.shift()!
      const limit = this.#contendedNow() ? Math.min(this.#seats, CONTENDED_SEATS) : this.#seats
      if (flow.executing >= limit) {
        // It goes on when one of its requests has ended.
        this.#rotation.push(flow)
        continue
      }
      const begin = flow.waiting.shift()!
      this.#waiting--
      if (flow.waiting.length > 0) this.#rotation.push(flow)
      flow.executing++
      begin()
      return true
    }
    return false
  }
}
