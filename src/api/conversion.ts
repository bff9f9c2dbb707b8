// Versions of kinds that are served but not stored: each is converted to the stored one and back.
// Removals and defaults: Kubernetes' deprecation guide and the defaults.go of each old group. Pure.

import type { Definition, Property } from './schema.ts'
import { type Json, sameJson } from './types.ts'

/** A served version and how it becomes the stored one. */
export interface VersionConversion {
  readonly group: string
  readonly version: string
  readonly plural: string
  /** Where it is stored: group, version and plural. */
  readonly storage: readonly [group: string, version: string, plural: string]
  /** The first release that deprecated it and the one that dropped it; absent for a version in use. */
  readonly deprecated?: readonly [since: string, removed: string]
  /** Its definition; absent when it has the stored version's shape. */
  readonly model?: string
  /** What a client sends becomes what is stored; the object may be changed in place. */
  toStorage?(object: Json): void
  /** What is stored becomes what a client reads; gets a copy. */
  fromStorage?(object: Json): void
}

/** A workload without a selector takes its template's labels; it takes them for itself too when it has none. */
function labelsOfTemplate(o: Json): void {
  const labels = o.spec?.template?.metadata?.labels
  if (!labels) return
  if (!o.spec.selector) o.spec.selector = { matchLabels: { ...labels } }
  if (o.metadata && (!o.metadata.labels || Object.keys(o.metadata.labels).length === 0))
    o.metadata.labels = { ...labels }
}

function dropRollback(o: Json): void {
  if (o.spec) delete o.spec.rollbackTo
}

/** The oldest Deployments replace pods one by one. */
function oldDeployment(o: Json): void {
  labelsOfTemplate(o)
  dropRollback(o)
  const spec = (o.spec ??= {})
  const strategy = (spec.strategy ??= {})
  strategy.type ??= 'RollingUpdate'
  if (strategy.type !== 'RollingUpdate') return
  const rolling = (strategy.rollingUpdate ??= {})
  rolling.maxUnavailable ??= 1
  rolling.maxSurge ??= 1
}

function onDelete(o: Json): void {
  labelsOfTemplate(o)
  const spec = (o.spec ??= {})
  delete spec.templateGeneration
  ;(spec.updateStrategy ??= {}).type ??= 'OnDelete'
}

function backendIn(b: Json | undefined): Json | undefined {
  if (!b || b.serviceName === undefined) return b
  const { serviceName, servicePort, ...rest } = b
  const port = typeof servicePort === 'number' ? { number: servicePort } : { name: servicePort }
  return { ...rest, service: { name: serviceName, ...(servicePort === undefined ? {} : { port }) } }
}

function backendOut(b: Json | undefined): Json | undefined {
  if (!b?.service) return b
  const { service, ...rest } = b
  return { ...rest, serviceName: service.name, servicePort: service.port?.number ?? service.port?.name }
}

const ingressPaths = (o: Json): Json[] => (o.spec?.rules ?? []).flatMap((r: Json) => r.http?.paths ?? [])

function ingressIn(o: Json): void {
  if (o.spec?.backend) {
    o.spec.defaultBackend = backendIn(o.spec.backend)
    delete o.spec.backend
  }
  for (const path of ingressPaths(o)) {
    path.backend = backendIn(path.backend)
    path.pathType ??= 'ImplementationSpecific'
  }
}

function ingressOut(o: Json): void {
  if (o.spec?.defaultBackend) {
    o.spec.backend = backendOut(o.spec.defaultBackend)
    delete o.spec.defaultBackend
  }
  for (const path of ingressPaths(o)) path.backend = backendOut(path.backend)
}

