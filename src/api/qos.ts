// The quality-of-service class of a pod.

import { parseQuantity } from './quantity.ts'
import type { Json } from './types.ts'

/** Decided by requests and limits of cpu and memory; a zero counts as not given. */
export function qosClass(spec: Json): 'Guaranteed' | 'Burstable' | 'BestEffort' {
  let any = false
  let guaranteed = true
  for (const c of [...(spec.initContainers ?? []), ...(spec.containers ?? [])] as Json[]) {
    const { requests = {}, limits = {} } = c.resources ?? {}
    for (const name of ['cpu', 'memory']) {
      const request = parseQuantity(requests[name] ?? '0') ?? 0
      const limit = parseQuantity(limits[name] ?? '0') ?? 0
      if (request > 0 || limit > 0) any = true
      if (limit === 0 || (requests[name] !== undefined && request !== limit)) guaranteed = false
    }
  }
  return !any ? 'BestEffort' : guaranteed ? 'Guaranteed' : 'Burstable'
}
