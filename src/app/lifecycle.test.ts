// How the command line finds a running server.

import assert from 'node:assert/strict'
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs'
import { test } from 'node:test'
import type { Cluster } from './cluster.ts'
import { serverState } from './lifecycle.ts'
import { processStart, stateFile } from './server.ts'

// The server was looked for by its data folder among its arguments: one started with --foreground has none there, so
// it was taken for stopped, and "down --purge" removed the data under it.
test('a server is known by its process, whatever its arguments are', () => {
  const runDir = mkdtempSync('/tmp/sampan-state-')
  try {
    const cluster = { runDir, dataDir: '/nowhere/near' } as Cluster
    assert.equal(serverState(cluster), undefined)
    const state = { pid: process.pid, processStart: processStart(process.pid), startedAt: 0, ready: true }
    writeFileSync(stateFile(cluster), JSON.stringify(state))
    assert.deepEqual(serverState(cluster), state)
    // The same id, given to a process that began at another time.
    writeFileSync(stateFile(cluster), JSON.stringify({ ...state, processStart: '1' }))
    assert.equal(serverState(cluster), undefined)
  } finally {
    rmSync(runDir, { recursive: true })
  }
})
