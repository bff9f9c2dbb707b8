// Another service decides whether a request may pass, by HTTP or gRPC (Envoy's ext_authz).

import { fromDuration, xds } from '#api/xds'
import { isTarget, type Message } from '#wire'
import { compileString, refuse } from '../config/matchers.ts'
import type { StringMatch } from '../config/model.ts'
import { toldFields } from '../http/field-text.ts'
import { AUTHORITY, dropField, fieldOf, setField } from '../http/request.ts'
import { type FilterExchange, type HttpFilter, isDisabled } from './filter.ts'
import { grpcCall, sideCall } from './side-call.ts'

const PATH = '/envoy.service.auth.v3.Authorization/Check'

/** What the service said. */
interface Verdict {
  readonly allowed: boolean
  readonly status: number
  readonly body: Buffer
  /** Edits of the request when it passes; fields of the answer when it does not. */
  readonly set: readonly string[]
  readonly append: readonly string[]
  readonly remove: readonly string[]
  /** Fields of the answer when it passes. */
  readonly response: readonly string[]
}

type Ask = (
  exchange: FilterExchange,
  body: Buffer,
  context: Message,
  done: (verdict: Verdict | undefined) => void,
) => () => void

/** The filter out of its configuration; `what` names it in a refusal. */
export function extAuthzFilter(name: string, config: Message, what: string): HttpFilter {
  const ask = config.grpc_service
    ? byGrpc(config, what)
    : config.http_service
      ? byHttp(config, what)
      : refuse(what, 'names no service')
  const limit: number = config.with_request_body?.max_request_bytes ?? 0
  const partial: boolean = config.with_request_body?.allow_partial_message ?? false
  const errorStatus: number = config.status_on_error?.code || 403
  return {
    name,
    onRequest(exchange, next) {
      const settings = exchange.settings(name)
      if (isDisabled(settings)) return next()
      const context = (settings as Message | undefined)?.check_settings?.context_extensions ?? {}
      const check = (body: Buffer) => {
        const giveUp = ask(exchange, body, context, (verdict) => {
          if (!exchange.over) judge(exchange, verdict, next)
        })
        exchange.onFinish(giveUp)
      }
      if (limit === 0 || !exchange.request.hasBody) return check(Buffer.alloc(0))
      exchange.whole(limit, (body, begin) => {
        if (body || partial) return check(begin)
        exchange.reply({ status: 413, flags: '', details: 'request_payload_too_large', body: 'Payload Too Large' })
      })
    },
  }

  function judge(exchange: FilterExchange, verdict: Verdict | undefined, next: () => void): void {
    if (!verdict) {
      if (config.failure_mode_allow) return next()
      return exchange.reply({ status: errorStatus, flags: 'UAEX', details: 'ext_authz_error', body: '' })
    }
    if (!verdict.allowed)
      return exchange.reply({
        status: verdict.status,
        flags: 'UAEX',
        details: 'ext_authz_denied',
        body: verdict.body,
        fields: [...verdict.set, ...verdict.append],
      })
    const { fields } = exchange.request
    for (const field of verdict.remove) if (field !== 'host' && !field.startsWith(':')) dropField(fields, field)
    setAll(exchange, verdict.set)
    fields.push(...verdict.append)
    if (verdict.response.length > 0)
      exchange.onResponse((_status, own) => {
        for (let i = 0; i < verdict.response.length; i += 2)
          setField(own, verdict.response[i]!, verdict.response[i + 1]!)
      })
    if (config.clear_route_cache) exchange.clearRoute()
    next()
  }
}

/** Sets fields of a request; its host and its path are not among the fields. */
function setAll({ request }: FilterExchange, set: readonly string[]): void {
  for (let i = 0; i < set.length; i += 2) {
    const [name, value] = [set[i]!, set[i + 1]!]
    if (name === 'host' || name === ':authority') {
      if (AUTHORITY.test(value)) request.authority = value
    } else if (name === ':path') {
      if (isTarget(value) && value.startsWith('/')) request.path = value
    } else if (!name.startsWith(':')) setField(request.fields, name, value)
  }
}

function byGrpc(config: Message, what: string): Ask {
  const cluster: string =
    config.grpc_service.envoy_grpc?.cluster_name ?? refuse(what, 'its gRPC service names no cluster')
  const authority: string = config.grpc_service.envoy_grpc?.authority ?? ''
  const timeout = fromDuration(config.grpc_service.timeout) ?? 200
  const types = {
    request: xds('envoy.service.auth.v3.CheckRequest'),
    response: xds('envoy.service.auth.v3.CheckResponse'),
  }
  return (exchange, body, context, done) => {
    const message = checkRequest(exchange, body, context)
    return grpcCall(exchange.context, cluster, PATH, types, message, { timeout, authority }, (answer) => {
      if (!answer) return done(undefined)
      const allowed = (answer.status?.code ?? 0) === 0
      const told = (allowed ? answer.ok_response : answer.denied_response) ?? {}
      const options = (told.headers ?? []) as Message[]
      const pick = (append: boolean) =>
        toldFields(
          options
            .filter((o) => (o.append?.value ?? false) === append)
            .flatMap((o) => [String(o.header?.key).toLowerCase(), String(o.header?.value ?? '')]),
          allowed && !append,
        )
      done({
        allowed,
        status: told.status?.code || 403,
        body: Buffer.from(told.body ?? ''),
        set: pick(false),
        append: pick(true),
        remove: ((told.headers_to_remove ?? []) as string[]).map((n) => n.toLowerCase()),
        response: toldFields(
          ((told.response_headers_to_add ?? []) as Message[]).flatMap((o) => [
            String(o.header?.key).toLowerCase(),
            String(o.header?.value ?? ''),
          ]),
        ),
      })
    })
  }
}

