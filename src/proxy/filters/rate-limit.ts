// Requests are counted by a rate limit service for all proxies (envoy.service.ratelimit.v3).

import { fromDuration, xds } from '#api/xds'
import type { Message } from '#wire'
import { refuse } from '../config/matchers.ts'
import { toldFields } from '../http/field-text.ts'
import { descriptorsOf } from './descriptors.ts'
import { type HttpFilter, isDisabled } from './filter.ts'
import { grpcCall } from './side-call.ts'

const PATH = '/envoy.service.ratelimit.v3.RateLimitService/ShouldRateLimit'
const OVER_LIMIT = 2

const pairs = (list: readonly Message[] | undefined) =>
  toldFields((list ?? []).flatMap((h) => [String(h.key).toLowerCase(), String(h.value ?? '')]))

export function rateLimitFilter(name: string, config: Message, what: string): HttpFilter {
  const cluster: string =
    config.rate_limit_service?.grpc_service?.envoy_grpc?.cluster_name ??
    refuse(what, 'names no cluster of a rate limit service')
  const types = {
    request: xds('envoy.service.ratelimit.v3.RateLimitRequest'),
    response: xds('envoy.service.ratelimit.v3.RateLimitResponse'),
  }
  const timeout = fromDuration(config.timeout) ?? 20
  return {
    name,
    onRequest(exchange, next) {
      const settings = exchange.settings(name)
      if (isDisabled(settings)) return next()
      const descriptors = descriptorsOf(exchange.route()?.limits ?? [], config.stage ?? 0, exchange)
      if (descriptors.length === 0) return next()
      const domain = (settings as Message | undefined)?.domain || config.domain
      const message = { domain, descriptors: descriptors.map((entries) => ({ entries })), hits_addend: 1 }
      const giveUp = grpcCall(exchange.context, cluster, PATH, types, message, { timeout }, (answer) => {
        if (exchange.over) return
        if (!answer) {
          if (!config.failure_mode_deny) return next()
          return exchange.reply({ status: 500, flags: 'RLSE', details: 'rate_limiter_error', body: '' })
        }
        const told = pairs(answer.response_headers_to_add)
        if (answer.overall_code !== OVER_LIMIT) {
          exchange.request.fields.push(...pairs(answer.request_headers_to_add))
          if (told.length > 0) exchange.onResponse((_status, fields) => fields.push(...told))
          return next()
        }
        exchange.reply({
          status: config.rate_limited_status?.code || 429,
          flags: 'RL',
          details: 'request_rate_limited',
          body: Buffer.from(answer.raw_body ?? []),
          fields: [...(config.disable_x_envoy_ratelimited_header ? [] : ['x-envoy-ratelimited', 'true']), ...told],
          ...(config.rate_limited_as_resource_exhausted ? { grpcStatus: 8 } : {}),
        })
      })
      exchange.onFinish(giveUp)
    },
  }
}
