// Cross-origin requests: preflights answered, answers marked (Fetch standard, 3.3; Envoy's cors filter).

import type { Message } from '#wire'
import { compileString } from '../config/matchers.ts'
import type { StringMatch } from '../config/model.ts'
import { requestField, setField } from '../http/request.ts'
import type { HttpFilter } from './filter.ts'

export interface CorsPolicy {
  readonly enabled: boolean
  readonly origins: readonly StringMatch[]
  readonly methods: string
  readonly headers: string
  readonly expose: string
  readonly maxAge: string
  readonly credentials: boolean
  /** Preflights of other origins go on to the server. */
  readonly forwardOthers: boolean
}

export function decodeCors(m: Message, what: string): CorsPolicy {
  const fraction = m.filter_enabled?.default_value
  return {
    enabled: !fraction || (fraction.numerator ?? 0) > 0,
    origins: ((m.allow_origin_string_match ?? []) as Message[]).map((o) => compileString(o, what)),
    methods: m.allow_methods ?? '',
    headers: m.allow_headers ?? '',
    expose: m.expose_headers ?? '',
    maxAge: m.max_age ?? '',
    credentials: m.allow_credentials?.value ?? false,
    forwardOthers: m.forward_not_matching_preflights?.value ?? true,
  }
}

export function corsFilter(name: string): HttpFilter {
  return {
    name,
    onRequest(exchange, next) {
      const policy = exchange.settings(name) as CorsPolicy | undefined
      const { request } = exchange
      const origin = requestField(request, 'origin')
      if (!policy?.enabled || !origin) return next()
      const allowed = policy.origins.some((o) => o.test(origin))
      const preflight =
        request.method === 'OPTIONS' && requestField(request, 'access-control-request-method') !== undefined
      const common = ['access-control-allow-origin', origin]
      if (policy.credentials) common.push('access-control-allow-credentials', 'true')
      if (!preflight) {
        if (allowed)
          exchange.onResponse((_status, fields) => {
            for (let i = 0; i < common.length; i += 2) setField(fields, common[i]!, common[i + 1]!)
            if (policy.expose) setField(fields, 'access-control-expose-headers', policy.expose)
          })
        return next()
      }
      if (!allowed && policy.forwardOthers) return next()
      const fields = allowed ? common : []
      // To a client with credentials "*" is a name, not all of them: it is told what it asked for.
      const named = (list: string, asked: string) =>
        list === '*' && policy.credentials ? (requestField(request, asked) ?? list) : list
      const tell = (field: string, value: string) => {
        if (allowed && value) fields.push(field, value)
      }
      tell('access-control-allow-methods', named(policy.methods, 'access-control-request-method'))
      tell('access-control-allow-headers', named(policy.headers, 'access-control-request-headers'))
      tell('access-control-max-age', policy.maxAge)
      tell('access-control-expose-headers', policy.expose)
      exchange.reply({ status: 200, flags: '', details: 'cors_response', body: '', fields, plain: true })
    },
  }
}
