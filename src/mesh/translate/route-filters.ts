// What a VirtualService's route asks of filters: faults, cross-origin rules, copies. Pure.

import type { Json } from '#api'
import { packAny, toDuration, xds } from '#api/xds'
import { parseDuration } from '#base'
import type { Message } from '#wire'

const HTTP = 'envoy.extensions.filters.http.'
const MILLION = 2

/** The filters that routes may give settings to; they do nothing by themselves. */
export const ROUTE_FILTERS: readonly Message[] = [
  { name: 'envoy.filters.http.fault', typed_config: packAny(xds(`${HTTP}fault.v3.HTTPFault`), {}) },
  { name: 'envoy.filters.http.cors', typed_config: packAny(xds(`${HTTP}cors.v3.Cors`), {}) },
]

/** Settings of these filters for a route, as properties to spread. */
export function filterSettings(http: Json): Message {
  const settings: Record<string, Message> = {}
  if (http.fault) settings['envoy.filters.http.fault'] = packAny(xds(`${HTTP}fault.v3.HTTPFault`), fault(http.fault))
  if (http.corsPolicy)
    settings['envoy.filters.http.cors'] = packAny(xds(`${HTTP}cors.v3.CorsPolicy`), cors(http.corsPolicy))
  return Object.keys(settings).length > 0 ? { typed_per_filter_config: settings } : {}
}

/** A share in millionths; without one all, and for the older whole percentages what they say. */
function share(part: Json): Message {
  const percent = part.percentage?.value ?? part.percent ?? (part.percentage ? 0 : 100)
  return { numerator: Math.round(percent * 10_000), denominator: MILLION }
}

const GRPC_CODES =
  'OK CANCELLED UNKNOWN INVALID_ARGUMENT DEADLINE_EXCEEDED NOT_FOUND ALREADY_EXISTS PERMISSION_DENIED RESOURCE_EXHAUSTED FAILED_PRECONDITION ABORTED OUT_OF_RANGE UNIMPLEMENTED INTERNAL UNAVAILABLE DATA_LOSS UNAUTHENTICATED'.split(
    ' ',
  )

function fault({ delay, abort }: Json): Message {
  const code = GRPC_CODES.indexOf(String(abort?.grpcStatus ?? ''))
  return {
    ...(delay
      ? { delay: { fixed_delay: toDuration(parseDuration(delay.fixedDelay) ?? 0), percentage: share(delay) } }
      : {}),
    ...(abort
      ? {
          abort: {
            ...(code >= 0 ? { grpc_status: code } : { http_status: abort.httpStatus }),
            percentage: share(abort),
          },
        }
      : {}),
  }
}

function cors(c: Json): Message {
  const list = (values: string[] | undefined) => (values?.length ? values.join(',') : undefined)
  const origins = (c.allowOrigins ?? []).map((o: Json) =>
    o.regex !== undefined ? { safe_regex: { regex: o.regex } } : o,
  )
  const exact = (c.allowOrigin ?? []).map((o: string) => (o === '*' ? { safe_regex: { regex: '.*' } } : { exact: o }))
  const age = parseDuration(c.maxAge)
  const [methods, headers, expose] = [list(c.allowMethods), list(c.allowHeaders), list(c.exposeHeaders)]
  return {
    allow_origin_string_match: [...origins, ...exact],
    ...(methods ? { allow_methods: methods } : {}),
    ...(headers ? { allow_headers: headers } : {}),
    ...(expose ? { expose_headers: expose } : {}),
    ...(age === undefined ? {} : { max_age: String(Math.floor(age / 1000)) }),
    ...(c.allowCredentials === undefined ? {} : { allow_credentials: { value: c.allowCredentials } }),
    forward_not_matching_preflights: { value: c.unmatchedPreflights !== 'IGNORE' },
    filter_enabled: { default_value: { numerator: 100 } },
  }
}

/** Copies of a route's requests; `clusterOf` names the cluster of a destination. */
export function mirrors(http: Json, clusterOf: (destination: Json) => string): Message {
  const all: Json[] = [
    ...(http.mirror ? [{ destination: http.mirror, percentage: http.mirrorPercentage ?? percentOf(http) }] : []),
    ...(http.mirrors ?? []),
  ]
  const whole = all.filter((m) => m.destination?.host)
  if (whole.length === 0) return {}
  return {
    request_mirror_policies: whole.map((m) => ({
      cluster: clusterOf(m.destination),
      runtime_fraction: { default_value: share(m.percentage === undefined ? {} : { percentage: m.percentage }) },
      disable_shadow_host_suffix_append: true,
    })),
  }
}

/** Older spellings of mirrorPercentage. */
const percentOf = (http: Json) => {
  const value: number | undefined = http.mirrorPercent ?? http.mirror_percent
  return value === undefined ? undefined : { value }
}
