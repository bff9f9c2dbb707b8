// A cluster's identity: every host resource it uses, derived from its name.

import { existsSync, mkdirSync, readdirSync, readFileSync, rmdirSync, rmSync, writeFileSync } from 'node:fs'
import { createServer } from 'node:net'
import { networkInterfaces } from 'node:os'
import { join } from 'node:path'
import { fnv1a, SampanError } from '#base'
import type { Datastore } from './datastore.ts'

export const DEFAULT_NAME = 'sampan'
/** Number of clusters that can have addresses of their own on one machine. */
const SLOTS = 256

/** Where a cluster keeps things and what it uses of the host. */
export interface Cluster {
  readonly name: string
  readonly dataDir: string
  /** Sockets and process ids: short paths, gone after a reboot. */
  readonly runDir: string
  /** Which of the address ranges is its own. */
  readonly slot: number
  readonly apiPort: number
  readonly bridge: string
  readonly nftTable: string
  readonly podCidr: string
  readonly serviceCidr: string
  /** The host's address on the bridge: where pods reach the cluster's own parts. */
  readonly gatewayIp: string
  readonly dnsIp: string
  readonly kubernetesIp: string
  /** The etcd that keeps the state; absent: the data directory does. */
  readonly datastore?: Datastore
}

/** What is written down of a cluster at its first start. */
interface Recorded {
  name: string
  slot: number
  apiPort: number
  datastore?: Datastore
}

export function defaultDataDir(name: string): string {
  return join('/var/lib/sampan', name)
}

export function checkClusterName(name: string): void {
  if (!/^[a-z0-9]([-a-z0-9]{0,38}[a-z0-9])?$/.test(name))
    throw new SampanError(
      'BadName',
      `Cannot use the cluster name "${name}": use up to 40 lower-case letters, digits and '-'`,
    )
}

/** The cluster kept in `dataDir`, or undefined when there is none. */
export function findCluster(name: string, dataDir: string): Cluster | undefined {
  const file = join(dataDir, 'cluster.json')
  if (!existsSync(file)) return undefined
  const recorded = JSON.parse(readFileSync(file, 'utf8')) as Recorded
  if (recorded.name !== name)
    throw new SampanError(
      'WrongCluster',
      `Cannot use ${dataDir}: it holds the cluster "${recorded.name}", not "${name}"; name it with --name or use another --data-dir`,
    )
  return describe(recorded, dataDir)
}

/** Makes the record of a new cluster: the first address range and port from its name on that are free. */
export async function createCluster(name: string, dataDir: string, datastore?: Datastore): Promise<Cluster> {
  checkClusterName(name)
  mkdirSync(dataDir, { recursive: true, mode: 0o711 })
  let slot = name === DEFAULT_NAME ? 0 : 1 + (fnv1a(name) % (SLOTS - 1))
  const taken = new Set(Object.values(networkInterfaces()).flatMap((list) => (list ?? []).map((i) => i.address)))
  for (let i = 0; taken.has(ranges(slot).gatewayIp); i++) {
    if (i >= SLOTS)
      throw new SampanError(
        'NoAddresses',
        'Cannot create the cluster: all address ranges are in use; run "sampan down --purge" on one that is not needed',
      )
    slot = (slot + 1) % SLOTS
  }
  let apiPort = slot === 0 ? 6443 : 26443 + slot
  while (!(await portFree(apiPort))) apiPort++
  const recorded: Recorded = { name, slot, apiPort, ...(datastore ? { datastore } : {}) }
  writeFileSync(join(dataDir, 'cluster.json'), `${JSON.stringify(recorded)}\n`)
  return describe(recorded, dataDir)
}

function ranges(slot: number): {
  podCidr: string
  serviceCidr: string
  gatewayIp: string
  dnsIp: string
  kubernetesIp: string
} {
  const high = slot >> 6
  const low = (slot & 63) * 4
  return {
    podCidr: `10.${244 + high}.${low}.0/22`,
    serviceCidr: `10.${96 + high}.${low}.0/22`,
    gatewayIp: `10.${244 + high}.${low}.1`,
    dnsIp: `10.${96 + high}.${low}.10`,
    kubernetesIp: `10.${96 + high}.${low}.1`,
  }
}

function describe({ name, slot, apiPort, datastore }: Recorded, dataDir: string): Cluster {
  const short = fnv1a(name).toString(36)
  return {
    name,
    dataDir,
    runDir: join('/run/sampan', name),
    slot,
    apiPort,
    // Interface names have 15 characters at most.
    bridge: name.length <= 10 ? `smp-${name}`.slice(0, 15) : `smp-${short}`.slice(0, 15),
    nftTable: `sampan-${name}`,
    ...ranges(slot),
    ...(datastore ? { datastore } : {}),
  }
}

/** Takes back what was made for a cluster that never came to be; a folder with anything else in it stays. */
export function forgetCluster({ dataDir }: Cluster): void {
  rmSync(join(dataDir, 'cluster.json'), { force: true })
  if (readdirSync(dataDir).length === 0) rmdirSync(dataDir)
}

/** The cluster kept in `dataDir`, made when there is none. A cluster does not change its datastore. */
export async function findOrCreateCluster(name: string, dataDir: string, datastore?: Datastore): Promise<Cluster> {
  const found = findCluster(name, dataDir)
  if (!found) return createCluster(name, dataDir, datastore)
  if (datastore && datastore.endpoints.join() !== (found.datastore?.endpoints.join() ?? ''))
    throw new SampanError(
      'OtherDatastore',
      `Cannot move the cluster "${name}" to another datastore: its state is in ${found.datastore?.endpoints.join(',') ?? dataDir}; make a new cluster with another --name, or remove this one with "sampan down --purge"`,
    )
  return found
}

function portFree(port: number): Promise<boolean> {
  return new Promise((resolve) => {
    const server = createServer()
    server.once('error', () => resolve(false))
    server.listen(port, '127.0.0.1', () => server.close(() => resolve(true)))
  })
}
