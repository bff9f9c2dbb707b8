// Whether a process listens on ports, read from its network namespace: no connection is made.

import { readFileSync } from 'node:fs'

const LISTEN = '0A'

/** Ports with a listening TCP socket in the namespace of `pid`; undefined when it cannot be read. */
export function listeningPorts(pid: number): Set<number> | undefined {
  const ports = new Set<number>()
  try {
    for (const table of ['tcp', 'tcp6'])
      for (const line of readFileSync(`/proc/${pid}/net/${table}`, 'utf8').split('\n').slice(1)) {
        const [, local, , state] = line.trim().split(/\s+/)
        if (state === LISTEN) ports.add(Number.parseInt(local!.slice(local!.lastIndexOf(':') + 1), 16))
      }
    return ports
  } catch {
    return undefined
  }
}
