// What the status of the Gateway API's objects should say. Pure.

import type { Json, KubeObject } from '#api'
import { keyOf, sameJson } from '#api'
import type { Converted } from './convert.ts'
import { isServed, unsupportedAddresses } from './listeners.ts'
import {
  CONTROLLER,
  type Condition,
  condition,
  GROUP,
  type ListenerState,
  listenerKey,
  MESH_CONTROLLER,
  type Problem,
} from './view.ts'

/** The types of conditions that are ours to write, and to take back. */
const OWN = new Set([
  'Accepted',
  'Conflicted',
  'Detached',
  'InsecureFrontendValidationMode',
  'OverlappingTLSConfig',
  'PartiallyInvalid',
  'Programmed',
  'Ready',
  'ResolvedRefs',
  'Scheduled',
])

/** Conditions with their times: those that have not changed keep theirs, and those others wrote stay. */
export function timed(
  wanted: readonly Condition[],
  before: readonly Json[] | undefined,
  generation: number,
  now: string,
): Json[] {
  const others = (before ?? []).filter((c) => !OWN.has(c.type))
  const ours = wanted.map((c) => {
    const old = before?.find((o) => o.type === c.type)
    return {
      ...c,
      observedGeneration: generation,
      lastTransitionTime: old?.status === c.status ? old.lastTransitionTime : now,
    }
  })
  return [...ours, ...others]
}

const generationOf = (o: KubeObject) => o.metadata.generation ?? 1

/** What is done of the API (gateway-api, supportedFeatures); its conformance suite tests a cluster for these. */
const FEATURES = [
  'BackendTLSPolicy',
  'BackendTLSPolicySANValidation',
  'GRPCRoute',
  'GRPCRouteNamedRouteRule',
  'GRPCRouteRequestHeaderModifier',
  'Gateway',
  'GatewayAddressEmpty',
  'GatewayBackendClientCertificate',
  'GatewayFrontendClientCertificateValidation',
  'GatewayFrontendClientCertificateValidationInsecureFallback',
  'GatewayHTTPListenerIsolation',
  'GatewayInfrastructurePropagation',
  'GatewayPort8080',
  'GatewayStaticAddresses',
  'HTTPRoute',
  'HTTPRoute303RedirectStatusCode',
  'HTTPRoute307RedirectStatusCode',
  'HTTPRoute308RedirectStatusCode',
  'HTTPRouteBackendProtocolH2C',
  'HTTPRouteBackendProtocolWebSocket',
  'HTTPRouteBackendRequestHeaderModification',
  'HTTPRouteBackendRequestRedirect',
  'HTTPRouteBackendTimeout',
  'HTTPRouteBackendURLRewrite',
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
  'HTTPRouteRetry',
  'HTTPRouteRetryBackendTimeout',
  'HTTPRouteRetryConnectionError',
  'HTTPRouteSchemeRedirect',
  'ListenerSet',
  'Mesh',
  'MeshClusterIPMatching',
  'MeshConsumerRoute',
  'MeshHTTPRouteBackendRequestHeaderModification',
  'MeshHTTPRouteNamedRouteRule',
  'MeshHTTPRouteQueryParamMatching',
  'MeshHTTPRouteRedirectPath',
  'MeshHTTPRouteRedirectPort',
  'MeshHTTPRouteRewritePath',
  'MeshHTTPRouteSchemeRedirect',
  'ReferenceGrant',
  'TCPRoute',
  'TLSRoute',
  'TLSRouteModeMixed',
  'TLSRouteModeTerminate',
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
  /** Why its parameters are not followed. */
  readonly parameters?: string | undefined
  /** The address that it asks for and that is nobody's. */
  readonly missing?: string | undefined
}

/** The status of a Gateway of ours: its addresses, its conditions, and those of its listeners. */
export function gatewayStatus(gateway: KubeObject, converted: Converted, at: GatewayAddresses, now: string): Json {
  const odd = unsupportedAddresses(gateway)
  if (odd.length > 0) {
    const reason = 'UnsupportedAddress'
    const conditions = [
      condition('Accepted', { reason, message: `only Hostname is supported, ignoring [${odd.join(' ')}]` }, '', ''),
      condition('Programmed', { reason, message: 'Failed to assign to any requested addresses' }, '', ''),
      condition('ResolvedRefs', undefined, 'ResolvedRefs', 'All references resolved'),
    ]
    return {
      addresses: [],
      conditions: timed(conditions, gateway.status?.conditions, generationOf(gateway), now),
      listeners: [],
    }
  }
  const all = converted.listeners.get(keyOf(gateway)) ?? []
  const listeners = all.filter((l) => l.owner === l.gateway)
  const broken = listeners.filter((l) => !isServed(l))
  const accepted: Condition = at.parameters
    ? condition('Accepted', { reason: 'InvalidParameters', message: at.parameters }, '', '')
    : broken.length > 0 && broken.length === listeners.length
      ? {
          type: 'Accepted',
          status: 'False',
          reason: 'ListenersNotValid',
          message: "None of the Gateway's listeners are valid",
        }
      : broken.length > 0
        ? {
            type: 'Accepted',
            status: 'True',
            reason: 'ListenersNotValid',
            message: "One or more of the Gateway's listeners are invalid",
          }
        : condition('Accepted', undefined, 'Accepted', 'Resource accepted')
  const programmed = at.missing
    ? condition(
        'Programmed',
        {
          reason: 'AddressNotUsable',
          message: `Failed to assign to any requested addresses: hostname ${JSON.stringify(at.missing)} not found`,
        },
        '',
        '',
      )
    : at.addresses.length === 0
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
  const { frontend } = gateway.spec?.tls ?? {}
  const insecure = [frontend?.default, ...((frontend?.perPort ?? []) as Json[]).map((p) => p.tls)].some(
    (t) => t?.validation?.mode === 'AllowInsecureFallback',
  )
  const fallback: Condition[] = insecure
    ? [
        {
          type: 'InsecureFrontendValidationMode',
          status: 'True',
          reason: 'ConfigurationChanged',
          message: 'Gateway is operating in AllowInsecureFallback mode for frontend validation',
        },
      ]
    : []
  const certificate = converted.certificates.get(keyOf(gateway))
  const unresolved = certificate && 'problem' in certificate ? certificate.problem : undefined
  const resolved = condition('ResolvedRefs', unresolved, 'ResolvedRefs', 'All references resolved')
  return {
    addresses: at.addresses,
    conditions: timed(
      [accepted, programmed, resolved, ...fallback],
      gateway.status?.conditions,
      generationOf(gateway),
      now,
    ),
    attachedListenerSets: new Set(all.filter((l) => l.owner !== l.gateway && isServed(l)).map((l) => l.owner)).size,
    listeners: listeners.map((l) => listenerStatus(l, converted, now)),
  }
}

