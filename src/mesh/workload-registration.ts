// Workloads outside the cluster: whose proxy connects gets a WorkloadEntry, whose proxy has gone loses it. Kept by level:
// each look compares who is connected with the entries there are.

import { isIP } from 'node:net'
import { isAlreadyExists, isConflict, isNotFound, type KubeObject, keyOf, resources, StatusError } from '#api'
import { type Clock, Coalesced, type Log, messageOf, rfc3339 } from '#base'
import type { Informers } from '#client'
import { GrpcCode, type Message } from '#wire'
import {
  CONNECTED_AT,
  CONTROLLER,
  DISCONNECTED_AT,
  entryFromGroup,
  entryName,
  groupOf,
  type Health,
  hasHealth,
  identityProblem,
  isHealthChecked,
  REGISTERED_BY,
  statusWith,
} from './model/workload-entry.ts'
import type { ProxyIdentity } from './xds/identity.ts'

const HEALTH_TYPE = 'type.googleapis.com/istio.v1.HealthInformation'
/** Whose proxy is away for so long is gone (PILOT_WORKLOAD_ENTRY_GRACE_PERIOD). */
const GRACE_MS = 10_000
/** After a start proxies have so long to come back. */
const RETURN_MS = 60_000
/** What failed is tried again after so long. */
const AGAIN_MS = 1000
/** Who stands for an entry says so again after so long; of whom nothing is heard for three times that is gone. */
const RENEW_MS = 15 * 60_000

/** A stream of a proxy. */
interface ProxyStream {
  readonly proxy?: ProxyIdentity | undefined
  readonly connectedAt: string
  end?(code: number, reason: string): void
}

/** Who stands for an entry, by the last of its streams. */
interface Standing {
  readonly proxy: ProxyIdentity
  /** When it connected, or was last said to be connected. */
  connectedAt: string
  readonly streams: Set<ProxyStream>
  health: Health | undefined
}

export interface WorkloadRegistrationOptions {
  readonly informers: Informers
  readonly clock: Clock
  readonly log: Log
  /** This server, by a name that it keeps over restarts. */
  readonly instance: string
}

export class WorkloadRegistration {
  readonly #options: WorkloadRegistrationOptions
  readonly #standing = new Map<string, Standing>()
  readonly #job: Coalesced
  #timer: { cancel(): void } | undefined
  #started = 0

