// Analyzers of injection, Sidecars, EnvoyFilters and selectors.

import type { Json, KubeObject } from '#api'
import { matches } from '../model/view.ts'
import { shapeProblems, unknownFields } from '../schema/shape.ts'
import { refusal } from '../translate/envoy-filter.ts'
import { validateIstio } from '../validation/validate.ts'
import { injectsByDefault } from './control-plane.ts'
import { inMesh, isAmbient, isAmbientNamespace } from './in-mesh.ts'
import { type FieldPath, type World, workloads } from './world.ts'

const SYSTEM = new Set(['kube-system', 'kube-public', 'kube-node-lease', 'istio-system', 'local-path-storage'])

/** Namespaces and pods without sidecars (IST0102, IST0103, IST0123). */
export function injection(world: World): void {
  for (const namespace of world.of('Namespace')) {
    const { name, labels = {} } = namespace.metadata
    if (SYSTEM.has(name)) continue
    const legacy = labels['istio-injection']
    const revision = labels['istio.io/rev']
    const ambient = labels['istio.io/dataplane-mode']
    const kinds = [
      ...(legacy === undefined ? [] : [`istio-injection=${legacy}`]),
      ...(legacy === undefined || legacy === 'enabled'
        ? [
            ...(revision === undefined ? [] : [`istio.io/rev=${revision}`]),
            ...(ambient === undefined ? [] : [`istio.io/dataplane-mode=${ambient}`]),
          ]
        : []),
    ]
    if (kinds.length > 1)
      world.report(
        'INJECTION_LABELS',
        namespace,
        `The namespace has more than one type of injection labels [${kinds.join(' ')}], which may lead to undefined behavior. Make sure only one injection label exists.`,
      )
    if (ambient === 'ambient') continue
    if (legacy === undefined && revision === undefined && injectsByDefault(world)) {
      world.report(
        'INJECTED_BY_DEFAULT',
        namespace,
        'is enabled for Istio injection, as Istio is installed with enableNamespacesByDefault as true.',
      )
      continue
    }
    if (legacy === undefined && revision === undefined) {
      world.report(
        'NOT_INJECTED',
        namespace,
        `The namespace is not enabled for Istio injection. Run 'kubectl label namespace ${name} istio-injection=enabled' to enable it, or 'kubectl label namespace ${name} istio-injection=disabled' to explicitly mark it as not needing injection.`,
      )
      continue
    }
    if (legacy === 'disabled' || (legacy !== 'enabled' && revision === undefined)) continue
    for (const pod of world.in('Pod', name)) {
      const own =
        pod.metadata.labels?.['sidecar.istio.io/inject'] ?? pod.metadata.annotations?.['sidecar.istio.io/inject']
      if (own === 'false' || pod.spec?.hostNetwork || pod.metadata.deletionTimestamp) continue
      if (['Succeeded', 'Failed'].includes(pod.status?.phase)) continue
      const containers: Json[] = [...(pod.spec?.containers ?? []), ...(pod.spec?.initContainers ?? [])]
      if (!containers.some((c) => c.name === 'istio-proxy'))
        world.report(
          'MISSING_PROXY',
          pod,
          `The pod ${pod.metadata.name} is missing the Istio proxy. This can often be resolved by restarting or redeploying the workload.`,
        )
    }
  }
}

/** Applications that run as the proxy's user are not redirected (IST0144). */
export function applicationUid(world: World): void {
  for (const kind of ['Pod', 'Deployment'] as const)
    for (const o of world.of(kind)) {
      const spec: Json = (kind === 'Pod' ? o.spec : o.spec?.template?.spec) ?? {}
      const own: Json[] = ((spec.containers ?? []) as Json[]).filter((c) => c.name !== 'istio-proxy')
      if (spec.securityContext?.runAsUser === 1337 || own.some((c) => c.securityContext?.runAsUser === 1337))
        world.report('APPLICATION_UID', o, 'User ID (UID) 1337 is reserved for the sidecar proxy.')
    }
}

