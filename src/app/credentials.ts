// The cluster's own keys: made at the first start, kept in the data directory.

import { randomBytes } from 'node:crypto'
import { closeSync, existsSync, fsyncSync, mkdirSync, openSync, readFileSync, renameSync, writeFileSync } from 'node:fs'
import { dirname, join } from 'node:path'
import { createAuthority, issue, type KeyPair } from '#wire'
import type { Cluster } from './cluster.ts'

export interface Credentials {
  /** Signs the server's and the clients' certificates. */
  readonly ca: KeyPair
  readonly server: KeyPair
  readonly admin: KeyPair
  /** Signs service-account tokens. */
  readonly tokens: KeyPair
  /** The mesh's certificate authority and its server certificate. */
  readonly meshCa: KeyPair
  readonly mesh: KeyPair
  /** Seals Secrets in the store: 32 bytes. */
  readonly encryptionKey: Uint8Array
}

/** Loads the credentials, making what is missing. Files are readable by their owner only. */
export async function loadCredentials(cluster: Cluster): Promise<Credentials> {
  const directory = join(cluster.dataDir, 'pki')
  mkdirSync(directory, { recursive: true, mode: 0o700 })
  const load = async (name: string, make: () => Promise<KeyPair>): Promise<KeyPair> => {
    const [certFile, keyFile] = [join(directory, `${name}.crt`), join(directory, `${name}.key`)]
    if (existsSync(certFile) && existsSync(keyFile))
      return { cert: readFileSync(certFile, 'utf8'), key: readFileSync(keyFile, 'utf8') }
    const pair = await make()
    writeFileSync(keyFile, pair.key, { mode: 0o600 })
    writeFileSync(certFile, pair.cert, { mode: 0o644 })
    return pair
  }
  const [ca, tokens, meshCa] = await Promise.all([
    load('ca', () => createAuthority(`sampan-${cluster.name}`)),
    load('tokens', () => createAuthority('service-account-tokens')),
    load('mesh-ca', () => createAuthority('cluster.local')),
  ])
  const [server, admin, mesh] = await Promise.all([
    load('server', () =>
      issue(ca, {
        commonName: 'kube-apiserver',
        usage: 'server',
        days: 3650,
        dnsNames: [
          'localhost',
          'kubernetes',
          'kubernetes.default',
          'kubernetes.default.svc',
          'kubernetes.default.svc.cluster.local',
        ],
        ips: ['127.0.0.1', '::1', cluster.kubernetesIp, cluster.gatewayIp],
      }),
    ),
    load('admin', () =>
      issue(ca, { commonName: 'kubernetes-admin', organizations: ['system:masters'], usage: 'client', days: 3650 }),
    ),
    load('mesh', () =>
      issue(meshCa, {
        commonName: 'istiod',
        usage: 'server',
        days: 3650,
        dnsNames: ['istiod.istio-system.svc', 'istiod.istio-system.svc.cluster.local', 'istiod'],
        ips: [cluster.gatewayIp],
      }),
    ),
  ])
  return { ca, server, admin, tokens, meshCa, mesh, encryptionKey: loadKey(join(directory, 'encryption.key')) }
}

/** The key in a file, made when there is none. It is on the disk before anything is sealed with it. */
function loadKey(file: string): Uint8Array {
  if (!existsSync(file)) {
    const draft = `${file}.new`
    writeFileSync(draft, `${randomBytes(32).toString('base64')}\n`, { mode: 0o600, flush: true })
    renameSync(draft, file)
    const folder = openSync(dirname(file), 'r')
    fsyncSync(folder)
    closeSync(folder)
  }
  return Buffer.from(readFileSync(file, 'utf8').trim(), 'base64')
}
