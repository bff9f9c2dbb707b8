// What annotations say of a sidecar, checked as Istio's injector does before it follows them
// (pkg/kube/inject/validate.go). Pure.

import { parseQuantity } from '#api'
import { cidr } from '../validation/problems.ts'

type Check = (value: string) => string | undefined

const NUMBER = /^\d+$/

const port = (text: string): string | undefined => {
  const value = text.trim()
  if (!NUMBER.test(value)) return `failed parsing port '${text}': strconv.ParseUint: parsing "${value}": invalid syntax`
  if (Number(value) > 65535)
    return `failed parsing port '${text}': strconv.ParseUint: parsing "${value}": value out of range`
  return undefined
}

const ports =
  (parameter: string, all = false): Check =>
  (value) => {
    if (value.trim() === '' || (all && value === '*')) return undefined
    for (const text of value.trim().split(',')) {
      const problem = port(text)
      if (problem) return `${parameter} invalid: failed parsing port '${text}': ${problem}`
    }
    return undefined
  }

const ranges =
  (parameter: string, all = false): Check =>
  (value) => {
    if (value === '' || (all && value === '*')) return undefined
    const bad = value.split(',').find((text) => !text.includes('/') || !cidr(text.trim()))
    // One with spaces around it is taken; Istio does not.
    return bad === undefined
      ? undefined
      : `${parameter} invalid: failed parsing cidr '${bad}': netip.ParsePrefix("${bad}"): ${bad.includes('/') ? 'unable to parse it' : "no '/'"}`
  }

const unsigned: Check = (value) =>
  NUMBER.test(value) && Number(value) < 2 ** 32
    ? undefined
    : `strconv.ParseUint: parsing "${value}": ${NUMBER.test(value) ? 'value out of range' : 'invalid syntax'}`

const quantity: Check = (value) =>
  parseQuantity(value) === undefined
    ? "quantities must match the regular expression '^([+-]?[0-9.]+)([eEinumkKMGTP]*[-+]?[0-9]*)$'"
    : undefined

const MODES = ['REDIRECT', 'TPROXY', 'NONE']
const BOOLEANS = ['1', 't', 'T', 'TRUE', 'true', 'True', '0', 'f', 'F', 'FALSE', 'false', 'False']

const CHECKS: Readonly<Record<string, Check>> = {
  'sidecar.istio.io/interceptionMode': (value) =>
    MODES.includes(value) ? undefined : `interceptionMode invalid, use REDIRECT,TPROXY,NONE: ${value}`,
  'status.sidecar.istio.io/port': (value) => {
    const problem = port(value)
    return problem && `excludeInboundPorts invalid: ${problem}`
  },
  'readiness.status.sidecar.istio.io/initialDelaySeconds': unsigned,
  'readiness.status.sidecar.istio.io/periodSeconds': unsigned,
  'readiness.status.sidecar.istio.io/failureThreshold': unsigned,
  'traffic.sidecar.istio.io/includeOutboundIPRanges': ranges('includeIPRanges', true),
  'traffic.sidecar.istio.io/excludeOutboundIPRanges': ranges('excludeIPRanges'),
  'traffic.sidecar.istio.io/includeInboundPorts': ports('includeInboundPorts', true),
  'traffic.sidecar.istio.io/excludeInboundPorts': ports('excludeInboundPorts'),
  'traffic.sidecar.istio.io/excludeOutboundPorts': ports('excludeOutboundPorts'),
  'prometheus.istio.io/merge-metrics': (value) =>
    BOOLEANS.includes(value) ? undefined : `strconv.ParseBool: parsing "${value}": invalid syntax`,
  'sidecar.istio.io/proxyCPU': quantity,
  'sidecar.istio.io/proxyMemory': quantity,
  'sidecar.istio.io/proxyCPULimit': quantity,
  'sidecar.istio.io/proxyMemoryLimit': quantity,
}

/** What is wrong with a pod's annotations, each in Istio's words. */
export function annotationProblems(annotations: Readonly<Record<string, string>> = {}): string[] {
  return Object.entries(annotations).flatMap(([name, value]) => {
    const problem = CHECKS[name]?.(value)
    return problem ? [`invalid value '${value}' for annotation '${name}': ${problem}`] : []
  })
}

/** Named things of an annotation, volumes or mounts: a map by name, or a list. */
export function namedParts(text: string | undefined): Record<string, unknown>[] {
  try {
    const found: unknown = text ? JSON.parse(text) : []
    if (Array.isArray(found)) return found
    return Object.entries(found as Record<string, object>).map(([name, part]) => ({ name, ...part }))
  } catch {
    return []
  }
}
