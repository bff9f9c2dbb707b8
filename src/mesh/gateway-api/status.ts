// What the status of the Gateway API's objects should say. Pure.

import type { Json, KubeObject } from '#api'
import { keyOf } from '#api'
import type { Converted } from './convert.ts'
import { isServed } from './listeners.ts'
import { CONTROLLER, type Condition, condition, GROUP, type ListenerState } from './view.ts'

/** Conditions with their times: those that have not changed keep theirs. */
export function timed(
  wanted: readonly Condition[],
  before: readonly Json[] | undefined,
  generation: number,
  now: string,
): Json[] {
  return wanted.map((c) => {
    const old = before?.find((o) => o.type === c.type)
    return {
      ...c,
      observedGeneration: generation,
      lastTransitionTime: old?.status === c.status ? old.lastTransitionTime : now,
    }
  })
}

const generationOf = (o: KubeObject) => o.metadata.generation ?? 1

/** What Istio's data plane does of the API beyond its core (gateway-api, supportedFeatures). */
const FEATURES = [
  'BackendTLSPolicy',
  'GRPCRoute',
  'Gateway',
  'GatewayHTTPListenerIsolation',
  'GatewayInfrastructurePropagation',
  'GatewayPort8080',
  'GatewayStaticAddresses',
  'HTTPRoute',
  'HTTPRouteBackendProtocolH2C',
  'HTTPRouteBackendProtocolWebSocket',
  'HTTPRouteBackendRequestHeaderModification',
  'HTTPRouteBackendTimeout',
  'HTTPRouteCORS',
  'HTTPRouteDestinationPortMatching',
  'HTTPRouteHostRewrite',
  'HTTPRouteMethodMatching',
  'HTTPRouteNamedRouteRule',
  'HTTPRouteParentRefPort',
  'HTTPRoutePathRedirect',
  'HTTPRoutePathRewrite',
  'HTTPRoutePortRedirect',
  'HTTPRouteQueryParamMatching',
  'HTTPRouteRequestMirror',
  'HTTPRouteRequestMultipleMirrors',
  'HTTPRouteRequestPercentageMirror',
  'HTTPRouteRequestTimeout',
  'HTTPRouteResponseHeaderModification',
  'HTTPRouteSchemeRedirect',
  'Mesh',
  'MeshConsumerRoute',
  'ReferenceGrant',
  'TLSRoute',
] as const

export function classStatus(gatewayClass: KubeObject, now: string): Json {
  return {
    conditions: timed(
      [condition('Accepted', undefined, 'Accepted', 'Handled by Istio controller')],
      gatewayClass.status?.conditions,
      generationOf(gatewayClass),
      now,
    ),
    supportedFeatures: FEATURES.map((name) => ({ name })),
  }
}

/** Where a Gateway is reached. */
export interface GatewayAddresses {
  readonly addresses: readonly Json[]
  /** "name.namespace.svc.cluster.local:port" of what serves it. */
  readonly serving: readonly string[]
  /** Whether pods are there that serve it. */
  readonly ready: boolean
}

export function gatewayStatus(gateway: KubeObject, converted: Converted, at: GatewayAddresses, now: string): Json {
  const listeners = converted.listeners.get(keyOf(gateway)) ?? []
  const broken = listeners.filter((l) => !isServed(l))
  const accepted: Condition =
    broken.length > 0 && broken.length === listeners.length
      ? { type: 'Accepted', status: 'False', reason: 'ListenersNotValid', message: 'none of the listeners is valid' }
      : broken.length > 0
        ? {
            type: 'Accepted',
            status: 'True',
            reason: 'ListenersNotValid',
            message: `invalid listeners: ${broken.map((l) => l.listener.name).join(', ')}`,
          }
        : condition('Accepted', undefined, 'Accepted', 'Resource accepted')
  const programmed =
    at.addresses.length === 0
      ? condition(
          'Programmed',
          { reason: 'AddressNotAssigned', message: 'Assigned to service(s), but no address is assigned yet' },
          '',
          '',
        )
      : !at.ready
        ? condition('Programmed', { reason: 'Pending', message: 'waiting for a gateway pod to be ready' }, '', '')
        : condition(
            'Programmed',
            undefined,
            'Programmed',
            `Resource programmed, assigned to service(s) ${at.serving.join(' and ')}`,
          )
  return {
    addresses: at.addresses,
    conditions: timed([accepted, programmed], gateway.status?.conditions, generationOf(gateway), now),
    listeners: listeners.map((l) => listenerStatus(gateway, l, converted, now)),
  }
}

function listenerStatus(gateway: KubeObject, state: ListenerState, converted: Converted, now: string): Json {
  const { listener } = state
  const before = ((gateway.status?.listeners ?? []) as Json[]).find((l) => l.name === listener.name)
  const refused = state.accepted ?? state.conflicted
  const conflicted: Condition = state.conflicted
    ? { type: 'Conflicted', status: 'True', ...state.conflicted }
    : { type: 'Conflicted', status: 'False', reason: 'NoConflicts', message: 'No errors found' }
  const conditions = [
    condition('Accepted', refused, 'Accepted', 'No errors found'),
    conflicted,
    condition(
      'Programmed',
      isServed(state) ? undefined : { reason: 'Invalid', message: 'Bad configuration' },
      'Programmed',
      'No errors found',
    ),
    condition('ResolvedRefs', state.resolved, 'ResolvedRefs', 'No errors found'),
  ]
  return {
    name: listener.name,
    attachedRoutes: converted.attached.get(`${keyOf(gateway)} ${listener.name}`) ?? 0,
    supportedKinds: state.kinds,
    conditions: timed(conditions, before?.conditions, generationOf(gateway), now),
  }
}

/** A route's parents: ours as they are now, others' as they were. */
export function routeStatus(route: KubeObject, converted: Converted, now: string): Json {
  const before: Json[] = route.status?.parents ?? []
  const same = (a: Json, b: Json) =>
    ['group', 'kind', 'namespace', 'name', 'sectionName', 'port'].every(
      (key) => (a[key] ?? USUAL[key]) === (b[key] ?? USUAL[key]),
    )
  const ours = (converted.parents.get(`${route.kind} ${keyOf(route)}`) ?? []).map(({ parentRef, conditions }) => ({
    parentRef,
    controllerName: CONTROLLER,
    conditions: timed(
      conditions,
      before.find((p) => p.controllerName === CONTROLLER && same(p.parentRef, parentRef))?.conditions,
      generationOf(route),
      now,
    ),
  }))
  return { parents: [...before.filter((p) => p.controllerName !== CONTROLLER), ...ours] }
}

const USUAL: Readonly<Record<string, string>> = { group: GROUP, kind: 'Gateway' }

export function policyStatus(policy: KubeObject, converted: Converted, now: string): Json {
  const conditions = converted.policies.get(keyOf(policy)) ?? []
  const before: Json[] = policy.status?.ancestors ?? []
  const ancestors = ((policy.spec?.targetRefs ?? []) as Json[]).map((t) => {
    const ancestorRef = {
      group: t.group,
      kind: t.kind,
      name: t.name,
      ...(t.sectionName ? { sectionName: t.sectionName } : {}),
    }
    const old = before.find((a) => a.controllerName === CONTROLLER && a.ancestorRef?.name === t.name)
    return {
      ancestorRef,
      controllerName: CONTROLLER,
      conditions: timed(conditions, old?.conditions, generationOf(policy), now),
    }
  })
  return { ancestors: [...before.filter((a) => a.controllerName !== CONTROLLER), ...ancestors] }
}
