// Labels that say where something is, and what a Service prefers of them (kubernetes.io, "Traffic distribution").

import type { KubeObject } from '#api'

export const HOSTNAME = 'kubernetes.io/hostname'
export const NETWORK = 'topology.istio.io/network'
export const REGION = 'topology.kubernetes.io/region'
export const ZONE = 'topology.kubernetes.io/zone'
export const SUBZONE = 'topology.istio.io/subzone'

/** What a Service's trafficDistribution prefers, most important first. */
const DISTRIBUTIONS: Readonly<Record<string, readonly string[]>> = {
  PreferClose: [NETWORK, REGION, ZONE],
  PreferSameZone: [NETWORK, REGION, ZONE],
  PreferSameNode: [NETWORK, REGION, ZONE, SUBZONE, HOSTNAME],
}

/** The labels that a service's own preference looks at: by its annotation, else by its spec; undefined without one. */
export function preferredLabels(service: KubeObject): readonly string[] | undefined {
  const given = service.metadata.annotations?.['networking.istio.io/traffic-distribution']
  return DISTRIBUTIONS[given ?? service.spec?.trafficDistribution ?? '']
}
