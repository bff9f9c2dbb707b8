// Bringing a cluster up and taking it down, from the command line's side.

import { spawn } from 'node:child_process'
import { existsSync, mkdirSync, openSync, readdirSync, readFileSync, rmSync } from 'node:fs'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'
import { exec, SampanError, sleep, systemClock } from '#base'
import { containerdPid, Runtime, removeCgroups, socketOf } from '#node'
import { type Cluster, DEFAULT_NAME, findCluster, findOrCreateCluster } from './cluster.ts'
import { loadCredentials } from './credentials.ts'
import type { Datastore } from './datastore.ts'
import { missingPrograms } from './doctor.ts'
import { addToKubeconfig, removeFromKubeconfig } from './kubeconfig.ts'
import { logDir, processStart, type ServerState, stateFile } from './server-state.ts'

/** This very program: its sources, or all of them in one file. */
const MAIN = fileURLToPath(new URL(import.meta.url.endsWith('.ts') ? 'main.ts' : 'main.js', import.meta.url))
const READY_MS = 60_000

/** The running server of a cluster, if any. */
export function serverState(cluster: Cluster): ServerState | undefined {
  const file = stateFile(cluster)
  if (!existsSync(file)) return undefined
  try {
    const state = JSON.parse(readFileSync(file, 'utf8')) as ServerState
    const start = processStart(state.pid)
    // A server of before this was written down is known by its id alone.
    return start && start === (state.processStart ?? start) ? state : undefined
  } catch {
    return undefined
  }
}

export interface UpOptions {
  name: string
  dataDir: string
  kubeconfig: string
  datastore?: Datastore
  progress: (text: string) => void
}

/** Makes sure the cluster runs and is Ready. Returns whether it had to be started. */
export async function up(options: UpOptions): Promise<{ cluster: Cluster; started: boolean }> {
  const missing = missingPrograms()
  if (missing.length > 0)
    throw new SampanError(
      'MissingPrograms',
      `Cannot start a cluster: ${missing.map((m) => m.program).join(', ')} not found; run: apt-get install -y ${[...new Set(missing.map((m) => m.debian))].join(' ')}`,
    )
  if (process.getuid?.() !== 0)
    throw new SampanError('NotRoot', 'Cannot start a cluster: containers and nftables need root; run it with sudo')
  const cluster = await findOrCreateCluster(options.name, options.dataDir, options.datastore)
  let started = false
  let ended = () => false
  if (!serverState(cluster)) {
    options.progress('starting the server')
    ended = startServer(cluster)
    started = true
  }
  await waitReady(cluster, ended)
  addToKubeconfig(options.kubeconfig, cluster, await loadCredentials(cluster))
  return { cluster, started }
}

/** Starts the background server; the result tells whether it has ended again. */
function startServer(cluster: Cluster): () => boolean {
  mkdirSync(logDir(cluster), { recursive: true })
  rmSync(stateFile(cluster), { force: true })
  const out = openSync(join(logDir(cluster), 'server.out'), 'a')
  const child = spawn(
    process.execPath,
    [...SERVER_FLAGS, MAIN, 'server', '--name', cluster.name, '--data-dir', cluster.dataDir],
    {
      detached: true,
      stdio: ['ignore', out, out],
      cwd: '/',
      env: { MALLOC_ARENA_MAX: '2', ...process.env },
    },
  )
  let ended = false
  child.on('exit', () => {
    ended = true
  })
  child.unref()
  return () => ended
}

/**
 * Flags that keep the server small: a young generation of 8 MB instead of 48, and a heap that is collected when it
 * has grown by three fifths, not when it is a multiple of what it was. The allocator has two arenas.
 */
export const SERVER_FLAGS = [
  '--max-semi-space-size=8',
  '--heap-growing-percent=60',
  '--disable-warning=ExperimentalWarning',
]

