// HTTP filters by the message that configures them; one that is not known is refused by name.

import { fromJson, fromStruct, isXds, unpackAny } from '#api/xds'
import type { Message } from '#wire'
import { refuse } from '../config/matchers.ts'
import { bufferFilter } from './buffer.ts'
import { corsFilter, decodeCors } from './cors.ts'
import { extAuthzFilter } from './ext-authz.ts'
import { decodeFault, faultFilter } from './fault.ts'
import type { HttpFilter } from './filter.ts'
import { decodeLocalRateLimit, localRateLimitFilter } from './local-rate-limit.ts'
import { rateLimitFilter } from './rate-limit.ts'
import { decodeRbac, rbacFilter } from './rbac.ts'

const HTTP = 'envoy.extensions.filters.http.'

type Make = (name: string, config: Message, what: string) => HttpFilter | undefined

/** What is done elsewhere here, or has nothing to do. */
const none: Make = () => undefined

const FILTERS: Readonly<Record<string, Make>> = {
  [`${HTTP}router.v3.Router`]: none,
  [`${HTTP}grpc_stats.v3.FilterConfig`]: none,
  [`${HTTP}fault.v3.HTTPFault`]: faultFilter,
  [`${HTTP}cors.v3.Cors`]: corsFilter,
  [`${HTTP}buffer.v3.Buffer`]: bufferFilter,
  [`${HTTP}local_ratelimit.v3.LocalRateLimit`]: localRateLimitFilter,
  [`${HTTP}ratelimit.v3.RateLimit`]: rateLimitFilter,
  [`${HTTP}ext_authz.v3.ExtAuthz`]: extAuthzFilter,
  [`${HTTP}rbac.v3.RBAC`]: rbacFilter,
}

/** Istio's own filters, whose work is done by the proxy itself: statistics, metadata exchange, ALPN. */
const OWN = /^(istio\.|envoy\.filters\.http\.(wasm|lua)$).*|istio_stats|istio\.alpn|peer_metadata|metadata_exchange/

/** A message in JSON's clothes, under its own name (xds.type.v3.TypedStruct). */
const TYPED_STRUCT = /^(xds\.type\.v3|udpa\.type\.v1)\.TypedStruct$/

/** What is packed, known or not: of what is not known only the name counts. */
function unpackTyped(any: Message, what: string): { name: string; value: Message } {
  const name = nameOf(any.type_url)
  if (TYPED_STRUCT.test(name)) {
    const { value } = unpackAny({ ...any, type_url: 'xds.type.v3.TypedStruct' })
    const of = nameOf(value.type_url)
    try {
      return { name: of, value: isXds(of) ? fromJson(of, fromStruct(value.value)) : {} }
    } catch (error) {
      return refuse(what, (error as Error).message)
    }
  }
  return { name, value: isXds(name) ? unpackAny({ ...any, type_url: name }).value : {} }
}

const nameOf = (url: unknown) => String(url ?? '').replace(/^.*\//, '')

/** A filter out of xDS; undefined for those that need not be there. Fails with BadResource. */
export function decodeFilter(m: Message, what: string): HttpFilter | undefined {
  const url = String(m.typed_config?.type_url ?? '')
  const { name, value } = unpackTyped(m.typed_config ?? {}, what)
  const make = FILTERS[name]
  if (make) return make(m.name, value, what)
  if (m.is_optional || (OWN.test(m.name ?? '') && /^(istio\.|udpa\.|stats\.|type\.)/.test(name || 'istio.')))
    return undefined
  if (m.name === 'envoy.filters.http.router' && !url) return undefined
  return refuse(what, `filter ${m.name} (${name || 'without configuration'}) is not supported`)
}

const SETTINGS: Readonly<Record<string, (config: Message, what: string) => unknown>> = {
  [`${HTTP}fault.v3.HTTPFault`]: decodeFault,
  [`${HTTP}cors.v3.CorsPolicy`]: decodeCors,
  [`${HTTP}local_ratelimit.v3.LocalRateLimit`]: decodeLocalRateLimit,
  [`${HTTP}rbac.v3.RBACPerRoute`]: (m, what) => (m.rbac ? decodeRbac(m.rbac, what) : { disabled: true }),
  [`${HTTP}ext_authz.v3.ExtAuthzPerRoute`]: (m) => m,
  [`${HTTP}buffer.v3.BufferPerRoute`]: (m) => m,
  [`${HTTP}ratelimit.v3.RateLimitPerRoute`]: (m) => m,
  'envoy.config.route.v3.FilterConfig': (m, what) =>
    m.disabled ? { disabled: true } : m.config ? decodeFilterSettings(m.config, what) : {},
}

/** What a route says for a filter. Fails with BadResource. */
export function decodeFilterSettings(any: Message, what: string): unknown {
  const { name, value } = unpackTyped(any, what)
  const decode = SETTINGS[name]
  return decode ? decode(value, what) : refuse(what, `settings of ${name} are not supported`)
}
