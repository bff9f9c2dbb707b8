// What a peer of HTTP/2 may ask of us, and how often.

/** Bounds on what a peer may ask of us. */
export interface H2Limits {
  /** Streams a client may have open at once. */
  readonly streams: number
  /** Bytes of a stream's body that we take before they are read. */
  readonly streamWindow: number
  /** The same for all streams of the connection. */
  readonly window: number
  /** Bytes of a header block, as RFC 9113, 6.5.2 counts them. */
  readonly headers: number
}

export const H2_LIMITS: H2Limits = {
  streams: 1000,
  streamWindow: 256 * 1024,
  window: 1024 * 1024,
  headers: 60 * 1024,
}

/**
 * A client's own: its streams are of many who read at their own pace, and those that do not must not stop the
 * others. So many of them may stand still on one connection: window / streamWindow.
 */
export const H2_CLIENT_LIMITS: H2Limits = { ...H2_LIMITS, window: 16 * 1024 * 1024 }

/** Frames that cost us work and carry nothing, so many at once and so many a second; then the peer is sent away. */
export const IDLE_BURST = 1000
export const IDLE_RATE = 200
/** Streams that the peer opens and resets at once, likewise (CVE-2023-44487); each that is served gives one back. */
export const RESET_BURST = 200
export const RESET_RATE = 50
/** Bytes unsent: bodies wait long before; a peer that lets answers to pings pile up so far does not read. */
export const BACKLOG = 4 * 1024 * 1024

/** Closed streams that are remembered. */
const REMEMBERED = 500

/** Remembers an id, and forgets the oldest of too many. */
export function remember(ids: Set<number>, id: number): void {
  ids.add(id)
  if (ids.size > REMEMBERED) for (const oldest of ids) return void ids.delete(oldest)
}

/** So many at once, so many a second. */
export class Allowance {
  readonly #burst: number
  readonly #rate: number
  #left: number
  #at = 0

  constructor(burst: number, rate: number) {
    this.#burst = burst
    this.#rate = rate
    this.#left = burst
  }

  take(now: number): boolean {
    if (this.#left < this.#burst)
      this.#left = Math.min(this.#burst, this.#left + ((now - this.#at) * this.#rate) / 1000)
    this.#at = now
    this.#left--
    return this.#left >= 0
  }

  /** Gives one back. */
  give(): void {
    if (this.#left < this.#burst) this.#left++
  }
}
