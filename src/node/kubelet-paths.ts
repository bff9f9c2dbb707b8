// What the node answers at a kubelet's own paths, reached by the proxy subresource of the node.

import { type Json, parseQuantity, resources } from '#api'
import { type Clock, rfc3339 } from '#base'
import type { Informers } from '#client'
import type { Usage } from './usage.ts'

export interface KubeletPathsOptions {
  informers: Informers
  usage: Usage
  clock: Clock
  nodeName: string
}

/** The answer at a path of the node named; undefined when there is none. */
export async function kubeletAnswer(
  { informers, usage, clock, nodeName }: KubeletPathsOptions,
  node: string,
  path: string,
): Promise<{ type: string; body: string } | undefined> {
  if (node !== nodeName) return undefined
  const json = (value: Json) => ({ type: 'application/json', body: JSON.stringify(value) })
  switch (path.replace(/\/+$/, '')) {
    case '/healthz':
      return { type: 'text/plain; charset=utf-8', body: 'ok' }
    case '/pods': {
      const pods = informers.for(resources.pods).list()
      const here = pods.filter((p) => p.spec?.nodeName === nodeName)
      return json({ kind: 'PodList', apiVersion: 'v1', metadata: {}, items: here })
    }
    case '/stats/summary': {
      const [nodes, pods] = [await usage.nodes(), await usage.pods()]
      return json(summary(nodes[0], pods, nodeName, rfc3339(clock.now())))
    }
    default:
      return undefined
  }
}

const nanocores = (usage: Json) => Math.round((parseQuantity(usage.cpu) ?? 0) * 1e9)

/** The kubelet's stats/v1alpha1 Summary, as far as metrics tell. Pure. */
export function summary(node: Json | undefined, pods: readonly Json[], nodeName: string, time: string): Json {
  const stats = (usage: Json): Json => ({
    cpu: { time, usageNanoCores: nanocores(usage) },
    memory: { time, workingSetBytes: parseQuantity(usage.memory) ?? 0 },
  })
  return {
    node: { nodeName, ...(node ? stats(node.usage) : {}) },
    pods: pods.map((p) => ({
      podRef: { name: p.metadata.name, namespace: p.metadata.namespace },
      containers: (p.containers as Json[]).map((c) => ({ name: c.name, ...stats(c.usage) })),
    })),
  }
}
