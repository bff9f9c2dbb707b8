// Parts of this process shown as pods: their readiness is the part's health, their log is the part's log.

import { connect } from 'node:net'
import { condition, errors, isAlreadyExists, type Json, type KubeObject, keyOf, resources, sameJson } from '#api'
import { type Clock, type Log, messageOf, rfc3339 } from '#base'
import type { Client, Informers } from '#client'
import { type LogQuery, readLogFile } from './container-logs.ts'
import type { ForwardStreams } from './streams.ts'

/** A part of this process. */
export interface SystemPart {
  readonly name: string
  readonly namespace: string
  /** Whether the pod is made here (as static pods are) or by a controller. */
  readonly mirror: boolean
  readonly logFile: string
  readonly labels: Readonly<Record<string, string>>
  /** Why it is not in order, if so. */
  problem(): string | undefined
}

export interface SystemPartsOptions {
  parts: readonly SystemPart[]
  informers: Informers
  clock: Clock
  log: Log
  nodeName: string
  hostIp: string
  /** The address the parts listen on. */
  listenIp: string
  startedAt: number
  version: string
}

/** The annotation by which a pod is one of them. It counts in the system's own namespaces only. */
export const PART_ANNOTATION = 'sampan.dev/part'
const MIRROR = 'kubernetes.io/config.mirror'
const LOOK_MS = 2000
/** A deleted mirror pod stays away this long: `kubectl delete` lists, then watches, and must once see it gone. */
const AWAY_MS = 1000

export class SystemParts {
  readonly #options: SystemPartsOptions

  constructor(options: SystemPartsOptions) {
    this.#options = options
  }

  /** The part behind a pod; undefined for every other pod. */
  partOf(pod: KubeObject): SystemPart | undefined {
    const name = pod.metadata.annotations?.[PART_ANNOTATION]
    return name === undefined
      ? undefined
      : this.#options.parts.find((p) => p.name === name && p.namespace === pod.metadata.namespace)
  }

