// What a DestinationRule asks for and is not given yet: TLS with certificates that workloads would have of the mesh. Pure.

import type { Json } from '#api'

/** Where the spec of a DestinationRule asks for ISTIO_MUTUAL: paths of fields. Connections stay plain there. */
export function staysPlain(spec: Json | undefined): string[] {
  const within = (policy: Json, at: string): string[] => [
    ...(policy?.tls?.mode === 'ISTIO_MUTUAL' ? [`${at}.tls.mode`] : []),
    ...((policy?.portLevelSettings ?? []) as Json[]).flatMap((p, i) =>
      p?.tls?.mode === 'ISTIO_MUTUAL' ? [`${at}.portLevelSettings[${i}].tls.mode`] : [],
    ),
  ]
  const { trafficPolicy, subsets }: Json = spec ?? {}
  return [
    ...within(trafficPolicy, 'spec.trafficPolicy'),
    ...((subsets ?? []) as Json[]).flatMap((s, i) => within(s?.trafficPolicy, `spec.subsets[${i}].trafficPolicy`)),
  ]
}
