// /livez, /readyz and /healthz with named checks.

/** Named checks; each returns why it fails, or undefined. */
export class Health {
  readonly #checks = new Map<string, () => string | undefined>()

  add(name: string, check: () => string | undefined): void {
    this.#checks.set(name, check)
  }

  /** What fails now, by name. */
  failures(): [name: string, why: string][] {
    return [...this.#checks].flatMap(([name, check]) => {
      const why = check()
      return why === undefined ? [] : [[name, why] as [string, string]]
    })
  }

  /** The answer to a health path, as upstream words it. */
  report(path: string, verbose: boolean): { code: number; text: string } {
    const endpoint = path.split('/')[1] ?? 'healthz'
    const failures = this.failures()
    const code = failures.length > 0 ? 500 : 200
    if (code === 200 && !verbose) return { code, text: 'ok' }
    const failed = new Map(failures)
    const lines = ['ping', ...this.#checks.keys()].map((name) =>
      failed.has(name) ? `[-]${name} failed: reason withheld` : `[+]${name} ok`,
    )
    return { code, text: `${lines.join('\n')}\n${endpoint} check ${code === 200 ? 'passed' : 'failed'}\n` }
  }
}