  /** Makes the mirror pods, again when somebody deletes them, and keeps every status true. */
  start(signal: AbortSignal): void {
    const { informers, clock, parts } = this.#options
    const pods = informers.for(resources.pods)
    pods.on(({ type, object }) => {
      const part = this.partOf(object)
      if (type === 'deleted' && part?.mirror) clock.after(AWAY_MS, () => !signal.aborted && void this.#create(part))
    })
    for (const part of parts) if (part.mirror) void this.#create(part)
    const look = () => {
      if (signal.aborted) return
      for (const pod of pods.list()) if (this.partOf(pod)) this.update(pod)
      clock.after(LOOK_MS, look)
    }
    look()
  }

  /** A pod of a part was seen: it goes when it is told to, otherwise its status is brought up to date. */
  update(pod: KubeObject): void {
    const part = this.partOf(pod)
    const { log } = this.#options
    if (!part || pod.spec?.nodeName !== this.#options.nodeName) return
    this.#write(pod, part).catch((error) =>
      log.warn('status not written', { pod: keyOf(pod), error: messageOf(error) }),
    )
  }

  logs(pod: KubeObject, query: LogQuery, onData: (data: Buffer) => void, signal: AbortSignal): Promise<void> {
    if (query.previous) throw errors.badRequest('previous terminated container not found')
    const { clock } = this.#options
    return readLogFile(this.partOf(pod)!.logFile, 'plain', query, onData, clock, () => false, signal)
  }

  refuseStreams(pod: KubeObject): never {
    throw errors.badRequest(
      `pod ${pod.metadata.name} is a part of the sampan process and has no container: commands cannot be run in it`,
    )
  }

  forward(port: number): Promise<ForwardStreams> {
    const socket = connect({ host: this.#options.listenIp, port, allowHalfOpen: true })
    const streams: ForwardStreams = {
      onData: () => {},
      onEnd: () => {},
      onError: () => {},
      write: (data) => socket.write(data),
      end: () => socket.end(),
      close: () => socket.destroy(),
    }
    socket.on('data', (data: Buffer) => streams.onData(data))
    socket.on('end', () => streams.onEnd())
    socket.on('error', (error) => streams.onError(error.message))
    return Promise.resolve(streams)
  }

  async #create(part: SystemPart): Promise<void> {
    const { informers, nodeName, log } = this.#options
    const node = informers.for(resources.nodes).get(nodeName)
    try {
      await informers.client.create(resources.pods, {
        metadata: {
          name: `${part.name}-${nodeName}`,
          namespace: part.namespace,
          labels: { ...part.labels },
          annotations: { [PART_ANNOTATION]: part.name, [MIRROR]: part.name, 'kubernetes.io/config.source': 'sampan' },
          ...(node
            ? {
                ownerReferences: [
                  { apiVersion: 'v1', kind: 'Node', name: nodeName, uid: node.metadata.uid, controller: true },
                ],
              }
            : {}),
        },
        spec: { ...partSpec(part.name, this.#options.version), nodeName },
      })
    } catch (error) {
      if (!isAlreadyExists(error)) log.warn('pod not made', { part: part.name, error: messageOf(error) })
    }
  }

  async #write(pod: KubeObject, part: SystemPart): Promise<void> {
    const { informers } = this.#options
    const client: Client = informers.client
    const { namespace = '', name, uid } = pod.metadata
    if (pod.metadata.deletionTimestamp)
      return client.delete(resources.pods, namespace, name, { gracePeriodSeconds: 0, uid })
    const status = partStatus(pod, part.problem(), this.#options)
    if (!sameJson(status, pod.status)) await client.updateStatus(resources.pods, { ...pod, status })
  }
}

/** The spec of a part's pod: one container that is this process. */
export function partSpec(name: string, version: string): Json {
  return {
    hostNetwork: true,
    automountServiceAccountToken: false,
    enableServiceLinks: false,
    tolerations: [{ operator: 'Exists' }],
    containers: [{ name, image: `sampan.local/${name}:v${version}`, imagePullPolicy: 'Never' }],
  }
}

/** A pod's status out of a part's health. Pure. */
export function partStatus(
  pod: KubeObject,
  problem: string | undefined,
  context: { clock: Clock; hostIp: string; startedAt: number },
): Json {
  const now = rfc3339(context.clock.now())
  const startedAt = rfc3339(context.startedAt)
  const ok = problem === undefined
  const set = (type: string, met: boolean): Json => {
    const before = condition(pod, type)
    const status = met ? 'True' : 'False'
    return {
      type,
      status,
      lastProbeTime: null,
      lastTransitionTime: before?.status === status ? before.lastTransitionTime : now,
      ...(met ? {} : { reason: 'ContainersNotReady', message: problem }),
    }
  }
  const name: string = pod.spec.containers[0].name
  const before = pod.status?.containerStatuses?.[0]
  const restarted = before?.state?.running && before.state.running.startedAt !== startedAt
  return {
    phase: 'Running',
    conditions: [
      set('Initialized', true),
      set('Ready', ok),
      set('ContainersReady', ok),
      condition(pod, 'PodScheduled') ?? set('PodScheduled', true),
    ],
    hostIP: context.hostIp,
    hostIPs: [{ ip: context.hostIp }],
    podIP: context.hostIp,
    podIPs: [{ ip: context.hostIp }],
    startTime: pod.status?.startTime ?? now,
    containerStatuses: [
      {
        name,
        state: { running: { startedAt } },
        lastState: before?.lastState ?? {},
        ready: ok,
        restartCount: (before?.restartCount ?? 0) + (restarted ? 1 : 0),
        image: pod.spec.containers[0].image,
        imageID: pod.spec.containers[0].image,
        started: true,
      },
    ],
    qosClass: pod.status?.qosClass ?? 'BestEffort',
  }
}
