// kubeconfig files: writes a cluster's entry, leaves everything else as it is.

import { existsSync, mkdirSync, readFileSync, renameSync, writeFileSync } from 'node:fs'
import { dirname } from 'node:path'
import { parse, stringify } from 'yaml'
import { SampanError } from '#base'
import type { Cluster } from './cluster.ts'
import type { Credentials } from './credentials.ts'

interface Named {
  name: string
  [key: string]: unknown
}

interface Kubeconfig {
  apiVersion: 'v1'
  kind: 'Config'
  'current-context'?: string
  clusters: Named[]
  users: Named[]
  contexts: Named[]
  [key: string]: unknown
}

/** The name of a cluster's context. */
export function contextName(cluster: string): string {
  return cluster === 'sampan' ? 'sampan' : `sampan-${cluster}`
}

const base64 = (text: string) => Buffer.from(text).toString('base64')

function read(file: string): Kubeconfig {
  const empty: Kubeconfig = { apiVersion: 'v1', kind: 'Config', clusters: [], users: [], contexts: [] }
  if (!existsSync(file)) return empty
  const parsed = (parse(readFileSync(file, 'utf8')) ?? {}) as Partial<Kubeconfig>
  if (typeof parsed !== 'object')
    throw new SampanError(
      'BadKubeconfig',
      `Cannot read ${file}: it is not a kubeconfig; move it away or use --kubeconfig`,
    )
  return {
    ...empty,
    ...parsed,
    clusters: parsed.clusters ?? [],
    users: parsed.users ?? [],
    contexts: parsed.contexts ?? [],
  }
}

function write(file: string, config: Kubeconfig): void {
  mkdirSync(dirname(file), { recursive: true })
  writeFileSync(`${file}.tmp`, stringify(config, { lineWidth: 0 }), { mode: 0o600 })
  renameSync(`${file}.tmp`, file)
}

const without = (list: Named[], name: string) => list.filter((n) => n.name !== name)

/** The kubeconfig of one cluster alone. */
export function kubeconfigOf(cluster: Cluster, credentials: Credentials): Kubeconfig {
  const name = contextName(cluster.name)
  return {
    apiVersion: 'v1',
    kind: 'Config',
    'current-context': name,
    clusters: [
      {
        name,
        cluster: {
          server: `https://127.0.0.1:${cluster.apiPort}`,
          'certificate-authority-data': base64(credentials.ca.cert),
        },
      },
    ],
    users: [
      {
        name,
        user: {
          'client-certificate-data': base64(credentials.admin.cert),
          'client-key-data': base64(credentials.admin.key),
        },
      },
    ],
    contexts: [{ name, context: { cluster: name, user: name } }],
  }
}

/** Puts the cluster into `file` and makes it current. */
export function addToKubeconfig(file: string, cluster: Cluster, credentials: Credentials): void {
  const own = kubeconfigOf(cluster, credentials)
  const name = contextName(cluster.name)
  const config = read(file)
  write(file, {
    ...config,
    'current-context': name,
    clusters: [...without(config.clusters, name), ...own.clusters],
    users: [...without(config.users, name), ...own.users],
    contexts: [...without(config.contexts, name), ...own.contexts],
  })
}

/** Takes the cluster out of `file`, if both exist. */
export function removeFromKubeconfig(file: string, clusterName: string): void {
  if (!existsSync(file)) return
  const name = contextName(clusterName)
  const config = read(file)
  if (!config.contexts.some((c) => c.name === name)) return
  const next: Kubeconfig = {
    ...config,
    clusters: without(config.clusters, name),
    users: without(config.users, name),
    contexts: without(config.contexts, name),
  }
  if (next['current-context'] === name) next['current-context'] = ''
  write(file, next)
}

export function formatKubeconfig(config: Kubeconfig): string {
  return stringify(config, { lineWidth: 0 })
}