  constructor(options: WorkloadRegistrationOptions) {
    this.#options = options
    this.#job = new Coalesced(
      () => this.#reconcile(),
      (error) => options.log.error('WorkloadEntries not reconciled', { error: messageOf(error) }),
    )
  }

  /** Begins; the informers have synced. */
  start(): void {
    const { informers, clock } = this.#options
    this.#started = clock.now()
    for (const resource of [resources.workloadEntries, resources.workloadGroups])
      informers.for(resource).on(() => this.#look())
    this.#look()
  }

  /** Ends: who is connected now is not taken for gone. */
  close(): void {
    this.#started = 0
    this.#timer?.cancel()
  }

  /** The entry that a connected proxy stands for. */
  entryOf(proxy: ProxyIdentity): KubeObject | undefined {
    const name = entryName(proxy)
    return name ? this.#options.informers.for(resources.workloadEntries).get(`${proxy.namespace}/${name}`) : undefined
  }

  /** Takes a stream on; says why not, with gRPC's code, where a proxy stands for an entry that it may not have. */
  admit(stream: ProxyStream): { code: number; reason: string } | undefined {
    const { proxy } = stream
    const name = proxy ? entryName(proxy) : ''
    if (!proxy || !name) return undefined
    if (isIP(proxy.ip) === 0) return failed(`${proxy.id} has no valid IP address: "${proxy.ip}"`)
    const { informers } = this.#options
    const key = `${proxy.namespace}/${name}`
    const known = informers.for(resources.workloadEntries).get(key)
    const group = groupOf(proxy)
    if (!known && !group) return failed(`WorkloadEntry ${key}, which ${proxy.id} stands for, is not found`)
    if (known && !group && !isHealthChecked(known)) return undefined
    const template = group ? informers.for(resources.workloadGroups).get(`${proxy.namespace}/${group}`) : undefined
    if (!known && !template)
      return failed(
        `auto-registration WorkloadEntry of ${proxy.id} failed: cannot find WorkloadGroup ${proxy.namespace}/${group}`,
      )
    const problem = identityProblem(known ?? entryFromGroup(template!, proxy), proxy)
    if (problem) return { code: GrpcCode.permissionDenied, reason: problem }
    const before = this.#standing.get(key)
    const streams = before?.streams ?? new Set()
    this.#standing.set(key, { health: before?.health, proxy, connectedAt: stream.connectedAt, streams })
    streams.add(stream)
    this.#look()
    return undefined
  }

  /** A stream has ended. */
  gone(stream: ProxyStream): void {
    for (const [key, { streams }] of this.#standing)
      if (streams.delete(stream) && streams.size === 0) {
        this.#standing.delete(key)
        this.#look()
      }
  }

  /** Takes what a proxy says of its workload's health; false when the request says something else. */
  hear(stream: ProxyStream, request: Message): boolean {
    if (request.type_url !== HEALTH_TYPE) return false
    for (const standing of this.#standing.values())
      if (standing.streams.has(stream)) {
        const message: string = request.error_detail?.message ?? ''
        standing.health = { healthy: !request.error_detail, message, at: rfc3339(this.#options.clock.now()) }
        this.#look()
      }
    return true
  }

  #look(): void {
    if (this.#started > 0) void this.#job.trigger()
  }

  #lookAfter(ms: number): void {
    this.#timer?.cancel()
    this.#timer = this.#options.clock.after(ms, () => this.#look())
  }

  async #reconcile(): Promise<void> {
    const { informers } = this.#options
    const entries = informers.for(resources.workloadEntries)
    let next = Number.POSITIVE_INFINITY
    const attempt = async (key: string, work: () => Promise<number>, standing?: Standing) => {
      if (this.#started === 0) return
      try {
        next = Math.min(next, await work())
      } catch (error) {
        // Somebody was faster, and the informers will say so.
        if (isConflict(error) || isAlreadyExists(error) || isNotFound(error)) return
        this.#options.log.warn('WorkloadEntry not reconciled', { entry: key, error: messageOf(error) })
        // What the API refuses is its machine's to mend.
        if (standing && error instanceof StatusError && error.status.code < 500)
          for (const stream of standing.streams)
            stream.end?.(GrpcCode.failedPrecondition, `WorkloadEntry ${key}: ${messageOf(error)}`)
        else next = Math.min(next, AGAIN_MS)
      }
    }
    for (const [key, standing] of [...this.#standing])
      await attempt(key, () => this.#keep(entries.get(key), standing), standing)
    for (const entry of entries.list())
      if (!this.#standing.has(keyOf(entry))) await attempt(keyOf(entry), () => this.#release(entry))
    if (Number.isFinite(next)) this.#lookAfter(next)
  }

  /**
   * The entry of a proxy that is here: made, marked, and with the health that was told. Returns the milliseconds until
   * it is to be looked at again.
   */
  async #keep(entry: KubeObject | undefined, standing: Standing): Promise<number> {
    const { informers, clock, instance, log } = this.#options
    const { client } = informers
    const now = clock.now()
    if (Date.parse(standing.connectedAt) + RENEW_MS <= now) standing.connectedAt = new Date(now).toISOString()
    const { proxy, connectedAt, health } = standing
    const next = Date.parse(connectedAt) + RENEW_MS - now
    const marks = { [CONTROLLER]: instance, [CONNECTED_AT]: connectedAt }
    if (!entry) {
      const group = informers.for(resources.workloadGroups).get(`${proxy.namespace}/${groupOf(proxy)}`)
      if (!group) return next
      const made = entryFromGroup(group, proxy)
      const { metadata } = made
      const annotations = { ...metadata.annotations, ...marks }
      await client.create(resources.workloadEntries, { ...made, metadata: { ...metadata, annotations } })
      log.info('workload registered', { entry: `${proxy.namespace}/${metadata.name}`, proxy: proxy.id })
      return next
    }
    const { [DISCONNECTED_AT]: away, ...annotations } = entry.metadata.annotations ?? {}
    const mine = annotations[CONTROLLER] === instance
    // It has connected to another server since: this stream will end.
    if (!mine && Date.parse(annotations[CONNECTED_AT] ?? '') >= Date.parse(connectedAt)) return next
    if (away || !mine || annotations[CONNECTED_AT] !== connectedAt)
      await client.update(resources.workloadEntries, {
        ...entry,
        metadata: { ...entry.metadata, annotations: { ...annotations, ...marks } },
      })
    else if (health && isHealthChecked(entry)) {
      const status = statusWith(entry, health)
      if (status) await client.updateStatus(resources.workloadEntries, { ...entry, status })
    }
    return next
  }

  /**
   * An entry whose proxy is not here: marked, and after a while removed, or no longer said to be well. Returns the
   * milliseconds until it is to be looked at again.
   */
  async #release(entry: KubeObject): Promise<number> {
    const { informers, clock, instance, log } = this.#options
    const { client } = informers
    const { [CONNECTED_AT]: connected, ...annotations } = entry.metadata.annotations ?? {}
    const registered = REGISTERED_BY in annotations
    if (!registered && !(isHealthChecked(entry) && hasHealth(entry))) return Number.POSITIVE_INFINITY
    const now = clock.now()
    if (connected) {
      // Another server's proxies are its own affair, as long as it says that they are there.
      const since = Date.parse(connected)
      const mine = annotations[CONTROLLER] === instance
      const wait = !mine ? since + 3 * RENEW_MS - now : since < this.#started ? this.#started + RETURN_MS - now : 0
      if (wait > 0) return wait
      annotations[DISCONNECTED_AT] = rfc3339(now)
      await client.update(resources.workloadEntries, { ...entry, metadata: { ...entry.metadata, annotations } })
      return GRACE_MS
    }
    const away = Date.parse(annotations[DISCONNECTED_AT] ?? '')
    if (Number.isNaN(away)) return Number.POSITIVE_INFINITY
    if (away + GRACE_MS > now) return away + GRACE_MS - now
    const { namespace = '', name, resourceVersion } = entry.metadata
    if (registered) await client.delete(resources.workloadEntries, namespace, name, { resourceVersion })
    else await client.updateStatus(resources.workloadEntries, { ...entry, status: statusWith(entry, undefined) })
    log.info('workload gone', { entry: keyOf(entry) })
    return Number.POSITIVE_INFINITY
  }
}

const failed = (reason: string) => ({ code: GrpcCode.failedPrecondition, reason })