/** CustomResourceDefinition v1beta1: one version's fields stood at the top. */
function crdIn(o: Json): void {
  const spec = (o.spec ??= {})
  const { version, validation, subresources, additionalPrinterColumns, preserveUnknownFields } = spec
  for (const key of ['version', 'validation', 'subresources', 'additionalPrinterColumns', 'preserveUnknownFields'])
    delete spec[key]
  spec.versions ??= version ? [{ name: version, served: true, storage: true }] : []
  for (const v of spec.versions) {
    v.schema ??= validation ?? { openAPIV3Schema: { type: 'object' } }
    if (preserveUnknownFields !== false && v.schema.openAPIV3Schema)
      v.schema.openAPIV3Schema['x-kubernetes-preserve-unknown-fields'] ??= true
    if (v.schema.openAPIV3Schema) v.schema.openAPIV3Schema.type ??= 'object'
    if (subresources) v.subresources ??= structuredClone(subresources)
    if (additionalPrinterColumns) v.additionalPrinterColumns ??= structuredClone(additionalPrinterColumns)
    for (const c of v.additionalPrinterColumns ?? [])
      if (c.JSONPath !== undefined) {
        c.jsonPath = c.JSONPath
        delete c.JSONPath
      }
  }
  spec.scope ??= 'Namespaced'
  const conversion = spec.conversion
  if (conversion?.webhookClientConfig) {
    conversion.webhook = {
      clientConfig: conversion.webhookClientConfig,
      conversionReviewVersions: conversion.conversionReviewVersions ?? ['v1beta1'],
    }
    delete conversion.webhookClientConfig
    delete conversion.conversionReviewVersions
  }
}

function crdOut(o: Json): void {
  for (const v of o.spec?.versions ?? [])
    for (const c of v.additionalPrinterColumns ?? []) {
      c.JSONPath = c.jsonPath
      delete c.jsonPath
    }
  const first = o.spec?.versions?.find((v: Json) => v.storage)
  if (first) o.spec.version = first.name
  if (o.spec) o.spec.preserveUnknownFields = false
}

/** EndpointSlice v1beta1 named the node in a topology map. */
function sliceIn(o: Json): void {
  for (const e of o.endpoints ?? [])
    if (e.topology) {
      const { 'kubernetes.io/hostname': node, 'topology.kubernetes.io/zone': zone, ...rest } = e.topology
      if (node) e.nodeName ??= node
      if (zone) e.zone ??= zone
      if (Object.keys(rest).length > 0) e.deprecatedTopology = rest
      delete e.topology
    }
}

function sliceOut(o: Json): void {
  for (const e of o.endpoints ?? []) {
    const topology = {
      ...e.deprecatedTopology,
      ...(e.nodeName ? { 'kubernetes.io/hostname': e.nodeName } : {}),
      ...(e.zone ? { 'topology.kubernetes.io/zone': e.zone } : {}),
    }
    if (Object.keys(topology).length > 0) e.topology = topology
    delete e.deprecatedTopology
    delete e.zone
  }
}

const CPU_UTILIZATION = (m: Json) =>
  m.type === 'Resource' && m.resource?.name === 'cpu' && m.resource.target?.type === 'Utilization'

/** HorizontalPodAutoscaler v1 knows one metric, the use of cpu. The rest travels in annotations, as upstream's does. */
const OTHER_METRICS = 'autoscaling.alpha.kubernetes.io/metrics'
const BEHAVIOR = 'autoscaling.alpha.kubernetes.io/behavior'

/** Takes JSON out of an annotation; undefined when there is none that can be read. */
function takeAnnotation(o: Json, name: string): unknown {
  const text = o.metadata?.annotations?.[name]
  if (text === undefined) return undefined
  delete o.metadata.annotations[name]
  try {
    return JSON.parse(text)
  } catch {
    return undefined
  }
}

function autoscalerIn(o: Json): void {
  const { targetCPUUtilizationPercentage: cpu, ...spec } = o.spec ?? {}
  const others = takeAnnotation(o, OTHER_METRICS)
  const behavior = takeAnnotation(o, BEHAVIOR)
  const metrics: Json[] = Array.isArray(others) ? others.filter((m) => typeof m === 'object' && m !== null) : []
  if (cpu !== undefined)
    metrics.unshift({
      type: 'Resource',
      resource: { name: 'cpu', target: { type: 'Utilization', averageUtilization: cpu } },
    })
  o.spec = { ...spec, ...(metrics.length > 0 ? { metrics } : {}), ...(behavior ? { behavior } : {}) }
}

