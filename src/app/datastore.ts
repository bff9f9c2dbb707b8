// Where a cluster keeps its state: in its own data directory, or in an etcd that servers may share.

import { readFileSync } from 'node:fs'
import { join, resolve } from 'node:path'
import { type Log, messageOf, SampanError } from '#base'
import { openEmbeddedStore, type Store } from '#store'
import type { EtcdTarget } from '#store/etcd'
import type { Cluster } from './cluster.ts'

/** An etcd as the command line names it; files are absolute paths. */
export interface Datastore {
  readonly endpoints: readonly string[]
  readonly caFile?: string
  readonly certFile?: string
  readonly keyFile?: string
}

/** What the command line says of the datastore. */
export interface DatastoreFlags {
  datastoreEndpoints?: string
  datastoreCafile?: string
  datastoreCertfile?: string
  datastoreKeyfile?: string
}

/** Reads the flags; undefined for the embedded store. Fails with BadDatastore. */
export function datastoreOf(flags: DatastoreFlags): Datastore | undefined {
  const { datastoreEndpoints, datastoreCafile, datastoreCertfile, datastoreKeyfile } = flags
  const bad = (why: string) => new SampanError('BadDatastore', `Cannot use the datastore: ${why}`)
  if (!datastoreEndpoints) {
    if (datastoreCafile || datastoreCertfile || datastoreKeyfile)
      throw bad('its certificates are given but not --datastore-endpoints')
    return undefined
  }
  const endpoints = datastoreEndpoints.split(',').map((e) => e.trim())
  for (const endpoint of endpoints) {
    const url = URL.parse(endpoint)
    if (!url || !/^https?:$/.test(url.protocol))
      throw bad(`--datastore-endpoints "${endpoint}" is not a URL such as https://10.0.0.1:2379`)
    if (url.protocol === 'http:' && !/^(127\.|localhost$|\[::1\])/.test(url.hostname))
      throw bad(`--datastore-endpoints "${endpoint}" is not encrypted; use https beyond this machine`)
  }
  if (Boolean(datastoreCertfile) !== Boolean(datastoreKeyfile))
    throw bad('--datastore-certfile and --datastore-keyfile belong together')
  return {
    endpoints,
    ...(datastoreCafile ? { caFile: resolve(datastoreCafile) } : {}),
    ...(datastoreCertfile ? { certFile: resolve(datastoreCertfile) } : {}),
    ...(datastoreKeyfile ? { keyFile: resolve(datastoreKeyfile) } : {}),
  }
}

function targetOf({ endpoints, caFile, certFile, keyFile }: Datastore): EtcdTarget {
  const read = (file: string) => {
    try {
      return readFileSync(file, 'utf8')
    } catch (error) {
      throw new SampanError('BadDatastore', `Cannot use the datastore: ${messageOf(error)}`)
    }
  }
  return {
    endpoints,
    tls: {
      ...(caFile ? { ca: read(caFile) } : {}),
      ...(certFile ? { cert: read(certFile) } : {}),
      ...(keyFile ? { key: read(keyFile) } : {}),
    },
  }
}

/** The folder of the embedded store. */
export const storeDir = (cluster: Cluster) => join(cluster.dataDir, 'store')

/** Opens the store of a cluster. */
export async function openStore(cluster: Cluster, log: Log): Promise<Store> {
  const warn = (message: string) => log.warn(message)
  if (!cluster.datastore) return openEmbeddedStore(storeDir(cluster), { warn })
  // Most clusters never load it.
  const { openEtcdStore } = await import('#store/etcd')
  return openEtcdStore({ ...targetOf(cluster.datastore), warn })
}
