// Backup and restore of a cluster: its state, and the keys that belong to it, in one file.

import { existsSync, mkdirSync, readdirSync, readFileSync, renameSync, writeFileSync } from 'node:fs'
import { dirname, join, resolve } from 'node:path'
import { SampanError } from '#base'
import { type BackupSummary, restoreBackup, writeBackup } from '#store'
import type { Cluster } from './cluster.ts'
import { storeDir } from './datastore.ts'

const pkiDir = (cluster: Cluster) => join(cluster.dataDir, 'pki')

function refuseEtcd(cluster: Cluster, verb: string): void {
  if (cluster.datastore)
    throw new SampanError(
      'InEtcd',
      `Cannot ${verb} the cluster "${cluster.name}": its state is in etcd (${cluster.datastore.endpoints.join(',')}); use etcdctl snapshot, and keep ${pkiDir(cluster)} with it`,
    )
}

/** Writes a backup; the cluster may be running. */
export async function backup(cluster: Cluster, file: string): Promise<BackupSummary> {
  refuseEtcd(cluster, 'back up')
  const folder = dirname(resolve(file))
  if (!existsSync(folder)) throw new SampanError('NoFolder', `Cannot write ${file}: there is no folder ${folder}`)
  const pki = pkiDir(cluster)
  const keys = existsSync(pki) ? readdirSync(pki).filter((name) => /\.(crt|key)$/.test(name)) : []
  return writeBackup(
    storeDir(cluster),
    resolve(file),
    new Map(keys.map((name) => [name, readFileSync(join(pki, name))])),
  )
}

/** Puts a backup in the place of a cluster's state, which must not be running. */
export async function restore(cluster: Cluster, file: string): Promise<BackupSummary> {
  refuseEtcd(cluster, 'restore')
  if (!existsSync(file)) throw new SampanError('NoFile', `Cannot restore ${file}: there is no such file`)
  const { files, ...summary } = await restoreBackup(resolve(file), storeDir(cluster))
  mkdirSync(pkiDir(cluster), { recursive: true, mode: 0o700 })
  for (const [name, value] of files) {
    if (!/^[\w-]+\.(crt|key)$/.test(name)) continue
    const path = join(pkiDir(cluster), name)
    writeFileSync(`${path}.new`, value, { mode: name.endsWith('.key') ? 0o600 : 0o644, flush: true })
    renameSync(`${path}.new`, path)
  }
  return summary
}