function autoscalerOut(o: Json): void {
  const { metrics = [], behavior, ...spec } = o.spec ?? {}
  const cpu = metrics.find(CPU_UTILIZATION)
  const others = metrics.filter((m: Json) => m !== cpu)
  o.spec = cpu ? { ...spec, targetCPUUtilizationPercentage: cpu.resource.target.averageUtilization } : spec
  if (behavior) o.metadata.annotations = { ...o.metadata.annotations, [BEHAVIOR]: JSON.stringify(behavior) }
  if (others.length > 0) o.metadata.annotations = { ...o.metadata.annotations, [OTHER_METRICS]: JSON.stringify(others) }
  if (o.status) {
    const { currentMetrics, conditions: __, ...status } = o.status
    const now = (currentMetrics ?? []).find((m: Json) => m.resource?.name === 'cpu')
    const use = now?.resource.current?.averageUtilization
    o.status = use === undefined ? status : { ...status, currentCPUUtilizationPercentage: use }
  }
}

/** [name in events.k8s.io, name in core]. */
const EVENT_FIELDS = [
  ['note', 'message'],
  ['regarding', 'involvedObject'],
  ['reportingController', 'reportingComponent'],
  ['deprecatedCount', 'count'],
  ['deprecatedFirstTimestamp', 'firstTimestamp'],
  ['deprecatedLastTimestamp', 'lastTimestamp'],
  ['deprecatedSource', 'source'],
] as const

function rename(o: Json, from: string, to: string): void {
  if (o[from] === undefined) return
  o[to] = o[from]
  delete o[from]
}

function eventIn(o: Json): void {
  for (const [outside, stored] of EVENT_FIELDS) rename(o, outside, stored)
}

function eventOut(o: Json): void {
  for (const [outside, stored] of EVENT_FIELDS) rename(o, stored, outside)
}

/** A budget of v1beta1 with an empty selector covered nothing; in v1 it covers the namespace. */
const NOTHING = {
  matchExpressions: [{ key: 'pdb.kubernetes.io/deprecated-v1beta1-empty-selector-match', operator: 'Exists' }],
}

function budgetIn(o: Json): void {
  const s = o.spec?.selector
  if (s && !Object.keys(s.matchLabels ?? {}).length && !s.matchExpressions?.length)
    o.spec.selector = structuredClone(NOTHING)
  else if (s && sameJson(s, EVERYTHING)) o.spec.selector = {}
}

/** What selects everything in v1 is written so that it is not taken for the empty selector of v1beta1. */
const EVERYTHING = {
  matchExpressions: [{ key: 'pdb.kubernetes.io/deprecated-v1beta1-empty-selector-match', operator: 'DoesNotExist' }],
}

function budgetOut(o: Json): void {
  const s = o.spec?.selector
  if (!s) return
  if (sameJson(s, NOTHING)) o.spec.selector = {}
  else if (!Object.keys(s.matchLabels ?? {}).length && !s.matchExpressions?.length)
    o.spec.selector = structuredClone(EVERYTHING)
}

const APPS = (plural: string) => ['apps', 'v1', plural] as const
const NETWORKING = (plural: string) => ['networking.k8s.io', 'v1', plural] as const
const OLD = 'io.k8s.api.extensions.v1beta1'
const OLD_APPS = 'io.k8s.api.apps.v1beta1'

/** Versions that differ from the stored one in name only. */
function renamed(
  group: string,
  version: string,
  plurals: readonly string[],
  deprecated: readonly [string, string],
): VersionConversion[] {
  return plurals.map((plural) => ({ group, version, plural, storage: [group, 'v1', plural], deprecated }))
}

