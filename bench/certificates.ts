// Certificates of a server and its clients, as files in a folder.

import { writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { testKeys } from '../test/kit/keys.ts'

/** Writes the certificates that server, client and load share. */
export async function writeCertificates(folder: string): Promise<void> {
  for (const [name, pair] of Object.entries(await testKeys())) {
    writeFileSync(join(folder, `${name}.crt`), pair.cert)
    writeFileSync(join(folder, `${name}.key`), pair.key)
  }
}
