// `sampan mesh status`: how far every proxy has caught up, and what proxies have refused.

import { SampanError } from '#base'
import { getJson, readAccess } from './kube-access.ts'

const ISTIOD = '/api/v1/namespaces/istio-system/services/http:istiod:15014/proxy'
/** Types of resources as they are counted, and as refusals name them. */
const TYPES = {
  cluster: 'Cluster',
  listener: 'Listener',
  endpoint: 'ClusterLoadAssignment',
  route: 'RouteConfiguration',
} as const

export interface ProxyStatus {
  readonly name: string
  readonly cluster: string
  /** SYNCED, STALE, NOT SENT or REFUSED, for clusters, listeners, endpoints and routes. */
  readonly states: readonly string[]
}

export interface MeshStatus {
  readonly proxies: readonly ProxyStatus[]
  /** Reasons of refusals by "proxy type". */
  readonly refused: Readonly<Record<string, string>>
}

/** The status of the mesh of a cluster. Fails with SampanError when its control plane does not answer. */
export async function meshStatus(kubeconfig: string, context?: string): Promise<MeshStatus> {
  const access = readAccess(kubeconfig, context)
  const [synced, refused] = await Promise.all([
    getJson(access, `${ISTIOD}/debug/syncz`) as Promise<Record<string, string>[] | undefined>,
    getJson(access, `${ISTIOD}/debug/nacks`) as Promise<Record<string, string> | undefined>,
  ])
  if (!synced) throw new SampanError('NoMesh', 'The control plane of the mesh does not answer; is the cluster up?')
  const proxies = synced
    .map((p) => ({
      name: p.proxy ?? '',
      cluster: p.cluster_id ?? '',
      states: Object.entries(TYPES).map(([type, name]) => {
        const [sent, acked] = [p[`${type}_sent`], p[`${type}_acked`]]
        return refused?.[`${p.proxy} ${name}`] ? 'REFUSED' : !sent ? 'NOT SENT' : sent === acked ? 'SYNCED' : 'STALE'
      }),
    }))
    .sort((a, b) => (a.name < b.name ? -1 : 1))
  return { proxies, refused: refused ?? {} }
}
