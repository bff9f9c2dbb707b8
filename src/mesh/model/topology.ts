// Labels that say where something is, and what a Service prefers of them (kubernetes.io, "Traffic distribution").

import type { KubeObject } from '#api'

export const HOSTNAME = 'kubernetes.io/hostname'
export const NETWORK = 'topology.istio.io/network'
export const REGION = 'topology.kubernetes.io/region'
export const ZONE = 'topology.kubernetes.io/zone'
export const SUBZONE = 'topology.istio.io/subzone'

const SAME_ZONE = [NETWORK, REGION, ZONE]
const SAME_NODE = [...SAME_ZONE, SUBZONE, HOSTNAME]
/** What a Service's trafficDistribution prefers, most important first. */
const DISTRIBUTIONS: ReadonlyMap<string, readonly string[]> = new Map([
  ['PreferClose', SAME_ZONE],
  ['PreferSameZone', SAME_ZONE],
  ['PreferSameNode', SAME_NODE],
])
/** The same as annotations say it, in whatever case. */
const ANNOTATED = new Map([...DISTRIBUTIONS].map(([name, labels]) => [name.toLowerCase(), labels]))

/** The labels that a service's own preference looks at: by its spec, else by its annotation; undefined without one. */
export function preferredLabels({ metadata, spec }: KubeObject): readonly string[] | undefined {
  const noted = metadata.annotations?.['networking.istio.io/traffic-distribution'] ?? ''
  return DISTRIBUTIONS.get(spec?.trafficDistribution) ?? ANNOTATED.get(noted.toLowerCase())
}

/** Orders patterns of localities: a wildcard is for what narrower ones leave. */
export const narrowFirst = (a: string, b: string): number =>
  Number(a.includes('*')) - Number(b.includes('*')) || b.length - a.length