function checkRequest({ request, source, info }: FilterExchange, body: Buffer, context: Message): Message {
  const headers: Record<string, string> = {
    ':method': request.method,
    ':path': request.path,
    ':authority': request.authority,
    ':scheme': request.scheme,
  }
  for (let i = 0; i < request.fields.length; i += 2) {
    const name = request.fields[i]!
    headers[name] = name in headers ? `${headers[name]},${request.fields[i + 1]}` : request.fields[i + 1]!
  }
  const peer = (text: string, principal: string) => {
    const m = /^(.*):(\d+)$/.exec(text)
    const address = { socket_address: { address: m?.[1] ?? text, port_value: Number(m?.[2] ?? 0) } }
    return { address, ...(principal ? { principal } : {}) }
  }
  const ms = info.startTime
  return {
    attributes: {
      source: peer(source.remote, source.tls?.peer?.uri ?? ''),
      destination: peer(`${source.host}:${source.port}`, source.tls?.own ?? ''),
      request: {
        time: { seconds: Math.floor(ms / 1000), nanos: Math.floor((ms % 1000) * 1e6) },
        http: {
          id: fieldOf(request.fields, 'x-request-id') ?? '',
          method: request.method,
          headers,
          path: request.path,
          host: request.authority,
          scheme: request.scheme,
          size: body.length > 0 ? body.length : -1,
          protocol: request.protocol,
          ...(body.length > 0 ? { body: body.toString() } : {}),
        },
      },
      context_extensions: context,
    },
  }
}

/** Fields that the service may see, or may set, besides those that always are. */
function chosen(list: Message | undefined, what: string): StringMatch[] {
  return ((list?.patterns ?? []) as Message[]).map((p) => compileString({ ...p, ignore_case: true }, what))
}

const ALWAYS = new Set(['authorization', 'content-length'])

function byHttp(config: Message, what: string): Ask {
  const service = config.http_service
  const cluster: string = service.server_uri?.cluster ?? refuse(what, 'its HTTP service names no cluster')
  const timeout = fromDuration(service.server_uri?.timeout) ?? 200
  const host = /^https?:\/\/([^/]+)/.exec(service.server_uri?.uri ?? '')?.[1] ?? cluster
  const seen = chosen(config.allowed_headers ?? service.authorization_request?.allowed_headers, what)
  const added = ((service.authorization_request?.headers_to_add ?? []) as Message[]).flatMap((h) => [
    String(h.key).toLowerCase(),
    String(h.value ?? ''),
  ])
  const toServer = chosen(service.authorization_response?.allowed_upstream_headers, what)
  const toServerMore = chosen(service.authorization_response?.allowed_upstream_headers_to_append, what)
  const toClient = chosen(service.authorization_response?.allowed_client_headers, what)
  const toClientOk = chosen(service.authorization_response?.allowed_client_headers_on_success, what)
  const fits = (matches: readonly StringMatch[], name: string) => matches.some((m) => m.test(name))
  const choose = (fields: readonly string[], wanted: (name: string) => boolean) => {
    const out: string[] = []
    for (let i = 0; i < fields.length; i += 2) if (wanted(fields[i]!)) out.push(fields[i]!, fields[i + 1]!)
    return out
  }
  return (exchange, body, _context, done) => {
    const { request } = exchange
    const fields = choose(request.fields, (n) => n !== 'content-length' && (ALWAYS.has(n) || fits(seen, n)))
    const call = {
      ...request,
      path: (service.path_prefix ?? '') + request.path,
      authority: fits(seen, 'host') || service.path_prefix === undefined ? request.authority : host,
      fields: [...fields, ...added, 'content-length', String(body.length)],
      hasBody: body.length > 0,
      upgrade: '',
      trailers: false,
    }
    return sideCall(exchange.context, cluster, call, body, timeout, (answer) => {
      if (!answer || answer.status >= 500) return done(undefined)
      const allowed = answer.status === 200
      done({
        allowed,
        status: answer.status,
        body: answer.body,
        set: allowed
          ? choose(answer.fields, (n) => fits(toServer, n))
          : choose(
              answer.fields,
              (n) =>
                n !== 'content-length' &&
                n !== 'transfer-encoding' &&
                (toClient.length === 0 ||
                  n === 'location' ||
                  n === 'www-authenticate' ||
                  n === 'set-cookie' ||
                  fits(toClient, n)),
            ),
        append: allowed ? choose(answer.fields, (n) => fits(toServerMore, n)) : [],
        remove: [],
        response: allowed ? choose(answer.fields, (n) => fits(toClientOk, n)) : [],
      })
    })
  }
}
