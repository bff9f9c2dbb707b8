// The end of a wait for an answer.

/** Longer than this a timer would end at once. */
const MOST_MS = 0x7fffffff

/**
 * Calls `fn` after `ms`, once what has come by then is read. Node looks at timers before it looks at sockets: a process
 * that stood still would give up answers that lie before it.
 */
export class Deadline {
  readonly #timer: NodeJS.Timeout
  #turn: NodeJS.Immediate | undefined

  constructor(ms: number, fn: () => void) {
    this.#timer = setTimeout(
      () => {
        this.#turn = setImmediate(fn)
      },
      Math.min(ms, MOST_MS),
    )
  }

  cancel(): void {
    clearTimeout(this.#timer)
    clearImmediate(this.#turn)
  }
}
