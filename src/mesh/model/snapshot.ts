// The mesh at one moment: services of all kinds and rules in full, found by host. Made once a change, shared by all proxies.

import type { Json } from '#api'
import { type DestinationRules, indexRules } from './destination-rule.ts'
import { entryServices, kubeService, type MeshService } from './service.ts'
import { HOSTNAME, preferredLabels } from './topology.ts'
import { byAge, type MeshView } from './view.ts'
import { type VirtualService, virtualServices } from './virtual-service.ts'

export interface Snapshot {
  readonly view: MeshView
  /** Those of Kubernetes first, each kind oldest first. */
  readonly services: readonly MeshService[]
  readonly byHost: ReadonlyMap<string, readonly MeshService[]>
  readonly byNamespace: ReadonlyMap<string, readonly MeshService[]>
  readonly virtualServices: readonly VirtualService[]
  readonly destinationRules: DestinationRules
  /** Labels of a proxy by which rules tell it from others. */
  readonly labelKeys: readonly string[]
}

export function createSnapshot(view: MeshView): Snapshot {
  const services = [
    ...[...view.services].sort(byAge).flatMap(kubeService),
    ...[...view.serviceEntries].sort(byAge).flatMap(entryServices),
  ]
  const byHost = new Map<string, MeshService[]>()
  const byNamespace = new Map<string, MeshService[]>()
  for (const service of services) {
    const known = byHost.get(service.host)
    if (known) known.push(service)
    else byHost.set(service.host, [service])
    const here = byNamespace.get(service.namespace)
    if (here) here.push(service)
    else byNamespace.set(service.namespace, [service])
  }
  return {
    view,
    services,
    byHost,
    byNamespace,
    virtualServices: virtualServices(view.virtualServices, view.mesh.defaultVirtualServiceExportTo),
    destinationRules: indexRules(view.destinationRules),
    labelKeys: labelKeys(view),
  }
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
    for (const policy of [spec?.trafficPolicy, ...(spec?.subsets ?? []).map((s: Json) => s.trafficPolicy)])
      for (const setting of ['localityLbSetting', 'zoneAwareLbSetting']) prefer(policy?.loadBalancer?.[setting])
  }
  prefer(view.mesh.localityLbSetting)
  prefer(view.mesh.zoneAwareLbSetting)
  if (view.services.some((s) => preferredLabels(s)?.includes(HOSTNAME))) keys.add(HOSTNAME)
  return [...keys].sort()
}