/**
 * The status of a ListenerSet of a Gateway of ours. `allowed`: whether the Gateway lets it in; `programmed`: whether the
 * Gateway itself is served.
 */
export function listenerSetStatus(
  set: KubeObject,
  converted: Converted,
  { allowed, programmed }: { allowed: boolean; programmed: boolean },
  now: string,
): Json {
  const mine = [...converted.listeners.values()].flat().filter((l) => l.owner === set)
  const served = mine.filter(isServed)
  const problem: Problem | undefined = !allowed
    ? { reason: 'NotAllowed', message: 'The ListenerSet is not allowed by the parent Gateway' }
    : served.length === 0
      ? { reason: 'ListenersNotValid', message: "None of the ListenerSet's listeners are valid" }
      : undefined
  const partly = served.length < mine.length
  const conditions = [
    condition(
      'Accepted',
      problem,
      partly ? 'ListenersNotValid' : 'Accepted',
      partly ? "One or more of the ListenerSet's listeners are invalid" : 'Resource accepted',
    ),
    condition(
      'Programmed',
      problem ??
        (programmed ? undefined : { reason: 'ParentNotProgrammed', message: 'the parent Gateway is not served' }),
      'Programmed',
      'Resource programmed',
    ),
  ]
  return {
    conditions: timed(conditions, set.status?.conditions, generationOf(set), now),
    listeners: mine.map((l) => listenerStatus(l, converted, now)),
  }
}

function listenerStatus(state: ListenerState, converted: Converted, now: string): Json {
  const { listener, owner } = state
  const before = ((owner.status?.listeners ?? []) as Json[]).find((l) => l.name === listener.name)
  const refused = state.accepted ?? state.conflicted
  const conflicted: Condition = state.conflicted
    ? { type: 'Conflicted', status: 'True', ...state.conflicted }
    : { type: 'Conflicted', status: 'False', reason: 'NoConflicts', message: 'No errors found' }
  const conditions = [
    condition('Accepted', refused, 'Accepted', 'No errors found'),
    conflicted,
    condition(
      'Programmed',
      state.conflicted ??
        (state.resolved && !isServed(state) ? { reason: 'Invalid', message: 'Bad TLS configuration' } : undefined),
      'Programmed',
      'No errors found',
    ),
    condition('ResolvedRefs', state.resolved, 'ResolvedRefs', 'No errors found'),
  ]
  return {
    name: listener.name,
    attachedRoutes: converted.attached.get(listenerKey(state)) ?? 0,
    supportedKinds: state.kinds,
    conditions: timed(conditions, before?.conditions, generationOf(owner), now),
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

/** The status of a BackendTLSPolicy: our ancestors as they are now, others' as they were. */
export function policyStatus(policy: KubeObject, converted: Converted, now: string): Json {
  const before: Json[] = policy.status?.ancestors ?? []
  const isOurs = (a: Json) => a.controllerName === CONTROLLER || a.controllerName === MESH_CONTROLLER
  const ancestors = (converted.policies.get(keyOf(policy)) ?? []).map(({ ancestorRef, controllerName, conditions }) => {
    const old = before.find((a) => a.controllerName === controllerName && sameJson(a.ancestorRef, ancestorRef))
    return {
      ancestorRef,
      controllerName,
      conditions: timed(conditions, old?.conditions, generationOf(policy), now),
    }
  })
  return { ancestors: [...before.filter((a) => !isOurs(a)), ...ancestors] }
}

/** A Gateway of a class that others serve: it is read, and that is all. */
export function remoteStatus(gateway: KubeObject, now: string): Json {
  const conditions = [
    condition('Accepted', undefined, 'Accepted', 'Resource accepted'),
    condition('Programmed', undefined, 'Programmed', 'This Gateway is remote; Istio will not program it'),
  ]
  return {
    ...(gateway.spec?.addresses ? { addresses: gateway.spec.addresses } : {}),
    conditions: timed(conditions, gateway.status?.conditions, generationOf(gateway), now),
  }
}
