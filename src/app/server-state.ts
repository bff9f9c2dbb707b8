// What is known of a cluster's server from outside of it: whether it runs, and where its logs are.

import { readFileSync } from 'node:fs'
import { join } from 'node:path'
import type { Cluster } from './cluster.ts'

/** What a running server tells of itself. */
export interface ServerState {
  pid: number
  /** When that process began, in the kernel's own count: its id may be somebody else's later. */
  processStart?: string
  startedAt: number
  ready: boolean
}

/** When a process began (proc(5), stat, field 22); "" of one that has ended. Fails with Error when there is none. */
export function processStart(pid: number): string {
  const text = readFileSync(`/proc/${pid}/stat`, 'utf8')
  // The name may have spaces; what follows it has not.
  const fields = text.slice(text.lastIndexOf(')') + 2).split(' ')
  // A zombie is there until its parent has looked.
  return fields[0] === 'Z' || fields[0] === 'X' ? '' : (fields[19] ?? '')
}

export const stateFile = (cluster: Cluster) => join(cluster.runDir, 'server.json')
export const logDir = (cluster: Cluster) => join(cluster.dataDir, 'logs')
