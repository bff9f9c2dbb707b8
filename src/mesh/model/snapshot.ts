// The mesh at one moment: services of all kinds and rules in full, found by host. Made once a change, shared by all proxies.

import type { Json } from '#api'
import { type DestinationRules, indexRules } from './destination-rule.ts'
import { entryServices, kubeService, type MeshService } from './service.ts'
import { HOSTNAME, preferredLabels } from './topology.ts'
import { byAge, type MeshView, type ProxyNode } from './view.ts'
import { type VirtualService, virtualServices } from './virtual-service.ts'

export interface Snapshot {
  readonly view: MeshView
  /** Those of Kubernetes first, each kind oldest first. */
  readonly services: readonly MeshService[]
  readonly byHost: ReadonlyMap<string, readonly MeshService[]>
  /** The same list as before where a namespace has the same services as before. */
  readonly byNamespace: ReadonlyMap<string, readonly MeshService[]>
  readonly virtualServices: readonly VirtualService[]
  readonly destinationRules: DestinationRules
  /** Labels of a proxy by which rules tell it from others. */
  readonly labelKeys: readonly string[]
}

/** `before`: the snapshot of the moment before, if there is one. */
export function createSnapshot(view: MeshView, before?: Snapshot): Snapshot {
  return {
    view,
    ...indexServices(view, before),
    virtualServices: virtualServices(view.virtualServices, view.mesh.defaultVirtualServiceExportTo),
    destinationRules: indexRules(view.destinationRules),
    labelKeys: labelKeys(view),
  }
}

/** What tells a proxy from others, as far as anything depends on it. */
export const distinction = ({ labelKeys }: Snapshot, { labels, nodeName }: ProxyNode): (string | null)[] =>
  labelKeys.map((key) => labels[key] ?? (key === HOSTNAME ? nodeName : undefined) ?? null)

type ServiceIndex = Pick<Snapshot, 'services' | 'byHost' | 'byNamespace'>

function indexServices(view: MeshView, before: Snapshot | undefined): ServiceIndex {
  if (before && same(view.services, before.view.services) && same(view.serviceEntries, before.view.serviceEntries)) {
    const { services, byHost, byNamespace } = before
    return { services, byHost, byNamespace }
  }
  const services = [
    ...[...view.services].sort(byAge).flatMap(kubeService),
    ...[...view.serviceEntries].sort(byAge).flatMap(entryServices),
  ]
  const byHost = grouped(services, (s) => s.host)
  const byNamespace = grouped(services, (s) => s.namespace)
  for (const [namespace, here] of byNamespace) {
    const known = before?.byNamespace.get(namespace)
    if (known && same(known, here)) byNamespace.set(namespace, known)
  }
  return { services, byHost, byNamespace }
}

const same = <T>(a: readonly T[], b: readonly T[]): boolean => a.length === b.length && a.every((x, i) => x === b[i])

function grouped<T>(all: readonly T[], key: (item: T) => string): Map<string, readonly T[]> {
  const groups = new Map<string, T[]>()
  for (const item of all) {
    const known = groups.get(key(item))
    if (known) known.push(item)
    else groups.set(key(item), [item])
  }
  return groups
}

function labelKeys(view: MeshView): string[] {
  const keys = new Set<string>()
  const add = (labels: Json | undefined) => {
    for (const key of Object.keys(labels ?? {})) keys.add(key)
  }
  const prefer = (setting: Json | undefined) => {
    for (const key of (setting?.failoverPriority ?? []) as string[]) keys.add(key.split('=')[0] ?? '')
  }
  for (const { spec } of view.sidecars) add(spec?.workloadSelector?.labels)
  for (const { spec } of view.envoyFilters) add(spec?.workloadSelector?.labels)
  for (const { spec } of view.virtualServices)
    for (const route of [...(spec?.http ?? []), ...(spec?.tls ?? []), ...(spec?.tcp ?? [])] as Json[])
      for (const match of (route.match ?? []) as Json[]) add(match.sourceLabels)
  for (const { spec } of view.destinationRules) {
    add(spec?.workloadSelector?.matchLabels)
    const policies: Json[] = [spec?.trafficPolicy, ...(spec?.subsets ?? []).map((s: Json) => s.trafficPolicy)]
    for (const policy of policies.flatMap((p) => [p, ...(p?.portLevelSettings ?? [])]))
      for (const setting of ['localityLbSetting', 'zoneAwareLbSetting']) prefer(policy?.loadBalancer?.[setting])
  }
  prefer(view.mesh.localityLbSetting)
  prefer(view.mesh.zoneAwareLbSetting)
  for (const service of [...view.services, ...view.serviceEntries])
    for (const key of preferredLabels(service) ?? []) keys.add(key)
  return [...keys].sort()
}
