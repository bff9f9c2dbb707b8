// Status that the mesh writes: what of a rule cannot take effect, and addresses given to hosts.

import { type KubeObject, keyOf, type Resource, resources, sameJson } from '#api'
import { type Clock, Coalesced, type Log, messageOf } from '#base'
import type { EventRecorder, Informers } from '#client'
import { analyzeRules, type Finding } from './analyze/analyze.ts'
import { HELD_TOGETHER } from './analyze/kinds.ts'
import { staysPlain } from './model/plain-tls.ts'
import { automaticAddress, wantsAddress } from './model/service.ts'

/** Kinds whose objects are told what of them cannot take effect. */
const TOLD: readonly Resource[] = [
  resources.virtualServices,
  resources.destinationRules,
  resources.gateways,
  resources.serviceEntries,
  resources.sidecars,
  resources.envoyFilters,
]
/** These change often; of pods and namespaces rules look at labels, of what makes pods at its spec. */
const BUSY: readonly Resource[] = [
  resources.pods,
  resources.namespaces,
  resources.deployments,
  resources.statefulSets,
  resources.daemonSets,
]
const QUIET_MS = 200
/** An analysis that took a while is not done again before this many times as long: in a storm it costs a twentieth. */
const PAUSE_FACTOR = 20

export interface StatusOptions {
  readonly informers: Informers
  readonly events: EventRecorder
  readonly clock: Clock
  readonly log: Log
  /** Refusals of proxies by "Kind namespace/name". */
  refusals(): ReadonlyMap<string, string>
}

/** Keeps validationMessages in the status of rules, and says each new one as an event. Returns what looks again. */
export function watchRules(options: StatusOptions): () => void {
  const { informers, clock, log } = options
  let pause = QUIET_MS
  const job = new Coalesced(
    async () => {
      const begun = clock.now()
      const findings = findingsBy(options)
      pause = Math.max(QUIET_MS, (clock.now() - begun) * PAUSE_FACTOR)
      for (const resource of TOLD)
        for (const object of informers.for(resource).list())
          await tell(options, resource, object, findings.get(`${resource.kind} ${keyOf(object)}`) ?? [])
    },
    (error) => log.warn('rules not analyzed', { error: messageOf(error) }),
  )
  let waiting = false
  const soon = () => {
    if (waiting) return
    waiting = true
    clock.after(pause, () => {
      waiting = false
      void job.trigger()
    })
  }
  for (const resource of HELD_TOGETHER)
    informers.for(resource).on(({ type, object, old }) => {
      const same =
        BUSY.includes(resource) &&
        type === 'updated' &&
        sameJson(object.metadata.labels, old?.metadata.labels) &&
        (object.metadata.generation === undefined || object.metadata.generation === old?.metadata.generation)
      if (!same) soon()
    })
  return soon
}

function findingsBy({ informers, refusals }: StatusOptions): Map<string, Finding[]> {
  const all: Finding[] = analyzeRules(HELD_TOGETHER.flatMap((resource) => informers.for(resource).list()))
  const by = new Map<string, Finding[]>()
  for (const f of all) by.set(f.object, [...(by.get(f.object) ?? []), f])
  const add = (object: string, finding: Omit<Finding, 'object'>) =>
    by.set(object, [...(by.get(object) ?? []), { ...finding, object }])
  for (const [object, message] of refusals())
    add(object, { level: 'Error', code: 'NACK', name: 'ProxyRefused', message })
  for (const rule of informers.for(resources.destinationRules).list())
    for (const field of staysPlain(rule.spec)) {
      const message = `${field}: ISTIO_MUTUAL has no effect yet, workloads have no certificates of the mesh: connections stay plain`
      add(`DestinationRule ${keyOf(rule)}`, { level: 'Warning', code: 'PLAIN', name: 'NoCertificates', message })
    }
  return by
}

async function tell(
  { informers, events }: StatusOptions,
  resource: Resource,
  object: KubeObject,
  findings: readonly Finding[],
): Promise<void> {
  const messages = findings.map((f) => ({
    type: { code: f.code, name: f.name },
    level: f.level.toUpperCase(),
    message: f.message,
  }))
  if (sameJson(object.status?.validationMessages ?? [], messages)) return
  const status = { ...object.status, validationMessages: messages }
  await informers.client.updateStatus(resource, { ...object, status })
  for (const f of findings) events.warning(object, f.code, f.message)
}

/** Gives automatic addresses to the hosts of ServiceEntries that have none, in their status. */
export function allocateAddresses(informers: Informers, log: Log): void {
  const entries = informers.for(resources.serviceEntries)
  const job = new Coalesced(
    async () => {
      const taken = new Set<string>(
        entries.list().flatMap((e) => ((e.status?.addresses ?? []) as { value: string }[]).map((a) => a.value)),
      )
      for (const entry of entries.list()) {
        const known = (entry.status?.addresses ?? []) as { host: string; value: string }[]
        const wanted = wantsAddress(entry).map((host) => {
          const value = known.find((a) => a.host === host)?.value ?? automaticAddress(host, taken)
          taken.add(value)
          return { value, host }
        })
        if (sameJson(known, wanted)) continue
        await informers.client.updateStatus(resources.serviceEntries, {
          ...entry,
          status: { ...entry.status, addresses: wanted },
        })
      }
    },
    (error) => log.warn('addresses not given', { error: messageOf(error) }),
  )
  entries.on(() => void job.trigger())
}
