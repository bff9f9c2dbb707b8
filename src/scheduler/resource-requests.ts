// What a pod asks for, in thousandths of a core and bytes.

import { bytesOf, type Json, type KubeObject, milliCpu } from '#api'

export interface Requests {
  cpu: number
  memory: number
}

/** The sum over containers, or the largest init container if that is more; sidecars count as containers. */
export function podRequests(pod: KubeObject): Requests {
  const of = (c: Json): Requests => ({
    cpu: milliCpu(c.resources?.requests?.cpu),
    memory: bytesOf(c.resources?.requests?.memory),
  })
  const total: Requests = { cpu: 0, memory: 0 }
  const largest: Requests = { cpu: 0, memory: 0 }
  const add = (r: Requests) => {
    total.cpu += r.cpu
    total.memory += r.memory
  }
  for (const c of (pod.spec.initContainers ?? []) as Json[]) {
    const r = of(c)
    if (c.restartPolicy === 'Always') add(r)
    largest.cpu = Math.max(largest.cpu, total.cpu + (c.restartPolicy === 'Always' ? 0 : r.cpu))
    largest.memory = Math.max(largest.memory, total.memory + (c.restartPolicy === 'Always' ? 0 : r.memory))
  }
  for (const c of (pod.spec.containers ?? []) as Json[]) add(of(c))
  return { cpu: Math.max(total.cpu, largest.cpu), memory: Math.max(total.memory, largest.memory) }
}
