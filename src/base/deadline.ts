// The end of a wait for an answer.

/**
 * Calls `fn` after `ms`, once what has come by then is read. Node looks at timers before it looks at sockets: a process
 * that stood still would give up answers that lie before it.
 */
export class Deadline {
  readonly #timer: NodeJS.Timeout
  #turn: NodeJS.Immediate | undefined

  constructor(ms: number, fn: () => void) {
    this.#timer = setTimeout(() => {
      this.#turn = setImmediate(fn)
    }, ms)
  }

  cancel(): void {
    clearTimeout(this.#timer)
    clearImmediate(this.#turn)
  }
}
