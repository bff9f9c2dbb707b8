// Finds configuration that is accepted but cannot take effect, under Istio's analyzer codes. Pure.

import { type Json, type KubeObject, mapSelector } from '#api'
import { fqdnOf, resolveHost } from './view.ts'

export interface Finding {
  level: 'Error' | 'Warning' | 'Info'
  code: string
  /** "VirtualService default/name". */
  object: string
  message: string
}

export interface AnalyzerInput {
  services: readonly KubeObject[]
  pods: readonly KubeObject[]
  virtualServices: readonly KubeObject[]
  destinationRules: readonly KubeObject[]
}

/** What is wrong with the traffic rules. */
export function analyze(input: AnalyzerInput): Finding[] {
  const findings: Finding[] = []
  const hosts = new Map(input.services.map((s) => [fqdnOf(s), s]))
  const rules = new Map(
    input.destinationRules.map((r) => [resolveHost(r.spec?.host ?? '', r.metadata.namespace ?? ''), r]),
  )
  for (const vs of input.virtualServices) {
    const object = `VirtualService ${vs.metadata.namespace}/${vs.metadata.name}`
    for (const destination of destinations(vs)) {
      const host = resolveHost(destination.host ?? '', vs.metadata.namespace ?? '')
      const service = hosts.get(host)
      if (!service) {
        if (host.endsWith('.svc.cluster.local') || !destination.host?.includes('.'))
          findings.push({
            level: 'Error',
            code: 'IST0101',
            object,
            message: `Referenced host not found: "${destination.host}"`,
          })
        continue
      }
      if (
        destination.subset &&
        !(rules.get(host)?.spec?.subsets ?? []).some((s: Json) => s.name === destination.subset)
      )
        findings.push({
          level: 'Error',
          code: 'IST0101',
          object,
          message: `Referenced host+subset in destinationrule not found: "${destination.host}+${destination.subset}"`,
        })
      const port = destination.port?.number
      if (port !== undefined && !(service.spec.ports ?? []).some((p: Json) => p.port === port))
        findings.push({
          level: 'Error',
          code: 'IST0101',
          object,
          message: `Referenced host:port not found: "${destination.host}:${port}"`,
        })
    }
  }
  for (const rule of input.destinationRules) {
    const object = `DestinationRule ${rule.metadata.namespace}/${rule.metadata.name}`
    const service = hosts.get(resolveHost(rule.spec?.host ?? '', rule.metadata.namespace ?? ''))
    if (!service) {
      findings.push({
        level: 'Warning',
        code: 'IST0174',
        object,
        message: `The host ${rule.spec?.host} defined in the DestinationRule does not match any services in the mesh.`,
      })
      continue
    }
    const behind = input.pods.filter(
      (p) =>
        p.metadata.namespace === service.metadata.namespace && mapSelector(service.spec.selector)(p.metadata.labels),
    )
    for (const subset of (rule.spec?.subsets ?? []) as Json[])
      if (
        behind.length > 0 &&
        !behind.some((p) => Object.entries<string>(subset.labels ?? {}).every(([k, v]) => p.metadata.labels?.[k] === v))
      )
        findings.push({
          level: 'Error',
          code: 'IST0173',
          object,
          message: `The Subset ${subset.name} defined in the DestinationRule does not select any pods.`,
        })
  }
  return findings
}

function destinations(vs: KubeObject): Json[] {
  const routes: Json[] = [...(vs.spec?.http ?? []), ...(vs.spec?.tcp ?? []), ...(vs.spec?.tls ?? [])].flatMap(
    (r: Json) => r.route ?? [],
  )
  return routes.map((r) => r.destination ?? {})
}
