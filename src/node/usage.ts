// What pods and the node use now, as metrics.k8s.io tells it: two looks a moment apart, made when somebody asks.

import { readFileSync } from 'node:fs'
import { type Json, type KubeObject, resources } from '#api'
import { type Clock, rfc3339, sleep } from '#base'
import type { Informers } from '#client'
import type { ContainerUsage, Runtime } from './runtime.ts'

/** Between the looks, milliseconds. A look this old at most serves as the first one. */
const BETWEEN_MS = 500
const FRESH_MS = 60_000

interface Look {
  readonly at: number
  readonly containers: readonly ContainerUsage[]
  /** Processor time of the whole machine that was not idle, in nanoseconds. */
  readonly busy: number
  readonly memoryBytes: number
}

export interface UsageOptions {
  runtime: Runtime
  informers: Informers
  clock: Clock
  nodeName: string
}

export class Usage {
  readonly #options: UsageOptions
  #last: Look | undefined

  constructor(options: UsageOptions) {
    this.#options = options
  }

  /** PodMetrics of all pods that run. */
  async pods(): Promise<Json[]> {
    const [before, after] = await this.#looks()
    return podMetrics(this.#options.informers.for(resources.pods).list(), before, after)
  }

  /** NodeMetrics of this node. */
  async nodes(): Promise<Json[]> {
    const { informers, nodeName } = this.#options
    const [before, after] = await this.#looks()
    const node = informers.for(resources.nodes).get(nodeName)
    const cpu = rate(before.busy, after.busy, after.at - before.at)
    return node ? [{ ...metrics('NodeMetrics', node, before, after), usage: usageOf(cpu, after.memoryBytes) }] : []
  }

  async #looks(): Promise<[Look, Look]> {
    const { clock } = this.#options
    let before = this.#last
    const age = before ? clock.now() - before.at : Number.POSITIVE_INFINITY
    if (!before || age > FRESH_MS) before = await this.#look()
    if (age > FRESH_MS || age < BETWEEN_MS) await sleep(clock, BETWEEN_MS)
    let after = await this.#look()
    const known = new Set(before.containers.map((c) => c.id))
    if (after.containers.some((c) => !known.has(c.id))) {
      // Containers that started since are seen twice as well.
      before = after
      await sleep(clock, BETWEEN_MS)
      after = await this.#look()
    }
    this.#last = after
    return [before, after]
  }

  async #look(): Promise<Look> {
    const { runtime, clock } = this.#options
    const containers = await runtime.usage()
    return {
      at: clock.now(),
      containers,
      busy: busyTime(readFileSync('/proc/stat', 'utf8')),
      memoryBytes: usedMemory(readFileSync('/proc/meminfo', 'utf8')),
    }
  }
}

/** Nanocores out of two counters of nanoseconds. */
const rate = (before: number, after: number, ms: number) =>
  ms > 0 ? Math.max(0, Math.round(((after - before) * 1000) / ms)) : 0

const usageOf = (nanocores: number, bytes: number) => ({ cpu: `${nanocores}n`, memory: `${Math.ceil(bytes / 1024)}Ki` })

function metrics(kind: string, object: KubeObject, before: Look, after: Look): Json {
  const { name, namespace, labels, creationTimestamp: _ } = object.metadata
  return {
    kind,
    apiVersion: 'metrics.k8s.io/v1beta1',
    metadata: {
      name,
      ...(namespace ? { namespace } : {}),
      ...(labels ? { labels } : {}),
      creationTimestamp: rfc3339(after.at),
    },
    timestamp: rfc3339(after.at),
    window: `${((after.at - before.at) / 1000).toFixed(3)}s`,
  }
}

/** PodMetrics out of two looks. Pure. */
export function podMetrics(pods: readonly KubeObject[], before: Look, after: Look): Json[] {
  const earlier = new Map(before.containers.map((c) => [c.id, c]))
  const byPod = Map.groupBy(after.containers, (c) => c.podUid)
  return pods.flatMap((pod) => {
    const { containerStatuses = [], initContainerStatuses = [] } = pod.status ?? {}
    // An init container that is done uses nothing any more.
    const ended = new Set(
      [...containerStatuses, ...initContainerStatuses]
        .filter((s: Json) => s.state?.terminated)
        .map((s: Json) => s.name),
    )
    const containers = (byPod.get(pod.metadata.uid) ?? []).filter((c) => earlier.has(c.id) && !ended.has(c.name))
    if (containers.length === 0) return []
    return [
      {
        ...metrics('PodMetrics', pod, before, after),
        containers: containers.map((c) => ({
          name: c.name,
          usage: usageOf(
            rate(earlier.get(c.id)!.cpuNanoseconds, c.cpuNanoseconds, after.at - before.at),
            c.memoryBytes,
          ),
        })),
      },
    ]
  })
}

/** /proc/stat counts in hundredths of a second (proc(5)). */
function busyTime(stat: string): number {
  const [, user = 0, nice = 0, system = 0, , , irq = 0, softirq = 0] = (stat.split('\n')[0] ?? '')
    .split(/\s+/)
    .map(Number)
  return (user + nice + system + irq + softirq) * 1e7
}

function usedMemory(meminfo: string): number {
  const of = (name: string) => Number(new RegExp(`^${name}:\\s+(\\d+)`, 'm').exec(meminfo)?.[1] ?? 0)
  return (of('MemTotal') - of('MemAvailable')) * 1024
}
