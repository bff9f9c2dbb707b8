// The decision: which node a pod goes to, or why none will do.

import type { KubeObject } from '#api'
import type { NodeInfo, Plugin } from './plugin.ts'

export type Decision = { node: string } | { reason: string }

/** Filters, then scores; equal scores go to the node with fewer pods. */
export function decide(pod: KubeObject, nodes: readonly NodeInfo[], plugins: readonly Plugin[]): Decision {
  if (nodes.length === 0) return { reason: 'no nodes available to schedule pods' }
  const refusals = new Map<string, number>()
  const feasible: { info: NodeInfo; score: number }[] = []
  for (const info of nodes) {
    let refusal: string | undefined
    for (const plugin of plugins) {
      refusal = plugin.filter?.(pod, info)
      if (refusal) break
    }
    if (refusal) refusals.set(refusal, (refusals.get(refusal) ?? 0) + 1)
    else feasible.push({ info, score: plugins.reduce((n, p) => n + (p.score?.(pod, info) ?? 0), 0) })
  }
  if (feasible.length === 0) {
    const reasons = [...refusals].map(([reason, count]) => `${count} ${reason}`).sort()
    return { reason: `0/${nodes.length} nodes are available: ${reasons.join(', ')}.` }
  }
  feasible.sort((a, b) => b.score - a.score || a.info.pods.length - b.info.pods.length)
  return { node: feasible[0]!.info.node.metadata.name }
}
