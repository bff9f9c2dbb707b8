// Analyzer of Istio's annotations: unknown ones, misplaced ones, deprecated ones, wrong values.

import type { KubeObject } from '#api'
import type { World } from './world.ts'

/** Istio's annotations and what they may stand on (istio.io/api, annotation/annotations.yaml). */
const POD = ['Pod', 'Deployment']
const KNOWN: Readonly<Record<string, readonly string[]>> = {
  'sidecar.istio.io/inject': POD,
  'sidecar.istio.io/status': POD,
  'sidecar.istio.io/rewriteAppHTTPProbers': POD,
  'sidecar.istio.io/proxyCPU': POD,
  'sidecar.istio.io/proxyCPULimit': POD,
  'sidecar.istio.io/proxyMemory': POD,
  'sidecar.istio.io/proxyMemoryLimit': POD,
  'sidecar.istio.io/proxyImage': POD,
  'sidecar.istio.io/proxyImageType': POD,
  'sidecar.istio.io/logLevel': POD,
  'sidecar.istio.io/agentLogLevel': POD,
  'sidecar.istio.io/componentLogLevel': POD,
  'sidecar.istio.io/interceptionMode': POD,
  'sidecar.istio.io/bootstrapOverride': POD,
  'sidecar.istio.io/discoveryAddress': POD,
  'sidecar.istio.io/enableCoreDump': POD,
  'sidecar.istio.io/extraStatTags': POD,
  'sidecar.istio.io/nativeSidecar': POD,
  'sidecar.istio.io/statsInclusionPrefixes': POD,
  'sidecar.istio.io/statsInclusionSuffixes': POD,
  'sidecar.istio.io/statsInclusionRegexps': POD,
  'sidecar.istio.io/statsHistogramBuckets': POD,
  'sidecar.istio.io/userVolume': POD,
  'sidecar.istio.io/userVolumeMount': POD,
  'sidecar.istio.io/controlPlaneAuthPolicy': POD,
  'proxy.istio.io/config': POD,
  'proxy.istio.io/overrides': POD,
  'prometheus.istio.io/merge-metrics': POD,
  'inject.istio.io/templates': POD,
  'readiness.status.sidecar.istio.io/applicationPorts': POD,
  'readiness.status.sidecar.istio.io/failureThreshold': POD,
  'readiness.status.sidecar.istio.io/initialDelaySeconds': POD,
  'readiness.status.sidecar.istio.io/periodSeconds': POD,
  'status.sidecar.istio.io/port': POD,
  'traffic.sidecar.istio.io/excludeInboundPorts': POD,
  'traffic.sidecar.istio.io/excludeInterfaces': POD,
  'traffic.sidecar.istio.io/excludeOutboundIPRanges': POD,
  'traffic.sidecar.istio.io/excludeOutboundPorts': POD,
  'traffic.sidecar.istio.io/includeInboundPorts': POD,
  'traffic.sidecar.istio.io/includeOutboundIPRanges': POD,
  'traffic.sidecar.istio.io/includeOutboundPorts': POD,
  'traffic.sidecar.istio.io/kubevirtInterfaces': POD,
  'istio.io/reroute-virtual-interfaces': POD,
  'networking.istio.io/exportTo': ['Service'],
  'networking.istio.io/traffic-distribution': ['Service', 'ServiceEntry', 'Namespace'],
  'networking.istio.io/service-type': ['k8s/Gateway'],
  'alpha.istio.io/identity': ['ServiceAccount'],
  'alpha.istio.io/kubernetes-serviceaccounts': ['Service'],
  'topology.istio.io/controlPlaneClusters': ['Namespace'],
  'galley.istio.io/analyze-suppress': [],
  'install.operator.istio.io/chart-owner': [],
}
const DEPRECATED = new Set([
  'sidecar.istio.io/bootstrapOverride',
  'sidecar.istio.io/enableCoreDump',
  'sidecar.istio.io/controlPlaneAuthPolicy',
])
const BOOLEANS = new Set([
  'sidecar.istio.io/inject',
  'sidecar.istio.io/rewriteAppHTTPProbers',
  'sidecar.istio.io/nativeSidecar',
])
const PORTS = /^traffic\.sidecar\.istio\.io\/.*Ports$/

const KINDS = ['Pod', 'Deployment', 'Service', 'Namespace'] as const

/** IST0107, IST0108, IST0125, IST0135. */
export function annotations(world: World): void {
  for (const kind of KINDS)
    for (const o of world.of(kind)) {
      look(world, o, kind, o.metadata.annotations ?? {})
      if (kind === 'Deployment') look(world, o, 'Pod', o.spec?.template?.metadata?.annotations ?? {})
    }
}

function look(world: World, object: KubeObject, kind: string, found: Readonly<Record<string, string>>): void {
  for (const [name, value] of Object.entries(found)) {
    const domain = name.split('/')[0] ?? ''
    if (domain !== 'istio.io' && !domain.endsWith('.istio.io')) continue
    const places = KNOWN[name]
    const path = ['metadata', 'annotations', name] as const
    if (!places) {
      // Names given by the mesh itself come and go.
      if (!/^(internal|release|ambient|gateway)\./.test(name))
        world.report('UNKNOWN_ANNOTATION', object, `Unknown annotation: ${name}`, path)
      continue
    }
    if (places.length > 0 && !places.includes(kind))
      world.report(
        'MISPLACED_ANNOTATION',
        object,
        `Misplaced annotation: ${name} can only be applied to ${places.join(', ')}`,
        path,
      )
    if (DEPRECATED.has(name))
      world.report(
        'DEPRECATED_ANNOTATION',
        object,
        `Annotation "${name}" has been deprecated and may not work in future Istio versions.`,
        path,
      )
    const wrong = BOOLEANS.has(name)
      ? !['true', 'false'].includes(value)
      : PORTS.test(name) &&
        !value.split(',').every((p) => p.trim() === '' || p.trim() === '*' || (Number(p) > 0 && Number(p) < 65536))
    if (wrong)
      world.report(
        'INVALID_ANNOTATION',
        object,
        `Invalid annotation ${name}: ${JSON.stringify(value)} is not ${BOOLEANS.has(name) ? 'true or false' : 'a list of ports'}`,
        path,
      )
  }
}