async function waitReady(cluster: Cluster, ended: () => boolean): Promise<void> {
  const begin = Date.now()
  for (;;) {
    const state = serverState(cluster)
    if (state?.ready) return
    if (Date.now() - begin > READY_MS || ended()) {
      const log = join(logDir(cluster), 'sampan.log')
      const file = ended() || !existsSync(log) ? join(logDir(cluster), 'server.out') : log
      const tail = readFileSync(file, 'utf8').trim().split('\n').slice(-3).join('\n  ')
      throw new SampanError(
        'NotReady',
        `Cannot bring up the cluster "${cluster.name}": it is not ready after ${Math.round((Date.now() - begin) / 1000)} s; the log ends with\n  ${tail}\nsee ${logDir(cluster)}`,
      )
    }
    await sleep(systemClock, 10)
  }
}

export interface DownOptions {
  name: string
  dataDir: string
  kubeconfig: string
  purge: boolean
}

/** Stops everything the cluster started; with `purge`, removes everything it left. Returns false when there was none. */
export async function down(options: DownOptions): Promise<boolean> {
  const cluster = findCluster(options.name, options.dataDir)
  if (!cluster) return false
  const state = serverState(cluster)
  if (state) await endProcess(state.pid, 10_000)
  await stopPods(cluster)
  const pid = containerdPid(cluster.runDir)
  if (pid) await endProcess(pid, 10_000)
  for (const stray of clientsOf(socketOf(cluster.runDir))) process.kill(stray, 'SIGKILL')
  await unmountBelow(join(cluster.runDir, 'containerd'))
  await unmountBelow(cluster.dataDir)
  await exec('nft', ['delete', 'table', 'ip', cluster.nftTable])
  await exec('ip', ['link', 'delete', cluster.bridge])
  rmSync(cluster.runDir, { recursive: true, force: true })
  removeCgroups(`sampan-${cluster.name}`)
  if (options.purge) {
    rmSync(cluster.dataDir, { recursive: true, force: true })
    removeFromKubeconfig(options.kubeconfig, cluster.name)
  }
  return true
}

/** Programs that still wait for the containerd of a server that was killed: imports of images. */
function clientsOf(socket: string): number[] {
  return readdirSync('/proc')
    .map(Number)
    .filter((pid) => {
      if (!(pid > 1)) return false
      try {
        return readFileSync(`/proc/${pid}/cmdline`, 'utf8').split('\0').includes(socket)
      } catch {
        return false
      }
    })
}

/** Removes every sandbox, so that no container and no shim is left. */
async function stopPods(cluster: Cluster): Promise<void> {
  if (!containerdPid(cluster.runDir)) return
  const runtime = new Runtime(socketOf(cluster.runDir))
  try {
    const sandboxes = await runtime.sandboxes()
    await Promise.all(
      sandboxes.map(async (s) => {
        const containers = await runtime.containers(s.podUid)
        await Promise.all(containers.filter((c) => c.state === 'running').map((c) => runtime.stopContainer(c.id, 2)))
        await runtime.stopSandbox(s.id)
        await runtime.removeSandbox(s.id)
      }),
    )
  } finally {
    runtime.close()
  }
}

async function endProcess(pid: number, patienceMs: number): Promise<void> {
  process.kill(pid, 'SIGTERM')
  for (let waited = 0; waited < patienceMs; waited += 20) {
    if (!isRunning(pid)) return
    await sleep(systemClock, 20)
  }
  process.kill(pid, 'SIGKILL')
}

function isRunning(pid: number): boolean {
  try {
    return processStart(pid) !== ''
  } catch {
    return false
  }
}

async function unmountBelow(directory: string): Promise<void> {
  const points = readFileSync('/proc/self/mountinfo', 'utf8')
    .split('\n')
    .flatMap((line) => line.split(' ')[4] ?? [])
    .filter((p) => p.startsWith(`${directory}/`))
  for (const point of points.reverse()) await exec('umount', ['-l', point])
}

export function clusterOf(name: string, dataDir: string): Cluster {
  const cluster = findCluster(name, dataDir)
  if (!cluster)
    throw new SampanError(
      'NoCluster',
      `Cannot find the cluster "${name}" in ${dataDir}; start it with "sampan up${name === DEFAULT_NAME ? '' : ` --name ${name}`}"`,
    )
  return cluster
}
