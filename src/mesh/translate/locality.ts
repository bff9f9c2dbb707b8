// Near endpoints before far ones: localities, priorities and weights of a cluster's endpoints. Pure
// (istio.io, "Locality Load Balancing"; envoyproxy.io, "Priority levels").

import type { Json, KubeObject } from '#api'
import type { Message } from '#wire'
import type { MeshEndpoint } from '../model/endpoints.ts'
import { HOSTNAME, NETWORK, narrowFirst, preferredLabels, REGION, SUBZONE, ZONE } from '../model/topology.ts'

/** Endpoints of one locality that are used at one priority. */
export interface LocalityGroup {
  readonly locality: string
  readonly priority: number
  readonly weight: number
  readonly endpoints: readonly MeshEndpoint[]
}

/** Who balances: where it is and what labels it has. */
export interface LocalityClient {
  readonly locality: string
  readonly labels: Readonly<Record<string, string>>
  readonly nodeName?: string
}

/** What is near counts, and how: as Istio's LocalityLoadBalancerSetting or its ZoneAwareLoadBalancerSetting says. */
export interface LocalityPolicy {
  readonly setting: Json
  /** Regions come one after the other; how zones share is the proxy's to find out. */
  readonly zoneAware: boolean
  /** Whether what is far is used where what is near fails. */
  readonly failsOver: boolean
}

/** What a mesh says where neither a rule nor the service does. */
export interface MeshLocality {
  readonly localityLbSetting: Json
  readonly zoneAwareLbSetting: Json | undefined
}

/** The policy that counts: the rule's, else the service's, else the mesh's; undefined when it does nothing here. */
export function localityPolicy(policy: Json, service: KubeObject, mesh: MeshLocality): LocalityPolicy | undefined {
  const { zoneAwareLbSetting, localityLbSetting }: Json = policy.loadBalancer ?? {}
  // Without ejection nobody would notice that the near ones fail.
  const ejects = Boolean(policy.outlierDetection)
  if (zoneAwareLbSetting) return zoned(zoneAwareLbSetting)
  if (localityLbSetting) return located(localityLbSetting, ejects)
  const failoverPriority = preferredLabels(service)
  if (failoverPriority) return located({ failoverPriority }, true)
  return mesh.zoneAwareLbSetting ? zoned(mesh.zoneAwareLbSetting) : located(mesh.localityLbSetting, ejects)
}

const zoned = (setting: Json): LocalityPolicy => ({ setting, zoneAware: true, failsOver: setting.enabled !== false })

function located(setting: Json, failsOver: boolean): LocalityPolicy | undefined {
  if (setting.enabled === false || !(failsOver || setting.distribute?.length)) return undefined
  return { setting, zoneAware: false, failsOver }
}

/** The part of a cluster's common_lb_config that belongs to it. */
export function localityOptions(policy: LocalityPolicy | undefined): Message | undefined {
  if (!policy) return undefined
  const { enabled, minClusterSize, distribute, failover, failoverPriority }: Json = policy.setting
  if (policy.zoneAware)
    return {
      zone_aware_lb_config: {
        ...(enabled === false ? { routing_enabled: { value: 0 } } : {}),
        ...(minClusterSize === undefined ? {} : { min_cluster_size: { value: Number(minClusterSize) } }),
      },
    }
  // Weights would have a say in policies such as least request: only where somebody speaks of localities.
  return distribute?.length || failover?.length || failoverPriority?.length
    ? { locality_weighted_lb_config: {} }
    : undefined
}

/** Groups of endpoints by locality, with priorities or weights as the policy says. */
export function localityGroups(
  endpoints: readonly MeshEndpoint[],
  policy: LocalityPolicy | undefined,
  client: LocalityClient,
): LocalityGroup[] {
  const distribute = (policy?.setting.distribute as Json[] | undefined)?.find((d) =>
    within(d.from ?? '', client.locality),
  )
  const priorityOf = priorities(policy, client)
  const groups = new Map<string, { locality: string; priority: number; endpoints: MeshEndpoint[] }>()
  for (const e of endpoints) {
    const priority = priorityOf(e)
    const key = `${priority} ${e.locality}`
    const group = groups.get(key) ?? { locality: e.locality, priority, endpoints: [] }
    groups.set(key, group)
    group.endpoints.push(e)
  }
  const all = [...groups.values()].map((g) => ({ ...g, weight: total(g.endpoints) }))
  return compact(distribute ? shared(all, distribute.to ?? {}) : all)
}