export const CONVERSIONS: readonly VersionConversion[] = [
  {
    group: 'extensions',
    version: 'v1beta1',
    plural: 'deployments',
    storage: APPS('deployments'),
    deprecated: ['1.8', '1.16'],
    model: `${OLD}.Deployment`,
    toStorage: oldDeployment,
  },
  {
    group: 'extensions',
    version: 'v1beta1',
    plural: 'replicasets',
    storage: APPS('replicasets'),
    deprecated: ['1.8', '1.16'],
    model: `${OLD}.ReplicaSet`,
    toStorage: labelsOfTemplate,
  },
  {
    group: 'extensions',
    version: 'v1beta1',
    plural: 'daemonsets',
    storage: APPS('daemonsets'),
    deprecated: ['1.8', '1.16'],
    model: `${OLD}.DaemonSet`,
    toStorage: onDelete,
  },
  {
    group: 'extensions',
    version: 'v1beta1',
    plural: 'networkpolicies',
    storage: NETWORKING('networkpolicies'),
    deprecated: ['1.9', '1.16'],
  },
  {
    group: 'extensions',
    version: 'v1beta1',
    plural: 'ingresses',
    storage: NETWORKING('ingresses'),
    deprecated: ['1.14', '1.22'],
    model: `${OLD}.Ingress`,
    toStorage: ingressIn,
    fromStorage: ingressOut,
  },
  {
    group: 'networking.k8s.io',
    version: 'v1beta1',
    plural: 'ingresses',
    storage: NETWORKING('ingresses'),
    deprecated: ['1.19', '1.22'],
    model: 'io.k8s.api.networking.v1beta1.Ingress',
    toStorage: ingressIn,
    fromStorage: ingressOut,
  },
  ...renamed('networking.k8s.io', 'v1beta1', ['ingressclasses'], ['1.19', '1.22']),
  {
    group: 'apps',
    version: 'v1beta1',
    plural: 'deployments',
    storage: APPS('deployments'),
    deprecated: ['1.8', '1.16'],
    model: `${OLD_APPS}.Deployment`,
    toStorage: (o) => {
      labelsOfTemplate(o)
      dropRollback(o)
      ;(o.spec ??= {}).revisionHistoryLimit ??= 2
    },
  },
  {
    group: 'apps',
    version: 'v1beta1',
    plural: 'statefulsets',
    storage: APPS('statefulsets'),
    deprecated: ['1.8', '1.16'],
    model: `${OLD_APPS}.StatefulSet`,
    toStorage: onDelete,
  },
  ...renamed('apps', 'v1beta1', ['controllerrevisions'], ['1.8', '1.16']),
  ...renamed(
    'apps',
    'v1beta2',
    ['deployments', 'replicasets', 'daemonsets', 'statefulsets', 'controllerrevisions'],
    ['1.9', '1.16'],
  ),
  ...renamed('batch', 'v1beta1', ['cronjobs'], ['1.21', '1.25']),
  {
    group: 'policy',
    version: 'v1beta1',
    plural: 'poddisruptionbudgets',
    storage: ['policy', 'v1', 'poddisruptionbudgets'],
    deprecated: ['1.21', '1.25'],
    toStorage: budgetIn,
    fromStorage: budgetOut,
  },
  ...renamed(
    'rbac.authorization.k8s.io',
    'v1beta1',
    ['roles', 'rolebindings', 'clusterroles', 'clusterrolebindings'],
    ['1.17', '1.22'],
  ),
  ...renamed(
    'storage.k8s.io',
    'v1beta1',
    ['storageclasses', 'volumeattachments', 'csidrivers', 'csinodes'],
    ['1.19', '1.22'],
  ),
  ...renamed('scheduling.k8s.io', 'v1beta1', ['priorityclasses'], ['1.14', '1.22']),
  ...renamed('coordination.k8s.io', 'v1beta1', ['leases'], ['1.19', '1.22']),
  ...renamed('node.k8s.io', 'v1beta1', ['runtimeclasses'], ['1.20', '1.25']),
  {
    group: 'discovery.k8s.io',
    version: 'v1beta1',
    plural: 'endpointslices',
    storage: ['discovery.k8s.io', 'v1', 'endpointslices'],
    deprecated: ['1.21', '1.25'],
    model: 'io.k8s.api.discovery.v1beta1.EndpointSlice',
    toStorage: sliceIn,
    fromStorage: sliceOut,
  },
  {
    group: 'apiextensions.k8s.io',
    version: 'v1beta1',
    plural: 'customresourcedefinitions',
    storage: ['apiextensions.k8s.io', 'v1', 'customresourcedefinitions'],
    deprecated: ['1.16', '1.22'],
    model: 'io.k8s.apiextensions-apiserver.pkg.apis.apiextensions.v1beta1.CustomResourceDefinition',
    toStorage: crdIn,
    fromStorage: crdOut,
  },
  {
    group: 'autoscaling',
    version: 'v2beta2',
    plural: 'horizontalpodautoscalers',
    storage: ['autoscaling', 'v2', 'horizontalpodautoscalers'],
    deprecated: ['1.23', '1.26'],
  },
  {
    group: 'autoscaling',
    version: 'v1',
    plural: 'horizontalpodautoscalers',
    storage: ['autoscaling', 'v2', 'horizontalpodautoscalers'],
    model: 'io.k8s.api.autoscaling.v1.HorizontalPodAutoscaler',
    toStorage: autoscalerIn,
    fromStorage: autoscalerOut,
  },
  {
    group: 'events.k8s.io',
    version: 'v1',
    plural: 'events',
    storage: ['', 'v1', 'events'],
    model: 'io.k8s.api.events.v1.Event',
    toStorage: eventIn,
    fromStorage: eventOut,
  },
]

