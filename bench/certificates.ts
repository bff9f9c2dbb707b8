// Certificates of a server and its clients, as files in a folder.

import { writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { createAuthority, issue } from '#wire'

/** Writes the certificates that server, client and load share. */
export async function writeCertificates(folder: string): Promise<void> {
  const ca = await createAuthority('bench')
  const server = await issue(ca, {
    commonName: 'kube-apiserver',
    usage: 'server',
    ips: ['127.0.0.1'],
    dnsNames: ['localhost'],
  })
  const admin = await issue(ca, { commonName: 'admin', organizations: ['system:masters'], usage: 'client' })
  const other = await issue(ca, { commonName: 'other', organizations: ['system:masters'], usage: 'client' })
  for (const [name, pair] of Object.entries({ ca, server, admin, other })) {
    writeFileSync(join(folder, `${name}.crt`), pair.cert)
    writeFileSync(join(folder, `${name}.key`), pair.key)
  }
}
