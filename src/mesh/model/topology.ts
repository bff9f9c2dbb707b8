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

const ANNOTATION = 'networking.istio.io/traffic-distribution'

/** The labels that a service's own preference looks at: by its spec, else by its annotation; undefined without one. */
export function preferredLabels({ metadata, spec }: KubeObject): readonly string[] | undefined {
  const noted = metadata.annotations?.[ANNOTATION] ?? ''
  return DISTRIBUTIONS.get(spec?.trafficDistribution) ?? ANNOTATED.get(noted.toLowerCase())
}

/** Services with the preference of their namespace, the same as long as both are. */
const inheriting = new WeakMap<KubeObject, KubeObject>()

/** A Service or ServiceEntry that, without an annotation of its own, prefers what its namespace's annotation says. */
export function inPreferringNamespace(service: KubeObject, namespace: KubeObject | undefined): KubeObject {
  const value = namespace?.metadata.annotations?.[ANNOTATION]
  const { annotations } = service.metadata
  if (!value || annotations?.[ANNOTATION]) return service
  const known = inheriting.get(service)
  if (known?.metadata.annotations?.[ANNOTATION] === value) return known
  const made = { ...service, metadata: { ...service.metadata, annotations: { ...annotations, [ANNOTATION]: value } } }
  inheriting.set(service, made)
  return made
}

/** Orders patterns of localities: a wildcard is for what narrower ones leave. */
export const narrowFirst = (a: string, b: string): number =>
  Number(a.includes('*')) - Number(b.includes('*')) || b.length - a.length
