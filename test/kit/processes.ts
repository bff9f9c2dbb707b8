// What runs on this machine.

import { readdirSync, readFileSync } from 'node:fs'

/** The command lines of all processes, a line each. */
export function commandLines(): string {
  const lines: string[] = []
  for (const entry of readdirSync('/proc')) {
    if (!/^\d+$/.test(entry)) continue
    try {
      lines.push(readFileSync(`/proc/${entry}/cmdline`, 'utf8').replaceAll('\0', ' '))
    } catch {
      // It has ended meanwhile.
    }
  }
  return lines.join('\n')
}