/** The priority of an endpoint as its policy has it: labels first, distance among those that are alike in them. */
function priorities(policy: LocalityPolicy | undefined, client: LocalityClient): (e: MeshEndpoint) => number {
  if (!policy?.failsOver || policy.setting.distribute?.length) return () => 0
  const { failoverPriority = [], failover = [] } = policy.setting
  const labels = failoverPriority.length
    ? (e: MeshEndpoint) => byLabels(e, failoverPriority, client)
    : (_: MeshEndpoint) => 0
  // Who does not know where it is has nothing near.
  if (!client.locality) return labels
  if (policy.zoneAware) return (e) => 3 * labels(e) + byRegion(e.locality, client.locality, failover)
  if (failoverPriority.length && !failover.length) return labels
  return (e) => 5 * labels(e) + byDistance(e.locality, client.locality, failover)
}

const total = (endpoints: readonly MeshEndpoint[]) => endpoints.reduce((sum, e) => sum + e.weight, 0)

/** True when a locality is inside a pattern: "region/*", "region/zone/*", "region". */
function within(pattern: string, locality: string): boolean {
  const parts = locality.split('/')
  const wanted = pattern.split('/')
  return wanted.every((w, i) => w === '*' || w === (parts[i] ?? ''))
}

/** Weights in percent by destination; localities that get none are left out. */
function shared(groups: readonly LocalityGroup[], to: Readonly<Record<string, number>>): LocalityGroup[] {
  const left = new Set(groups)
  // A wildcard is for the rest.
  const patterns = Object.entries(to).sort(([a], [b]) => narrowFirst(a, b))
  return patterns.flatMap(([pattern, percent]) => {
    const here = [...left].filter((g) => within(pattern, g.locality))
    for (const g of here) left.delete(g)
    const sum = here.reduce((n, g) => n + total(g.endpoints), 0)
    return here
      .map((g) => ({ ...g, weight: Math.round((percent * 100 * total(g.endpoints)) / sum) }))
      .filter((g) => g.weight > 0)
  })
}

/** 0 in the same subzone, 1 zone, 2 region, 3 the region to fail over to, 4 elsewhere. */
function byDistance(locality: string, own: string, failover: readonly Json[]): number {
  const [region = '', zone = '', sub = ''] = locality.split('/')
  const [ownRegion = '', ownZone = '', ownSub = ''] = own.split('/')
  if (region === ownRegion) return zone !== ownZone ? 2 : sub !== ownSub ? 1 : 0
  const next = failover.find((f) => f.from === ownRegion)?.to
  return next === undefined || next === region ? 3 : 4
}

/** 0 in the same region, 1 in the one to fail over to, 2 elsewhere. */
function byRegion(locality: string, own: string, failover: readonly Json[]): number {
  const distance = byDistance(locality, own, failover)
  if (distance < 3) return 0
  return distance === 3 && failover.some((f) => f.from === own.split('/')[0]) ? 1 : 2
}

const TOPOLOGY: Readonly<Record<string, number>> = { [REGION]: 0, [ZONE]: 1, [SUBZONE]: 2 }

/**
 * How many of the labels, in their order, do not agree: the first that differs decides. Where the first is the network,
 * it comes on top, and the others count within other networks too.
 */
function byLabels(endpoint: MeshEndpoint, keys: readonly string[], client: LocalityClient): number {
  const value = (key: string, labels: Readonly<Record<string, string>>, locality: string) =>
    labels[key] ?? (TOPOLOGY[key] === undefined ? undefined : locality.split('/')[TOPOLOGY[key]]) ?? ''
  const own = (key: string) =>
    (key === NETWORK && endpoint.network) ||
    (key === HOSTNAME && endpoint.node) ||
    value(key, endpoint.labels, endpoint.locality)
  const differs = (text: string) => {
    const [key = '', given] = text.split('=')
    const wanted = given ?? ((key === HOSTNAME && client.nodeName) || value(key, client.labels, client.locality))
    return own(key) !== wanted
  }
  const abroad = keys[0] === NETWORK && differs(keys[0])
  const first = keys.findIndex((text, i) => !(abroad && i === 0) && differs(text))
  return (first < 0 ? 0 : keys.length - first) + (abroad ? keys.length : 0)
}

/** Priorities without gaps, from 0, in order. */
function compact(groups: readonly LocalityGroup[]): LocalityGroup[] {
  const used = [...new Set(groups.map((g) => g.priority))].sort((a, b) => a - b)
  return groups
    .map((g) => ({ ...g, priority: used.indexOf(g.priority) }))
    .sort((a, b) => a.priority - b.priority || (a.locality < b.locality ? -1 : 1))
}

/** A Locality message. */
export function localityMessage(locality: string): Message {
  const [region = '', zone = '', sub_zone = ''] = locality.split('/')
  return { ...(region ? { region } : {}), ...(zone ? { zone } : {}), ...(sub_zone ? { sub_zone } : {}) }
}
