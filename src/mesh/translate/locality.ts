// Near endpoints before far ones: localities, priorities and weights of a cluster's endpoints. Pure
// (istio.io, "Locality Load Balancing"; envoyproxy.io, "Priority levels").

import type { Json } from '#api'
import type { Message } from '#wire'
import type { MeshEndpoint } from '../model/endpoints.ts'

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
}

/** The setting that counts: the rule's, else the mesh's; undefined when it is off or does nothing here. */
export function localitySetting(policy: Json, mesh: Json): Json | undefined {
  const setting: Json | undefined = policy.loadBalancer?.localityLbSetting ?? mesh
  if (!setting || setting.enabled === false) return undefined
  if (setting.distribute?.length) return setting
  // Without ejection nobody would notice that the near ones fail.
  return policy.outlierDetection ? setting : undefined
}

/** Groups of endpoints by locality, with priorities or weights as the setting says. */
export function localityGroups(
  endpoints: readonly MeshEndpoint[],
  setting: Json | undefined,
  client: LocalityClient,
): LocalityGroup[] {
  const distribute = (setting?.distribute as Json[] | undefined)?.find((d) => within(d.from ?? '', client.locality))
  const priorityOf =
    !setting || setting.distribute?.length || !client.locality
      ? () => 0
      : setting.failoverPriority?.length
        ? (e: MeshEndpoint) => byLabels(e, setting.failoverPriority, client)
        : (e: MeshEndpoint) => byDistance(e.locality, client.locality, setting.failover)
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

const total = (endpoints: readonly MeshEndpoint[]) => endpoints.reduce((sum, e) => sum + e.weight, 0)

/** True when a locality is inside a pattern: "region/*", "region/zone/*", "region". */
function within(pattern: string, locality: string): boolean {
  const parts = locality.split('/')
  const wanted = pattern.split('/')
  return wanted.every((w, i) => w === '*' || w === (parts[i] ?? ''))
}

/** Weights in percent by destination; localities that get none are left out. */
function shared(groups: readonly LocalityGroup[], to: Readonly<Record<string, number>>): LocalityGroup[] {
  return Object.entries(to).flatMap(([pattern, percent]) => {
    const here = groups.filter((g) => within(pattern, g.locality))
    const sum = here.reduce((n, g) => n + total(g.endpoints), 0)
    return here
      .map((g) => ({ ...g, weight: Math.round((percent * 100 * total(g.endpoints)) / sum) }))
      .filter((g) => g.weight > 0)
  })
}

/** 0 in the same subzone, 1 zone, 2 region, 3 the region to fail over to, 4 elsewhere. */
function byDistance(locality: string, own: string, failover: readonly Json[] | undefined): number {
  const [region = '', zone = '', sub = ''] = locality.split('/')
  const [ownRegion = '', ownZone = '', ownSub = ''] = own.split('/')
  if (region === ownRegion) return zone !== ownZone ? 2 : sub !== ownSub ? 1 : 0
  const next = failover?.find((f) => f.from === ownRegion)?.to
  return next === undefined || next === region ? 3 : 4
}

const TOPOLOGY: Readonly<Record<string, number>> = {
  'topology.kubernetes.io/region': 0,
  'topology.kubernetes.io/zone': 1,
  'topology.istio.io/subzone': 2,
}

/** How many of the labels, in their order, do not agree: the first that differs decides. */
function byLabels(endpoint: MeshEndpoint, keys: readonly string[], client: LocalityClient): number {
  const value = (key: string, labels: Readonly<Record<string, string>>, locality: string) =>
    TOPOLOGY[key] === undefined ? labels[key] : (labels[key] ?? locality.split('/')[TOPOLOGY[key]])
  const first = keys.findIndex((text) => {
    const [key = '', given] = text.split('=')
    return value(key, endpoint.labels, endpoint.locality) !== (given ?? value(key, client.labels, client.locality))
  })
  return first < 0 ? 0 : keys.length - first
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
