// The scheduler's plugins: resources, node selectors, taints, host ports, readiness.

import { bytesOf, type Json, type KubeObject, milliCpu } from '#api'
import type { NodeInfo, Plugin } from './plugin.ts'
import { podRequests } from './resource-requests.ts'

const active = (pod: KubeObject) => pod.status?.phase !== 'Failed' && pod.status?.phase !== 'Succeeded'

function used(info: NodeInfo): { cpu: number; memory: number; pods: number } {
  const total = { cpu: 0, memory: 0, pods: 0 }
  for (const pod of info.pods) {
    if (!active(pod)) continue
    const r = podRequests(pod)
    total.cpu += r.cpu
    total.memory += r.memory
    total.pods++
  }
  return total
}

const nodeResourcesFit: Plugin = {
  name: 'NodeResourcesFit',
  filter(pod, info) {
    const { allocatable = {} } = info.node.status ?? {}
    const wanted = podRequests(pod)
    const now = used(info)
    if (now.pods + 1 > Number(allocatable.pods ?? 110)) return 'Too many pods'
    if (wanted.cpu > 0 && now.cpu + wanted.cpu > milliCpu(allocatable.cpu)) return 'Insufficient cpu'
    if (wanted.memory > 0 && now.memory + wanted.memory > bytesOf(allocatable.memory)) return 'Insufficient memory'
    return undefined
  },
  score(pod, info) {
    const { allocatable = {} } = info.node.status ?? {}
    const wanted = podRequests(pod)
    const now = used(info)
    const free = (capacity: number, taken: number) => (capacity > 0 ? Math.max(0, (capacity - taken) / capacity) : 0)
    return (
      50 *
      (free(milliCpu(allocatable.cpu), now.cpu + wanted.cpu) +
        free(bytesOf(allocatable.memory), now.memory + wanted.memory))
    )
  },
}

const nodeAffinity: Plugin = {
  name: 'NodeAffinity',
  filter(pod, { node }) {
    const labels = node.metadata.labels ?? {}
    const message = "node(s) didn't match Pod's node affinity/selector"
    for (const [key, value] of Object.entries(pod.spec.nodeSelector ?? {})) if (labels[key] !== value) return message
    const terms: Json[] | undefined =
      pod.spec.affinity?.nodeAffinity?.requiredDuringSchedulingIgnoredDuringExecution?.nodeSelectorTerms
    return terms && !terms.some((t) => matchesTerm(t, node)) ? message : undefined
  },
}

function matchesTerm(term: Json, node: KubeObject): boolean {
  const meets = (e: Json, value: string | undefined): boolean => {
    switch (e.operator) {
      case 'In':
        return value !== undefined && e.values.includes(value)
      case 'NotIn':
        return value === undefined || !e.values.includes(value)
      case 'Exists':
        return value !== undefined
      case 'DoesNotExist':
        return value === undefined
      case 'Gt':
        return Number(value) > Number(e.values[0])
      default:
        return Number(value) < Number(e.values[0])
    }
  }
  const byLabel = (term.matchExpressions ?? []).every((e: Json) => meets(e, node.metadata.labels?.[e.key]))
  return byLabel && (term.matchFields ?? []).every((e: Json) => meets(e, node.metadata.name))
}

const taintToleration: Plugin = {
  name: 'TaintToleration',
  filter(pod, { node }) {
    for (const taint of (node.spec?.taints ?? []) as Json[]) {
      if (taint.effect === 'PreferNoSchedule') continue
      if (!tolerates(pod, taint)) return `node(s) had untolerated taint {${taint.key}: ${taint.value ?? ''}}`
    }
    return undefined
  },
}

function tolerates(pod: KubeObject, taint: Json): boolean {
  return (pod.spec.tolerations ?? []).some(
    (t: Json) =>
      (!t.effect || t.effect === taint.effect) &&
      (!t.key || t.key === taint.key) &&
      (t.operator === 'Exists' || (t.value ?? '') === (taint.value ?? '')),
  )
}

const nodeUnschedulable: Plugin = {
  name: 'NodeUnschedulable',
  filter(pod, { node }) {
    const taint = { key: 'node.kubernetes.io/unschedulable', effect: 'NoSchedule' }
    return node.spec?.unschedulable && !tolerates(pod, taint) ? 'node(s) were unschedulable' : undefined
  },
}

const nodePorts: Plugin = {
  name: 'NodePorts',
  filter(pod, info) {
    const ports = (p: KubeObject): string[] =>
      (p.spec.containers ?? []).flatMap((c: Json) =>
        (c.ports ?? []).filter((x: Json) => x.hostPort).map((x: Json) => `${x.protocol ?? 'TCP'}/${x.hostPort}`),
      )
    const wanted = ports(pod)
    if (wanted.length === 0) return undefined
    const taken = new Set(info.pods.filter(active).flatMap(ports))
    return wanted.some((w) => taken.has(w)) ? "node(s) didn't have free ports for the requested pod ports" : undefined
  },
}

export const PLUGINS: readonly Plugin[] = [
  nodeUnschedulable,
  taintToleration,
  nodeAffinity,
  nodePorts,
  nodeResourcesFit,
]
