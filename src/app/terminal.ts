// What people see: messages on stderr, tables on stdout, progress on a terminal only.

const tty = process.stderr.isTTY === true
const color = tty && !process.env.NO_COLOR

/** A message. */
export function say(text: string): void {
  process.stderr.write(`${color ? '\x1b[2m⛵\x1b[0m ' : ''}${text}\n`)
}

/** Shows that `work` is under way: a spinner on a terminal, two plain lines elsewhere. */
export async function progress<T>(text: string, work: () => Promise<T>): Promise<T> {
  const begin = Date.now()
  if (!tty) {
    say(`${text} ...`)
    const result = await work()
    say(`${text}: done in ${((Date.now() - begin) / 1000).toFixed(1)} s`)
    return result
  }
  const frames = ['⠋', '⠙', '⠹', '⠸', '⠼', '⠴', '⠦', '⠧', '⠇', '⠏']
  let i = 0
  const timer = setInterval(() => process.stderr.write(`\r${frames[i++ % frames.length]} ${text} `), 80)
  try {
    const result = await work()
    process.stderr.write(`\r\x1b[K✔ ${text} (${((Date.now() - begin) / 1000).toFixed(1)} s)\n`)
    return result
  } catch (error) {
    process.stderr.write(`\r\x1b[K✘ ${text}\n`)
    throw error
  } finally {
    clearInterval(timer)
  }
}

/** Rows as aligned columns. */
export function table(rows: readonly (readonly string[])[]): string {
  const widths = (rows[0] ?? []).map((_, c) => Math.max(...rows.map((r) => (r[c] ?? '').length)))
  return rows
    .map((r) =>
      r
        .map((cell, c) => (c === r.length - 1 ? cell : cell.padEnd(widths[c]!)))
        .join('   ')
        .trimEnd(),
    )
    .join('\n')
}
