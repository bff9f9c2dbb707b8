// Versions: Sampan's own, and the Kubernetes release whose API it serves.

import { readFileSync } from 'node:fs'

const manifest = JSON.parse(readFileSync(new URL('../../package.json', import.meta.url), 'utf8')) as { version: string }

export const VERSION: string = manifest.version
export const KUBERNETES_VERSION = 'v1.36.0'

/** The answer to /version. */
export const VERSION_INFO = {
  major: '1',
  minor: '36',
  gitVersion: `${KUBERNETES_VERSION}+sampan${VERSION}`,
  gitCommit: '',
  gitTreeState: 'clean',
  buildDate: '1970-01-01T00:00:00Z',
  goVersion: '',
  compiler: `node${process.versions.node}`,
  platform: `linux/${process.arch === 'x64' ? 'amd64' : process.arch}`,
}
