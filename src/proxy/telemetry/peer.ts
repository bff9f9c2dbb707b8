// Workloads on both sides of a connection, as metrics name them.

/** Who this proxy stands for. */
export interface LocalWorkload {
  readonly workload: string
  readonly namespace: string
  readonly canonicalName: string
  readonly canonicalRevision: string
  readonly app: string
  readonly version: string
}

/** "unknown" where nothing is known. */
export interface Peer extends LocalWorkload {
  readonly cluster: string
}

export const UNKNOWN_PEER: Peer = {
  workload: 'unknown',
  namespace: 'unknown',
  canonicalName: 'unknown',
  canonicalRevision: 'unknown',
  app: 'unknown',
  version: 'unknown',
  cluster: 'unknown',
}

const peers = new Map<string, Peer>()

/** Reads "workload;namespace;canonical name;revision;cluster". */
export function parseWorkload(text: string): Peer {
  if (!text) return UNKNOWN_PEER
  const known = peers.get(text)
  if (known) return known
  const [workload = '', namespace = '', canonicalName = '', canonicalRevision = '', cluster = ''] = text.split(';')
  const peer: Peer = {
    workload: workload || 'unknown',
    namespace: namespace || 'unknown',
    canonicalName: canonicalName || 'unknown',
    canonicalRevision: canonicalRevision || 'unknown',
    app: canonicalName || 'unknown',
    version: canonicalRevision || 'unknown',
    cluster: cluster || 'unknown',
  }
  if (peers.size > 1000) peers.clear()
  peers.set(text, peer)
  return peer
}
