// The keys of a server and its clients, made once for all that a process starts.

import { createAuthority, issue, type KeyPair } from '#wire'

export interface TestKeys {
  readonly ca: KeyPair
  readonly server: KeyPair
  /** A member of system:masters. */
  readonly admin: KeyPair
  /** Another one. */
  readonly other: KeyPair
}

let keys: Promise<TestKeys> | undefined

/** The keys of this process. */
export function testKeys(): Promise<TestKeys> {
  keys ??= makeKeys()
  return keys
}

async function makeKeys(): Promise<TestKeys> {
  const ca = await createAuthority('test')
  const server = await issue(ca, {
    commonName: 'kube-apiserver',
    usage: 'server',
    ips: ['127.0.0.1'],
    dnsNames: ['localhost'],
  })
  const client = (commonName: string) => issue(ca, { commonName, organizations: ['system:masters'], usage: 'client' })
  return { ca, server, admin: await client('admin'), other: await client('other') }
}
