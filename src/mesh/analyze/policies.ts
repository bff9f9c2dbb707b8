// Analyzers of what stands beside traffic: telemetry, selectors of gateways' pods, status, deprecated fields, images.

import type { Json, KubeObject } from '#api'
import { GATEWAY_NAME } from '../model/gateway-labels.ts'
import { matches } from '../model/view.ts'
import { gatewayName } from '../model/virtual-service.ts'
import { type World, workloads } from './world.ts'

const namespaceOf = (o: KubeObject) => o.metadata.namespace ?? ''
const names = (list: readonly KubeObject[]) =>
  `[${list
    .map((o) => o.metadata.name)
    .sort()
    .join(' ')}]`

/** Telemetries that select nobody, the same pods, or all at once (IST0101, IST0157, IST0159, IST0160). */
export function telemetry(world: World): void {
  const all = world.of('Telemetry')
  for (const namespace of new Set(all.map(namespaceOf))) {
    const here = world.in('Telemetry', namespace)
    const open = here.filter((t) => !t.spec?.selector && !t.spec?.targetRefs?.length && !t.spec?.targetRef)
    if (open.length > 1)
      for (const t of open)
        world.report(
          'MULTIPLE_TELEMETRIES',
          t,
          `The Telemetries ${names(open)} in namespace "${namespace}" have no workload selector, which can lead to undefined behavior.`,
        )
    const selecting = here.filter((t) => t.spec?.selector?.matchLabels)
    const told = new Set<KubeObject>()
    for (const pod of world.in('Pod', namespace)) {
      const mine = selecting.filter((t) => matches(t.spec.selector.matchLabels, pod.metadata.labels))
      if (mine.length < 2) continue
      for (const t of mine.filter((m) => !told.has(m))) {
        told.add(t)
        world.report(
          'CONFLICTING_TELEMETRIES',
          t,
          `The Telemetries ${names(mine)} in namespace "${namespace}" select the same workload pod "${namespace}/${pod.metadata.name}", which can lead to undefined behavior.`,
        )
      }
    }
    for (const t of selecting) {
      const labels: Record<string, string> = t.spec.selector.matchLabels
      if (![...workloads(world, namespace)].some((p) => matches(labels, p.metadata?.labels)))
        world.report(
          'REFERENCE',
          t,
          `Referenced selector not found: "${Object.entries(labels)
            .map(([k, v]) => `${k}=${v}`)
            .join(',')}"`,
          ['spec', 'selector'],
        )
    }
  }
  for (const t of all) {
    for (const log of (t.spec?.accessLogging ?? []) as Json[])
      if (!log.disabled && !log.providers?.length)
        world.report(
          'TELEMETRY_PROVIDER',
          t,
          `The Telemetry ${t.metadata.name} in namespace "${namespaceOf(t)}" with empty providers will be ignored.`,
        )
    for (const tracing of (t.spec?.tracing ?? []) as Json[])
      if (((tracing.providers ?? []) as Json[]).some((p) => p.name === 'lightstep'))
        world.report('DEPRECATED', t, 'The Lightstep provider is deprecated, please migrate to OpenTelemetry provider.')
  }
}

/** Selectors do not reach the pods of the Gateway API's gateways: policies name those by targetRef (IST0166). */
export function gatewaySelectors(world: World): void {
  const pods = world.of('Pod').filter((p) => p.metadata.labels?.[GATEWAY_NAME])
  for (const kind of ['AuthorizationPolicy', 'RequestAuthentication', 'Telemetry', 'WasmPlugin'])
    for (const policy of world.of(kind)) {
      const labels = policy.spec?.selector?.matchLabels
      if (!labels || policy.spec?.targetRefs?.length || policy.spec?.targetRef) continue
      const pod = pods.find((p) => namespaceOf(p) === namespaceOf(policy) && matches(labels, p.metadata.labels))
      if (pod)
        world.report(
          'INEFFECTIVE_SELECTOR',
          policy,
          `Ineffective selector on Kubernetes Gateway ${pod.metadata.labels?.[GATEWAY_NAME]}. Use the TargetRef field instead.`,
          ['spec', 'selector'],
        )
    }
}

const ROUTE = ['Accepted', 'Programmed', 'ResolvedRefs']
/** Conditions that are bad news when they are False. */
const CONDITIONS: Readonly<Record<string, readonly string[]>> = {
  Service: ['istio.io/WaypointBound'],
  ServiceEntry: ['istio.io/WaypointBound'],
  WorkloadEntry: ['istio.io/WaypointBound'],
  AuthorizationPolicy: ['ZtunnelAccepted', 'WaypointAccepted'],
  'k8s/Gateway': ROUTE,
  HTTPRoute: ROUTE,
  GRPCRoute: ROUTE,
}