/** Sidecars that contradict one another, or select nobody (IST0110, IST0111, IST0101). */
export function sidecars(world: World): void {
  const namespaces = new Set(world.of('Sidecar').map((s) => s.metadata.namespace))
  for (const namespace of namespaces) {
    const here = world.in('Sidecar', namespace)
    const names = (list: readonly KubeObject[]) =>
      `[${list
        .map((s) => s.metadata.name)
        .sort()
        .join(' ')}]`
    const open = here.filter((s) => !s.spec?.workloadSelector)
    const ineffective = (s: KubeObject, why: string) =>
      world.reportOnce('INEFFECTIVE_POLICY', s, `The policy has no impact: ${why}, the policy has no impact.`)
    if (isAmbientNamespace(world, namespace)) for (const s of open) ineffective(s, 'namespace is in ambient mode')
    else if (open.length > 1)
      for (const s of open)
        world.report(
          'MULTIPLE_SIDECARS',
          s,
          `The Sidecars ${names(open)} in namespace "${namespace}" have no workload selector, which can lead to undefined behavior.`,
        )
    const selecting = here.filter((s) => s.spec?.workloadSelector)
    for (const s of selecting) {
      const labels = s.spec.workloadSelector.labels ?? {}
      if (![...workloads(world, namespace)].some((p) => matches(labels, p.metadata?.labels)))
        world.report('REFERENCE', s, `Referenced selector not found: "${selectorText(labels)}"`, [
          'spec',
          'workloadSelector',
        ])
    }
    const told = new Set<KubeObject>()
    for (const pod of world.in('Pod', namespace)) {
      if (isAmbient(pod)) {
        for (const s of selecting)
          if (matches(s.spec.workloadSelector.labels, pod.metadata.labels))
            ineffective(s, 'selected workload is in ambient mode')
        continue
      }
      const mine = selecting.filter((s) => matches(s.spec.workloadSelector.labels, pod.metadata.labels))
      if (mine.length > 1)
        for (const s of mine.filter((m) => !told.has(m))) {
          told.add(s)
          world.report(
            'CONFLICTING_SIDECARS',
            s,
            `The Sidecars ${names(mine)} in namespace "${namespace}" select the same workload pod "${pod.metadata.namespace}/${pod.metadata.name}", which can lead to undefined behavior.`,
          )
        }
    }
  }
}

const selectorText = (labels: Record<string, string>) =>
  Object.entries(labels)
    .map(([k, v]) => `${k}=${v}`)
    .join(',')

/** Policies whose selector finds no pod (IST0127). */
export function selectors(world: World): void {
  for (const kind of ['PeerAuthentication', 'RequestAuthentication'])
    for (const policy of world.of(kind)) {
      const labels = policy.spec?.selector?.matchLabels
      if (!labels) continue
      const namespace = policy.metadata.namespace === 'istio-system' ? undefined : policy.metadata.namespace
      if (![...workloads(world, namespace)].some((p) => matches(labels, p.metadata?.labels)))
        world.report(
          'NO_WORKLOADS',
          policy,
          `No matching workloads for this resource with the following labels: ${selectorText(labels)}`,
          ['spec', 'selector'],
        )
    }
}

/** AuthorizationPolicies that are for nobody, or name namespaces that are not there (IST0127, IST0101). */
export function authorizationPolicies(world: World): void {
  if (world.of('AuthorizationPolicy').length === 0) return
  const here = world.of('Pod').filter((p) => inMesh(world, p.metadata.namespace, p) || isAmbient(p))
  for (const policy of world.of('AuthorizationPolicy')) {
    const { namespace } = policy.metadata
    const labels = policy.spec?.selector?.matchLabels
    const everywhere = namespace === 'istio-system'
    const inReach = here.filter((p) => everywhere || p.metadata.namespace === namespace)
    if (!(everywhere && !labels) && !inReach.some((p) => matches(labels, p.metadata.labels)))
      world.report(
        'NO_WORKLOADS',
        policy,
        `No matching workloads for this resource with the following labels: ${labels ? selectorText(labels) : ''}`,
        labels ? ['spec', 'selector'] : undefined,
      )
    for (const [i, rule] of ((policy.spec?.rules ?? []) as Json[]).entries())
      for (const [j, from] of ((rule?.from ?? []) as Json[]).entries())
        for (const field of ['namespaces', 'notNamespaces'] as const)
          for (const [k, pattern] of ((from?.source?.[field] ?? []) as string[]).entries())
            if (!world.of('Namespace').some((n) => fitsNamespace(n.metadata.name, pattern)))
              world.report('REFERENCE', policy, `Referenced namespace not found: "${pattern}"`, [
                ...['spec', 'rules', i, 'from', j, 'source', field, k],
              ])
  }
}

/** Whether a namespace is one that a policy means: by its name, or the begin or the end of it. */
function fitsNamespace(name: string, pattern: string): boolean {
  if (pattern.startsWith('*')) return name.endsWith(pattern.slice(1))
  if (pattern.endsWith('*')) return name.startsWith(pattern.slice(0, -1))
  return name.toLowerCase() === pattern.toLowerCase()
}

