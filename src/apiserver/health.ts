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

  /**
   * The answer to /livez, /readyz or /healthz, or to one check below it, as upstream words it. Undefined for
   * a check that does not exist. `exclude` names checks that are left out.
   */
  report(path: string, verbose: boolean, exclude: readonly string[] = []): { code: number; text: string } | undefined {
    const [, endpoint = 'healthz', ...rest] = path.replace(/\/+$/, '').split('/')
    const one = rest.join('/')
    // A process that is shutting down still lives.
    const names = ['ping', ...this.#checks.keys()].filter((n) => endpoint !== 'livez' || n !== 'shutdown')
    if (one && !names.includes(one)) return undefined
    const failed = new Map(this.failures())
    const looked = (one ? [one] : names).filter((n) => !exclude.includes(n))
    const code = looked.some((n) => failed.has(n)) ? 500 : 200
    if (code === 200 && (!verbose || one)) return { code, text: 'ok' }
    const lines = looked.map((name) => (failed.has(name) ? `[-]${name} failed: reason withheld` : `[+]${name} ok`))
    for (const name of exclude) if (!one && names.includes(name)) lines.push(`[+]${name} excluded: ok`)
    return { code, text: `${lines.join('\n')}\n${endpoint} check ${code === 200 ? 'passed' : 'failed'}\n` }
  }
}
