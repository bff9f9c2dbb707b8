// Names of the mesh for pods whose sidecar is to answer DNS (ISTIO_META_DNS_CAPTURE): hosts of ServiceEntries, at the
// addresses their sidecars listen on. The cluster's DNS gives the answers, to those pods only. Pure.

import type { Json, KubeObject } from '#api'
import type { Snapshot } from './snapshot.ts'
import { isExported } from './visibility.ts'

/** Whether a pod's sidecar was told to capture DNS: by proxyMetadata, which injection puts into its environment. */
export function capturesDns(pod: KubeObject | undefined): boolean {
  const containers: Json[] = [...(pod?.spec?.initContainers ?? []), ...(pod?.spec?.containers ?? [])]
  const env: Json[] = containers.find((c) => c.name === 'istio-proxy')?.env ?? []
  return env.some((e) => e.name === 'ISTIO_META_DNS_CAPTURE' && e.value === 'true')
}

/**
 * The IPv4 addresses of a host as a namespace sees it; undefined when the mesh has none to give, and others are to be
 * asked. A host that is named goes before a pattern, and the longest pattern before others.
 */
export function capturedAddresses(snapshot: Snapshot, namespace: string, name: string): string[] | undefined {
  const host = name.toLowerCase().replace(/\.$/, '')
  for (const known of [host, ...patternsOf(host)]) {
    const services = (snapshot.byHost.get(known) ?? []).filter(
      (s) =>
        s.object.kind === 'ServiceEntry' &&
        isExported(s.exportTo ?? snapshot.view.mesh.defaultServiceExportTo, s.namespace, namespace),
    )
    const addresses = services.flatMap((s) => s.addresses).filter((a) => /^\d+\.\d+\.\d+\.\d+$/.test(a))
    if (addresses.length > 0) return [...new Set(addresses)]
  }
  return undefined
}

/** "*.b.c" and "*.c" of "a.b.c". */
function patternsOf(host: string): string[] {
  const labels = host.split('.')
  return labels.slice(1).map((_, i) => `*.${labels.slice(i + 1).join('.')}`)
}