const META: Property = { ref: 'io.k8s.apimachinery.pkg.apis.meta.v1.ObjectMeta' }
const TEXT: Property = { type: 'string' }
const OPEN: Property = { type: 'object' }
const list = (items: Property): Property => ({ type: 'array', items })
const head = { apiVersion: TEXT, kind: TEXT, metadata: META }
const define = (properties: Record<string, Property>, required: string[] = []): Definition => ({ required, properties })

function ingressDefinitions(prefix: string): Record<string, Definition> {
  const ref = (name: string): Property => ({ ref: `${prefix}.${name}` })
  return {
    [`${prefix}.Ingress`]: define({ ...head, spec: ref('IngressSpec'), status: OPEN }),
    [`${prefix}.IngressSpec`]: define({
      backend: ref('IngressBackend'),
      ingressClassName: TEXT,
      rules: list(ref('IngressRule')),
      tls: list(ref('IngressTLS')),
    }),
    [`${prefix}.IngressTLS`]: define({ hosts: list(TEXT), secretName: TEXT }),
    [`${prefix}.IngressRule`]: define({ host: TEXT, http: ref('HTTPIngressRuleValue') }),
    [`${prefix}.HTTPIngressRuleValue`]: define({ paths: list(ref('HTTPIngressPath')) }, ['paths']),
    [`${prefix}.HTTPIngressPath`]: define({ path: TEXT, pathType: TEXT, backend: ref('IngressBackend') }, ['backend']),
    [`${prefix}.IngressBackend`]: define({
      serviceName: TEXT,
      servicePort: { type: 'string', format: 'int-or-string' },
      resource: { ref: 'io.k8s.api.core.v1.TypedLocalObjectReference' },
    }),
  }
}

const ROLLBACK: Readonly<Record<string, Property>> = { rollbackTo: OPEN }

/** The oldest workloads: the stored definitions, but a selector may be left out. [prefix, kind, more fields of spec] */
const OLD_WORKLOADS: readonly (readonly [prefix: string, kind: string, spec: Readonly<Record<string, Property>>])[] = [
  [OLD, 'Deployment', ROLLBACK],
  [OLD, 'ReplicaSet', {}],
  [OLD, 'DaemonSet', { templateGeneration: { type: 'integer', format: 'int64' } }],
  [OLD_APPS, 'Deployment', ROLLBACK],
  [OLD_APPS, 'StatefulSet', {}],
]

/** The definitions of old versions, given those of the stored ones. */
export function oldDefinitions(stored: Readonly<Record<string, Definition>>): Record<string, Definition> {
  const workloads = OLD_WORKLOADS.flatMap(([prefix, kind, more]): [string, Definition][] => {
    const whole = stored[`io.k8s.api.apps.v1.${kind}`]
    const spec = stored[`io.k8s.api.apps.v1.${kind}Spec`]
    if (!whole || !spec) return []
    const specName = `${prefix}.${kind}Spec`
    return [
      [`${prefix}.${kind}`, { ...whole, properties: { ...whole.properties, spec: { ref: specName } } }],
      [
        specName,
        { required: spec.required.filter((f) => f !== 'selector'), properties: { ...spec.properties, ...more } },
      ],
    ]
  })
  return { ...OLD_DEFINITIONS, ...Object.fromEntries(workloads) }
}

/** Definitions of old versions whose shape differs from the stored one. */
const OLD_DEFINITIONS: Readonly<Record<string, Definition>> = {
  ...ingressDefinitions(OLD),
  ...ingressDefinitions('io.k8s.api.networking.v1beta1'),
  'io.k8s.apiextensions-apiserver.pkg.apis.apiextensions.v1beta1.CustomResourceDefinition': define({
    ...head,
    spec: OPEN,
    status: OPEN,
  }),
  'io.k8s.api.discovery.v1beta1.EndpointSlice': define({
    ...head,
    addressType: TEXT,
    endpoints: list(OPEN),
    ports: list({ ref: 'io.k8s.api.discovery.v1.EndpointPort' }),
  }),
}
