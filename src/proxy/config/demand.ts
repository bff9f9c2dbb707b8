// What the control plane was asked for by name: who waits for it, and what there is none of.

/** So long what was asked for is waited for, milliseconds. */
const DEMAND_MS = 5000

interface Asked {
  absent: boolean
  readonly waiting: (() => void)[]
  timer: NodeJS.Timeout | undefined
}

export class Demand {
  readonly #asked = new Map<string, Asked>()
  readonly #most: number
  readonly #lenient: boolean
  /** Asks for a name that was not asked for before. */
  onAsk: (name: string) => void = () => {}
  /** A name is not asked for any more. */
  onForget: (name: string) => void = () => {}

  /**
   * `most`: of more names the one asked for first is forgotten. `lenient`: there is a way without what is asked for; what
   * does not come in time counts as absent, and only what is absent is forgotten.
   */
  constructor(most = Number.POSITIVE_INFINITY, lenient = false) {
    this.#most = most
    this.#lenient = lenient
  }

  /** Everything that is asked for. */
  get names(): Iterable<string> {
    return this.#asked.keys()
  }

  /** Somebody waits for it. */
  isAwaited(name: string): boolean {
    return (this.#asked.get(name)?.waiting.length ?? 0) > 0
  }

  /** The control plane has said that there is none. */
  isAbsent(name: string): boolean {
    return this.#asked.get(name)?.absent === true
  }

  /** Asks for something; `done` is called when it is here, when there is none, or when that takes too long. */
  ask(name: string, done: () => void): void {
    let asked = this.#asked.get(name)
    const fresh = asked === undefined
    if (!asked) {
      asked = { absent: false, waiting: [], timer: undefined }
      this.#asked.set(name, asked)
      if (this.#asked.size > this.#most) this.#forgetOne()
    }
    asked.waiting.push(done)
    asked.timer ??= setTimeout(() => this.tell(name, this.#lenient), DEMAND_MS).unref()
    if (fresh) this.onAsk(name)
  }

  #forgetOne(): void {
    for (const [name, { absent }] of this.#asked) if (absent || !this.#lenient) return this.forget(name)
  }

  /** Asks for it no more. */
  forget(name: string): void {
    this.tell(name)
    this.#asked.delete(name)
    this.onForget(name)
  }

  /** It has come, or, with `absent`, the control plane says that there is none. */
  tell(name: string, absent = false): void {
    const asked = this.#asked.get(name)
    if (!asked) return
    asked.absent = absent
    clearTimeout(asked.timer)
    asked.timer = undefined
    for (const done of asked.waiting.splice(0)) done()
  }
}
