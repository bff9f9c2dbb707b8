// WorkloadEntries of workloads outside the cluster: as their proxies register them, and whether they are well. Pure
// (istio.io, "Virtual Machine Architecture"; names and formats as Pilot's).

import type { Json, KubeInput, KubeObject } from '#api'
import type { ProxyIdentity } from '../xds/identity.ts'

/** Annotations of entries that proxies have registered or are looked after by. */
export const REGISTERED_BY = 'istio.io/autoRegistrationGroup'
export const CONTROLLER = 'istio.io/workloadController'
export const CONNECTED_AT = 'istio.io/connectedAt'
export const DISCONNECTED_AT = 'istio.io/disconnectedAt'
const HEALTH_CHECKED = 'proxy.istio.io/health-checks-enabled'
/** The label of a locality, which stands in a field of its own. */
const LOCALITY = 'istio-locality'
const HEALTHY = 'Healthy'
/** A name in Kubernetes has so many characters at most. */
const MOST = 253

/** Labels of an entry, by which services find it. */
export const labelsOf = (entry: KubeObject): Record<string, string> => ({
  ...entry.metadata.labels,
  ...entry.spec?.labels,
})

/** Whether a proxy is to tell how the workload of an entry is. */
export const isHealthChecked = (entry: KubeInput): boolean => HEALTH_CHECKED in (entry.metadata.annotations ?? {})

const conditionsOf = (entry: KubeObject): Json[] => entry.status?.conditions ?? []

export const hasHealth = (entry: KubeObject): boolean => conditionsOf(entry).some((c) => c.type === HEALTHY)

/** Whether requests may go to the workload of an entry: one that is looked after must have been said to be well. */
export const isHealthy = (entry: KubeObject): boolean =>
  entry.metadata.annotations?.[HEALTH_CHECKED]?.toLowerCase() !== 'true' ||
  conditionsOf(entry).some((c) => c.type === HEALTHY && c.status === 'True')

/** What a proxy says of its workload. */
export interface Health {
  readonly healthy: boolean
  readonly message: string
  /** When it said so, RFC 3339. */
  readonly at: string
}

/** The status of an entry with what its proxy said, or without it; undefined when it says so already. */
export function statusWith(entry: KubeObject, health: Health | undefined): Json | undefined {
  const known = conditionsOf(entry).find((c) => c.type === HEALTHY)
  const status = health?.healthy ? 'True' : 'False'
  if (health ? known?.status === status && (known.message ?? '') === health.message : !known) return undefined
  const condition = health && {
    type: HEALTHY,
    status,
    lastProbeTime: health.at,
    lastTransitionTime: health.at,
    ...(health.message ? { message: health.message } : {}),
  }
  const others = conditionsOf(entry).filter((c) => c.type !== HEALTHY)
  return { ...entry.status, conditions: condition ? [...others, condition] : others }
}

const textOf = (proxy: ProxyIdentity, key: string): string => {
  const value = proxy.metadata[key]
  return typeof value === 'string' ? value : ''
}

/** The WorkloadGroup that a proxy registers with; "" for one that does not. */
export const groupOf = (proxy: ProxyIdentity): string => textOf(proxy, 'AUTO_REGISTER_GROUP')

/** The name of the entry that a proxy stands for: one of its group, or the one it names; "" for neither. */
export function entryName(proxy: ProxyIdentity): string {
  const group = groupOf(proxy)
  if (!group) return textOf(proxy, 'WORKLOAD_ENTRY')
  const network = textOf(proxy, 'NETWORK')
  return [group, proxy.ip.replaceAll(':', '-'), ...(network ? [network] : [])].join('-').slice(-MOST)
}

/** The entry of a proxy that registers with a group. */
export function entryFromGroup(group: KubeObject, proxy: ProxyIdentity): KubeInput {
  const { template = {}, metadata = {} }: Json = group.spec ?? {}
  const { [LOCALITY]: _, ...own } = (proxy.metadata.LABELS ?? {}) as Record<string, string>
  const labels = { ...template.labels, ...metadata.labels, ...own }
  const network = textOf(proxy, 'NETWORK')
  const proxyConfig = (proxy.metadata.PROXY_CONFIG ?? {}) as Json
  return {
    apiVersion: 'networking.istio.io/v1',
    kind: 'WorkloadEntry',
    metadata: {
      name: entryName(proxy),
      namespace: proxy.namespace,
      labels,
      annotations: {
        [REGISTERED_BY]: group.metadata.name,
        ...metadata.annotations,
        ...(proxyConfig.readinessProbe ? { [HEALTH_CHECKED]: 'true' } : {}),
      },
      ownerReferences: [
        {
          apiVersion: group.apiVersion,
          kind: 'WorkloadGroup',
          name: group.metadata.name,
          uid: group.metadata.uid,
          controller: true,
        },
      ],
    },
    spec: {
      ...template,
      address: proxy.ip,
      labels,
      ...(network ? { network } : {}),
      ...(proxy.locality ? { locality: proxy.locality } : {}),
    },
  }
}

/** Why a proxy may not stand for an entry; undefined when it may. */
export function identityProblem(entry: KubeInput, proxy: ProxyIdentity): string | undefined {
  const [, , namespace, account] = proxy.user.name.split(':')
  if (proxy.user.peer !== undefined || !account) return 'registration of WorkloadEntry requires a verified identity'
  if (namespace !== entry.metadata.namespace)
    return `registration of WorkloadEntry namespace mismatch: "${namespace}" vs "${entry.metadata.namespace}"`
  const wanted = (entry.spec as Json)?.serviceAccount
  return wanted && wanted !== account
    ? `registration of WorkloadEntry service account mismatch: "${account}" vs "${wanted}"`
    : undefined
}
