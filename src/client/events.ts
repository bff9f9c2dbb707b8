// Records Events: what happened to an object, counted when it happens again.

import { isNotFound, type KubeObject, resources } from '#api'
import { type Clock, type Log, messageOf, rfc3339 } from '#base'
import type { Client } from './contract.ts'

/** An object an event can be about. */
export interface EventTarget {
  apiVersion: string
  kind: string
  metadata: { name: string; namespace?: string; uid: string; resourceVersion?: string }
}

interface Known {
  name: string
  count: number
  /** When the count was last written, milliseconds. */
  told: number
}

/** The same event is written again after this long at the soonest. */
const REPEAT_MS = 10_000

let latest = 0n

/** Nanoseconds since 1970 in hexadecimal, never the same twice in this process. */
function timeName(ms: number): string {
  const now = BigInt(Math.floor(ms)) * 1_000_000n
  latest = now > latest ? now : latest + 1n
  return latest.toString(16)
}

/** Writes events in the background; an event that cannot be written is dropped. */
export class EventRecorder {
  readonly #client: Client
  readonly #clock: Clock
  readonly #log: Log
  readonly #component: string
  readonly #host: string
  /** Events written lately, to count repetitions. */
  readonly #known = new Map<string, Known>()
  #queue: Promise<void> = Promise.resolve()
  #length = 0

  constructor(client: Client, clock: Clock, log: Log, component: string, host = '') {
    this.#client = client
    this.#clock = clock
    this.#log = log
    this.#component = component
    this.#host = host
  }

  normal(target: EventTarget, reason: string, message: string, fieldPath = ''): void {
    this.#record(target, 'Normal', reason, message, fieldPath)
  }

  warning(target: EventTarget, reason: string, message: string, fieldPath = ''): void {
    this.#record(target, 'Warning', reason, message, fieldPath)
  }

  #record(target: EventTarget, type: string, reason: string, message: string, fieldPath: string): void {
    if (this.#length > 1000) return
    this.#length++
    this.#queue = this.#queue
      .then(() => this.#write(target, type, reason, message.slice(0, 1024), fieldPath))
      .catch((error) => this.#log.debug('event dropped', { reason, error: messageOf(error) }))
      .finally(() => {
        this.#length--
      })
  }

  async #write(target: EventTarget, type: string, reason: string, message: string, fieldPath: string): Promise<void> {
    const now = rfc3339(this.#clock.now())
    const { name, namespace = 'default', uid } = target.metadata
    const key = [target.kind, namespace, name, uid, type, reason, message, fieldPath].join('\0')
    const known = this.#known.get(key)
    if (known) {
      known.count++
      // What happens again at once is counted, and told of when it still happens a while later.
      if (this.#clock.now() - known.told < REPEAT_MS) return
      known.told = this.#clock.now()
      try {
        await this.#client.patch(
          resources.events,
          namespace,
          known.name,
          { count: known.count, lastTimestamp: now },
          'merge',
        )
        return
      } catch (error) {
        if (!isNotFound(error)) throw error
      }
    }
    // Names in order of time, as upstream's: lists of events are sorted by seconds, then by name.
    const eventName = `${name.slice(0, 230)}.${timeName(this.#clock.now())}`
    const entry: Known = { name: eventName, count: 1, told: this.#clock.now() }
    if (this.#known.size > 2000) this.#known.clear()
    this.#known.set(key, entry)
    await this.#client.create(resources.events, {
      metadata: { name: eventName, namespace },
      involvedObject: {
        kind: target.kind,
        apiVersion: target.apiVersion,
        namespace: target.metadata.namespace ?? '',
        name,
        uid,
        ...(target.metadata.resourceVersion ? { resourceVersion: target.metadata.resourceVersion } : {}),
        ...(fieldPath ? { fieldPath } : {}),
      },
      type,
      reason,
      message,
      source: { component: this.#component, ...(this.#host ? { host: this.#host } : {}) },
      reportingComponent: this.#component,
      reportingInstance: this.#host,
      firstTimestamp: now,
      lastTimestamp: now,
      count: 1,
      eventTime: null,
    })
  }
}

/** The object an event is about. */
export function targetOf(object: KubeObject): EventTarget {
  return object
}
