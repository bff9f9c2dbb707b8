// How the command line finds a running server.

import assert from 'node:assert/strict'
import { spawn } from 'node:child_process'
import { once } from 'node:events'
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import { test } from 'node:test'
import { setImmediate as nextTurn } from 'node:timers/promises'
import type { Cluster } from './cluster.ts'
import { serverState } from './lifecycle.ts'
import { processStart, stateFile } from './server-state.ts'

// The server was looked for by its data folder among its arguments: one started with --foreground has none there, so
// it was taken for stopped, and "down --purge" removed the data under it.
test('a server is known by its process, whatever its arguments are', async () => {
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
    // One that was killed, while its parent has not looked: the shell is another program by then.
    const parent = spawn('sh', ['-c', 'sleep 0.01 & echo $!; exec sleep 60'])
    try {
      const [line] = await once(parent.stdout, 'data')
      const pid = Number(String(line))
      while (!readFileSync(`/proc/${pid}/stat`, 'utf8').includes(') Z ')) await nextTurn()
      writeFileSync(stateFile(cluster), JSON.stringify({ ...state, pid, processStart: processStart(pid) }))
      assert.equal(serverState(cluster), undefined)
    } finally {
      parent.kill('SIGKILL')
    }
  } finally {
    rmSync(runDir, { recursive: true })
  }
})