/** What the status of an object itself says (IST0171). */
export function conditions(world: World): void {
  for (const [kind, types] of Object.entries(CONDITIONS))
    for (const o of world.of(kind)) {
      const all: Json[] = [
        ...(o.status?.conditions ?? []),
        ...((o.status?.parents ?? []) as Json[]).flatMap((p) => p.conditions ?? []),
      ]
      for (const c of all) {
        const partly =
          kind === 'AuthorizationPolicy' && c.type === 'WaypointAccepted' && c.reason === 'PartiallyInvalid'
        if (partly || (types.includes(c.type) && c.status === 'False'))
          world.report(
            'NEGATIVE_CONDITION',
            o,
            `A condition with a negative status is present: type=${c.type}, reason=${c.reason}, message=${c.message}.`,
          )
      }
    }
}

/** Fields that are on their way out (IST0002). */
export function deprecated(world: World): void {
  for (const vs of world.of('VirtualService'))
    for (const [i, route] of ((vs.spec?.http ?? []) as Json[]).entries())
      if (route.fault?.delay?.percent > 0)
        world.report(
          'DEPRECATED',
          vs,
          'HTTPRoute.fault.delay.percent is deprecated; use HTTPRoute.fault.delay.percentage',
          ['spec', 'http', i, 'fault', 'delay', 'percent'],
        )
  for (const s of world.of('Sidecar'))
    if (s.spec?.outboundTrafficPolicy?.egressProxy)
      world.report('DEPRECATED', s, 'OutboundTrafficPolicy.EgressProxy ignored', [
        'spec',
        'outboundTrafficPolicy',
        'egressProxy',
      ])
}

/** Pods that want their proxy's image chosen for them and do not get it (IST0146, IST0147). */
export function imageAuto(world: World): void {
  const asks = (spec: Json | undefined) =>
    ((spec?.containers ?? []) as Json[]).some((c) => c.name === 'istio-proxy' && c.image === 'auto')
  const text = (kind: string, name: string) =>
    `${kind} ${name} contains \`image: auto\` but does not match any Istio injection webhook selectors.`
  for (const pod of world.of('Pod'))
    if (asks(pod.spec)) world.report('IMAGE_AUTO_POD', pod, text('Pod', pod.metadata.name))
  for (const deployment of world.of('Deployment')) {
    if (!asks(deployment.spec?.template?.spec)) continue
    const labels: Record<string, string> = deployment.spec?.template?.metadata?.labels ?? {}
    const of = world.of('Namespace').find((n) => n.metadata.name === namespaceOf(deployment))?.metadata.labels ?? {}
    const own = labels['sidecar.istio.io/inject']
    const enabled = of['istio-injection'] === 'enabled' || of['istio.io/rev'] !== undefined
    if (
      own === 'false' ||
      of['istio-injection'] === 'disabled' ||
      (!enabled && own !== 'true' && !labels['istio.io/rev'])
    )
      world.report('IMAGE_AUTO', deployment, text('Deployment', deployment.metadata.name))
  }
}

/** Rules at a gateway that go by claims of a token nobody there looks at (IST0149). */
export function claims(world: World): void {
  for (const vs of world.of('VirtualService')) {
    const key = ((vs.spec?.http ?? []) as Json[])
      .flatMap((r) => (r.match ?? []) as Json[])
      .flatMap((m) => [...Object.keys(m.headers ?? {}), ...Object.keys(m.withoutHeaders ?? {})])
      .find((h) => h.startsWith('@request.auth.claims'))
    if (!key) continue
    for (const text of (vs.spec?.gateways ?? []) as string[]) {
      if (text === 'mesh') continue
      const [namespace = '', name = ''] = gatewayName(text, namespaceOf(vs)).split('/')
      const selector = world.get('Gateway', namespace, name)?.spec?.selector
      if (!selector) continue
      for (const pod of world.of('Pod').filter((p) => matches(selector, p.metadata.labels))) {
        const known = world
          .in('RequestAuthentication', namespaceOf(pod))
          .some((r) => matches(r.spec?.selector?.matchLabels, pod.metadata.labels))
        if (!known)
          world.report(
            'CLAIMS',
            vs,
            `The virtual service uses the JWT claim based routing (key: ${key}) but found no request authentication for the gateway (${text}) pod (${pod.metadata.name}). The request authentication must first be applied for the gateway pods to validate the JWT token and make the claims available for routing.`,
          )
      }
    }
  }
}
