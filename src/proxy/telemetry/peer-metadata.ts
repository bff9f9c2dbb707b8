// What sidecars tell each other about their workloads, in the headers Istio uses.

import { fromStruct, Struct, toStruct } from '#api/xds'
import { type LocalWorkload, type Peer, UNKNOWN_PEER } from './peer.ts'

const METADATA = 'x-envoy-peer-metadata'
const ID = 'x-envoy-peer-metadata-id'

export class PeerMetadata {
  /** Fields to add to requests that leave. */
  readonly own: readonly string[]
  /** The cluster that this proxy is part of: "canonical name.namespace". */
  readonly cluster: string
  readonly #known = new Map<string, Peer>()

  constructor(local: LocalWorkload, nodeId: string) {
    this.cluster = `${local.canonicalName}.${local.namespace}`
    const metadata = {
      WORKLOAD_NAME: local.workload,
      NAMESPACE: local.namespace,
      CLUSTER_ID: 'Kubernetes',
      LABELS: {
        app: local.app,
        version: local.version,
        'service.istio.io/canonical-name': local.canonicalName,
        'service.istio.io/canonical-revision': local.canonicalRevision,
      },
    }
    this.own = [METADATA, Struct.encode(toStruct(metadata)).toString('base64'), ID, nodeId]
  }

  /** Reads and removes the fields of a peer; the application does not see them. */
  take(fields: string[]): Peer {
    let text: string | undefined
    for (let i = 0; i < fields.length; )
      if (fields[i] === METADATA || fields[i] === ID) {
        if (fields[i] === METADATA) text = fields[i + 1]
        fields.splice(i, 2)
      } else i += 2
    return text === undefined ? UNKNOWN_PEER : this.#decode(text)
  }

  #decode(text: string): Peer {
    const known = this.#known.get(text)
    if (known) return known
    let peer = UNKNOWN_PEER
    try {
      const m = fromStruct(Struct.decode(Buffer.from(text, 'base64'))) as {
        WORKLOAD_NAME?: string
        NAMESPACE?: string
        CLUSTER_ID?: string
        LABELS?: Record<string, string>
      }
      const labels = m.LABELS ?? {}
      peer = {
        workload: m.WORKLOAD_NAME ?? 'unknown',
        namespace: m.NAMESPACE ?? 'unknown',
        cluster: m.CLUSTER_ID ?? 'unknown',
        app: labels.app ?? 'unknown',
        version: labels.version ?? 'unknown',
        canonicalName: labels['service.istio.io/canonical-name'] ?? 'unknown',
        canonicalRevision: labels['service.istio.io/canonical-revision'] ?? 'latest',
      }
    } catch {
      // Somebody else's header: the peer stays unknown.
    }
    if (this.#known.size > 1000) this.#known.clear()
    this.#known.set(text, peer)
    return peer
  }
}
