// The key pair that a Secret bears. Pure.

import type { KubeObject } from '#api'

/** A certificate with its key, and the authority that stands beside it; all in base64, as Secrets bear them. */
export interface KeyPair {
  readonly chain: string
  readonly key: string
  readonly ca?: string
}

/** A key pair as a Secret bears it: of type kubernetes.io/tls, or Istio's generic "cert", "key", "cacert". */
export function keyPair(secret: KubeObject | undefined): KeyPair | undefined {
  const { 'tls.crt': cert, 'tls.key': key, 'ca.crt': ca, cert: generic, key: genericKey, cacert } = secret?.data ?? {}
  const chain = cert ?? generic
  const privateKey = key ?? genericKey
  if (!chain || !privateKey) return undefined
  const authority = ca ?? cacert
  return { chain, key: privateKey, ...(authority ? { ca: authority } : {}) }
}
