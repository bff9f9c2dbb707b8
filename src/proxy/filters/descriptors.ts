// What of a request is counted by a rate limit: descriptors out of a route's actions (route_components.proto, RateLimit).

import type { Message } from '#wire'
import { compileHeader } from '../config/matchers.ts'
import type { RateLimitAction } from '../config/model.ts'
import { queryParameter, requestField, requestFits } from '../http/request.ts'
import type { FilterExchange } from './filter.ts'

export interface DescriptorEntry {
  readonly key: string
  readonly value: string
}

/** The descriptors of a stage; one whose entry is missing falls away as a whole. */
export function descriptorsOf(
  limits: readonly RateLimitAction[],
  stage: number,
  exchange: FilterExchange,
): DescriptorEntry[][] {
  const all: DescriptorEntry[][] = []
  for (const limit of limits) {
    if (limit.stage !== stage) continue
    const entries: DescriptorEntry[] = []
    const whole = (limit.actions as Message[]).every((action) => {
      const entry = entryOf(action, exchange)
      if (entry === 'skip') return true
      if (entry) entries.push(entry)
      return entry !== undefined
    })
    if (whole && entries.length > 0) all.push(entries)
  }
  return all
}

function entryOf(a: Message, exchange: FilterExchange): DescriptorEntry | 'skip' | undefined {
  const { request } = exchange
  if (a.generic_key)
    return { key: a.generic_key.descriptor_key || 'generic_key', value: a.generic_key.descriptor_value }
  if (a.request_headers) {
    const value = requestField(request, String(a.request_headers.header_name).toLowerCase())
    if (value === undefined) return a.request_headers.skip_if_absent ? 'skip' : undefined
    return { key: a.request_headers.descriptor_key, value }
  }
  if (a.remote_address) return { key: 'remote_address', value: exchange.client }
  if (a.destination_cluster) {
    const value = exchange.route()?.clusters[0]?.name
    return value === undefined ? undefined : { key: 'destination_cluster', value }
  }
  if (a.source_cluster) return { key: 'source_cluster', value: exchange.context.peers.cluster }
  if (a.header_value_match) {
    const { headers = [], expect_match: expect, descriptor_key: key, descriptor_value: value } = a.header_value_match
    const fits = (headers as Message[]).every((h) => requestFits(compileHeader(h, 'rate limit'), request))
    return fits === (expect?.value ?? true) ? { key: key || 'header_match', value } : undefined
  }
  if (a.query_parameters) {
    const value = queryParameter(request.path, a.query_parameters.query_parameter_name)
    if (value === undefined) return a.query_parameters.skip_if_absent ? 'skip' : undefined
    return { key: a.query_parameters.descriptor_key, value }
  }
  return undefined
}