/** EnvoyFilters: operations that do not do what they seem to, and what is not done here at all (IST0151 to 0154). */
export function envoyFilters(world: World): void {
  /** Names of filters that are patched for some versions of the proxy only. */
  const versioned = new Set<string>()
  for (const filter of world.of('EnvoyFilter'))
    for (const [i, patch] of ((filter.spec?.configPatches ?? []) as Json[]).entries()) {
      const path: FieldPath = ['spec', 'configPatches', i, 'patch', 'operation']
      const { operation } = patch.patch ?? {}
      const routes = ['ROUTE_CONFIGURATION', 'HTTP_ROUTE'].includes(patch.applyTo)
      const replaceable = ['NETWORK_FILTER', 'HTTP_FILTER', 'VIRTUAL_HOST'].includes(patch.applyTo)
      const name = String(patch.patch?.value?.name ?? patch.match?.listener?.filterChain?.filter?.name ?? '')
      const relative =
        ['INSERT_BEFORE', 'INSERT_AFTER'].includes(operation) ||
        (operation === 'REMOVE' && !routes) ||
        (operation === 'REPLACE' && replaceable)
      if (relative && !filter.spec?.priority)
        if (versioned.has(name))
          world.report(
            'FILTER_RELATIVE_VERSION',
            filter,
            'This EnvoyFilter does not have a priority and has a relative patch operation (INSERT_BEFORE/AFTER, REPLACE, MERGE, DELETE) and proxyVersion set which can cause the EnvoyFilter not to be applied during an upgrade. Using the INSERT_FIRST or ADD option or setting the priority may help in ensuring the EnvoyFilter is applied correctly.',
            path,
          )
        else
          world.report(
            'FILTER_RELATIVE',
            filter,
            'This EnvoyFilter does not have a priority and has a relative patch operation set which can cause the EnvoyFilter not to be applied. Using the INSERT_FIRST or ADD option or setting the priority may help in ensuring the EnvoyFilter is applied correctly.',
            path,
          )
      if (patch.match?.proxy?.proxyVersion) versioned.add(name)
      if (operation === 'REPLACE' && !replaceable)
        world.report(
          'FILTER_REPLACE',
          filter,
          'The REPLACE operation is only valid for HTTP_FILTER and NETWORK_FILTER.',
          path,
        )
      if (operation === 'ADD' && ['ROUTE_CONFIGURATION', 'HTTP_ROUTE'].includes(patch.applyTo))
        world.report(
          'FILTER_ADD',
          filter,
          'The ADD operation will be ignored when applyTo is set to ROUTE_CONFIGURATION, or HTTP_ROUTE.',
          path,
        )
      if (operation === 'REMOVE' && ['ROUTE_CONFIGURATION', 'HTTP_ROUTE'].includes(patch.applyTo))
        world.report(
          'FILTER_REMOVE',
          filter,
          'The REMOVE operation will be ignored when applyTo is set to ROUTE_CONFIGURATION, or HTTP_ROUTE.',
          path,
        )
      const reason = refusal(patch)
      if (reason)
        world.report('FILTER_UNSUPPORTED', filter, `spec.configPatches[${i}] is not applied: ${reason}`, [
          'spec',
          'configPatches',
          i,
        ])
    }
}

/** What admission would refuse, and fields that are not known (IST0106, IST0133). */
export function schemas(world: World): void {
  for (const kind of [
    'VirtualService',
    'DestinationRule',
    'Gateway',
    'ServiceEntry',
    'Sidecar',
    'WorkloadEntry',
    'WorkloadGroup',
    'EnvoyFilter',
    'AuthorizationPolicy',
    'PeerAuthentication',
    'RequestAuthentication',
    'Telemetry',
    'WasmPlugin',
    'ProxyConfig',
  ])
    for (const o of world.of(kind)) {
      for (const { path, message } of shapeProblems(kind, o.spec ?? {}).length > 0
        ? shapeProblems(kind, o.spec)
        : validateIstio(kind, o.spec ?? {}))
        world.report('SCHEMA', o, `Schema validation error: ${path}: ${message}`, fieldPath(path))
      for (const field of unknownFields(kind, o.spec))
        world.report('SCHEMA', o, `Schema validation error: unknown field "${field}"`, fieldPath(field))
    }
}

const fieldPath = (text: string): FieldPath =>
  text
    .split(/[.[\]]+/)
    .filter(Boolean)
    .map((part) => (/^\d+$/.test(part) ? Number(part) : part))
