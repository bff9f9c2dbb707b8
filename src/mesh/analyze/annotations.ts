// Analyzer of Istio's annotations: unknown ones, misplaced ones, deprecated ones, wrong values.

import type { Json, KubeObject } from '#api'
import type { World } from './world.ts'

/** Istio's annotations and what they may stand on (istio.io/api, annotation/annotations.yaml). */
const POD = ['Pod']
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
  'sidecar.istio.io/extraStatTags': POD,
  'sidecar.istio.io/nativeSidecar': POD,
  'sidecar.istio.io/statsInclusionPrefixes': POD,
  'sidecar.istio.io/statsInclusionSuffixes': POD,
  'sidecar.istio.io/statsInclusionRegexps': POD,
  'sidecar.istio.io/statsHistogramBuckets': POD,
  'sidecar.istio.io/statsCompression': POD,
  'sidecar.istio.io/statsEvictionInterval': POD,
  'sidecar.istio.io/statsFlushInterval': POD,
  'sidecar.istio.io/statsHistogramBins': POD,
  'sidecar.istio.io/userVolume': POD,
  'sidecar.istio.io/userVolumeMount': POD,
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
  'istio.io/autoRegistrationGroup': ['WorkloadEntry'],
  'istio.io/connectedAt': ['WorkloadEntry'],
  'istio.io/disconnectedAt': ['WorkloadEntry'],
  'istio.io/dry-run': ['AuthorizationPolicy'],
  'istio.io/rev': [],
  'istio.io/use-waypoint-canary-weight': ['Service', 'ServiceEntry', 'Namespace'],
  'istio.io/workloadController': ['WorkloadEntry'],
  'traffic.istio.io/nodeSelector': ['Service'],
  'networking.istio.io/exportTo': ['Service'],
  'networking.istio.io/traffic-distribution': ['Service', 'ServiceEntry', 'Namespace'],
  'networking.istio.io/service-type': ['k8s/Gateway'],
  'alpha.istio.io/canonical-serviceaccounts': ['Service'],
  'alpha.istio.io/kubernetes-serviceaccounts': ['Service'],
  'topology.istio.io/controlPlaneClusters': ['Namespace'],
  'kubernetes.io/ingress.class': ['Ingress'],
  'galley.istio.io/analyze-suppress': [],
}
/** What is said of deprecated ones besides. */
const DEPRECATED: ReadonlyMap<string, string> = new Map([
  ['alpha.istio.io/canonical-serviceaccounts', ''],
  ['alpha.istio.io/kubernetes-serviceaccounts', ''],
  ['sidecar.istio.io/discoveryAddress', ''],
  ['sidecar.istio.io/extraStatTags', ''],
  ['sidecar.istio.io/inject', ' in favor of the "sidecar.istio.io/inject" label'],
  ['sidecar.istio.io/statsCompression', ''],
  ['sidecar.istio.io/statsInclusionPrefixes', ''],
  ['sidecar.istio.io/statsInclusionRegexps', ''],
  ['sidecar.istio.io/statsInclusionSuffixes', ''],
  ['traffic.sidecar.istio.io/kubevirtInterfaces', ''],
])
const BOOLEANS = new Set([
  'sidecar.istio.io/inject',
  'sidecar.istio.io/rewriteAppHTTPProbers',
  'sidecar.istio.io/nativeSidecar',
])
const NUMBERS = /^(readiness\.status\.sidecar\.istio\.io\/(?!applicationPorts)|status\.sidecar\.istio\.io\/port$)/
const PORTS = /^traffic\.sidecar\.istio\.io\/.*Ports$/

const KINDS = ['Pod', 'Deployment', 'Service', 'Namespace'] as const

/** IST0107, IST0108, IST0125, IST0135. */
export function annotations(world: World): void {
  for (const kind of KINDS)
    for (const o of world.of(kind)) {
      look(world, o, kind, o.metadata)
      if (kind === 'Deployment') look(world, o, 'Pod', o.spec?.template?.metadata ?? {})
    }
}

function look(world: World, object: KubeObject, kind: string, { annotations, labels }: Json): void {
  // Who has both the label and the annotation knows.
  const replaced = Object.keys(labels ?? {})
  for (const [name, value] of Object.entries((annotations ?? {}) as Record<string, string>)) {
    const domain = name.split('/')[0] ?? ''
    if (domain !== 'istio.io' && !domain.endsWith('.istio.io') && domain !== 'kubernetes.io') continue
    const places = KNOWN[name]
    const path = ['metadata', 'annotations', name] as const
    if (!places) {
      if (domain === 'kubernetes.io') continue
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
    const instead = DEPRECATED.get(name)
    if (instead !== undefined && !replaced.includes(name))
      world.report(
        'DEPRECATED_ANNOTATION',
        object,
        `Annotation "${name}" has been deprecated${instead} and may not work in future Istio versions.`,
        path,
      )
    const wrong = BOOLEANS.has(name)
      ? !['true', 'false'].includes(value)
      : NUMBERS.test(name)
        ? !/^\d+$/.test(value)
        : PORTS.test(name) &&
          !value.split(',').every((p) => p.trim() === '' || p.trim() === '*' || (Number(p) > 0 && Number(p) < 65536))
    if (wrong)
      world.report(
        'INVALID_ANNOTATION',
        object,
        `Invalid annotation ${name}: ${JSON.stringify(value)} is not ${BOOLEANS.has(name) ? 'true or false' : NUMBERS.test(name) ? 'a number' : 'a list of ports'}`,
        path,
      )
  }
}
