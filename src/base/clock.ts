// Time as a constructor argument: the real clock, and the interface virtual clocks implement.

/** A cancellable timer. */
export interface Timer {
  cancel(): void
}

/** Source of time. Instants are milliseconds since the Unix epoch; delays are milliseconds. */
export interface Clock {
  now(): number
  /** Calls `fn` once after `ms`. */
  after(ms: number, fn: () => void): Timer
}

/** The machine's own clock. */
export const systemClock: Clock = {
  now: () => Date.now(),
  after(ms, fn) {
    const timer = setTimeout(fn, Math.min(ms, 0x7fffffff))
    return { cancel: () => clearTimeout(timer) }
  },
}

/** Resolves after `ms`, or at once when `signal` aborts; never rejects. */
export function sleep(clock: Clock, ms: number, signal?: AbortSignal): Promise<void> {
  return new Promise((resolve) => {
    if (signal?.aborted) return resolve()
    const done = () => {
      timer.cancel()
      signal?.removeEventListener('abort', done)
      resolve()
    }
    const timer = clock.after(ms, done)
    signal?.addEventListener('abort', done, { once: true })
  })
}

/** How finely {@link patience} counts, milliseconds. */
const STEP_MS = 100

/**
 * Waits for `work`, at most `ms` of this process's own time, and says whether it ended in time. Where the whole
 * process stood still (a machine that was suspended, or starved of its processors) the time does not count: what came
 * meanwhile is looked at before the next step. Rejects as `work` does.
 */
export async function patience(clock: Clock, work: Promise<unknown>, ms: number): Promise<boolean> {
  let done = false
  const ended = work.finally(() => {
    done = true
  })
  for (let left = ms; left > 0 && !done; left -= STEP_MS)
    await Promise.race([ended, sleep(clock, Math.min(STEP_MS, left))])
  return done
}

let lastSecond = Number.NaN
let lastText = ''

/** RFC 3339 with seconds, the form of metav1.Time. */
export function rfc3339(ms: number): string {
  const second = Math.floor(ms / 1000)
  if (second !== lastSecond) {
    lastText = `${new Date(ms).toISOString().slice(0, 19)}Z`
    lastSecond = second
  }
  return lastText
}

/** RFC 3339 with microseconds, the form of metav1.MicroTime. */
export function rfc3339Micro(ms: number): string {
  return `${new Date(ms).toISOString().slice(0, 23)}000Z`
}
