// The HTTPS server: authenticates, authorizes and dispatches requests to the verbs.

import type { IncomingMessage, ServerResponse } from 'node:http'
import type { Duplex } from 'node:stream'
import {
  errors,
  field,
  groupResource,
  groupVersion,
  type Json,
  type KindRegistry,
  resources as R,
  type ResourceKind,
  StatusError,
  storedKind,
} from '#api'
import type { Log } from '#base'
import { authenticate, type Tokens } from './authentication.ts'
import type { Attributes, Authorizer } from './authorization.ts'
import { type ComputedKind, computedVerb } from './computed-kinds.ts'
import { discovery } from './discovery.ts'
import { FairQueue } from './fair-queue.ts'
import { Health } from './health.ts'
import {
  type Document,
  documentOf,
  isGone,
  parseBody,
  preferProtobuf,
  readBody,
  sendBytes,
  sendDocument,
  sendError,
  sendJson,
} from './http-io.ts'
import type { RequestContext, User } from './identity.ts'
import { impersonate } from './impersonation.ts'
import { Listeners, type ServingTls } from './listeners.ts'
import { negotiate } from './negotiate.ts'
import type { NodeAccess } from './node-access.ts'
import { openApiHash, openApiV2, openApiV3, openApiV3Index } from './openapi.ts'
import { encodeOpenApiV2 } from './openapi-protobuf.ts'
import { proxyUpgrade, proxyVerb } from './proxy-verb.ts'
import { getVerb, listVerb } from './read-verbs.ts'
import { flag, type ParsedUrl, parseUrl, type ResourceRequest } from './request-info.ts'
import { type RequestLabels, RequestMetrics } from './request-metrics.ts'
import type { Resources } from './resources.ts'
import { answerReview, isReview } from './reviews.ts'
import { subresourceVerb } from './subresources.ts'
import { watchVerb } from './watch-verb.ts'
import { createVerb, deleteCollectionVerb, deleteVerb, patchVerb, updateVerb, type WriteCall } from './write-verbs.ts'

export interface ApiServerOptions {
  resources: Resources
  tokens: Tokens
  authorizer: Authorizer
  node: NodeAccess
  log: Log
  tls: ServingTls
  /** The answer to /version. */
  version: Json
  /** Kinds that are served without being stored. */
  computed?: readonly ComputedKind[]
}

/** Paths anybody may read. */
const PUBLIC = /^\/(healthz|livez|readyz|version)(\/|$)/

/** Subresources that are streams: they come with an upgrade of the connection. */
const STREAMED = new Set(['exec', 'attach', 'portforward'])

/** Subresources that are a part of their object, read and written by the plain verbs. */
const GENERIC_SUBRESOURCES = new Set(['status', 'finalize', 'approval', 'ephemeralcontainers', 'resize'])

/** Serves the Kubernetes API over HTTPS. */
export class ApiServer {
  readonly health = new Health()
  readonly #options: ApiServerOptions
  readonly #stopping = new AbortController()
  readonly #documents = new Map<string, { generation: number; document: Document }>()
  readonly #metrics = new RequestMetrics()
  readonly #fair = new FairQueue()
  #begun = 0
  readonly #listeners: Listeners

  constructor(options: ApiServerOptions) {
    this.#options = options
    this.#listeners = new Listeners(options.tls, {
      request: (request, response) => void this.#serve(request, response),
      upgrade: (request, socket, head) => void this.#upgrade(request, socket, head),
    })
    for (const { kind } of options.computed ?? []) options.resources.registry.add(kind)
    this.health.add('shutdown', () => (this.#stopping.signal.aborted ? 'process is shutting down' : undefined))
  }

  /** Listens on an address; returns the port. */
  listen(host: string, port: number): Promise<number> {
    return this.#listeners.listen(host, port)
  }

  /** Stops: readiness turns red, watches end politely, then connections close. */
  async close(): Promise<void> {
    this.#stopping.abort()
    await this.#listeners.close()
  }

  get #registry(): KindRegistry {
    return this.#options.resources.registry
  }

  /** Requests that have begun since the start. */
  get begun(): number {
    return this.#begun
  }

  async #serve(request: IncomingMessage, response: ServerResponse): Promise<void> {
    this.#begun++
    response.on('error', () => {})
    try {
      const parsed = parseUrl(request.method ?? 'GET', request.url ?? '/', this.#registry)
      if (PUBLIC.test(parsed.path)) return this.#public(parsed, response)
      const user = impersonate(request, await authenticate(request, this.#options.tokens), this.#options.authorizer)
      const turn = this.#fair.enter(user.name)
      if (turn) await turn
      try {
        if (isGone(response)) return
        this.#authorize(user, parsed, request.method ?? 'GET')
        if (parsed.request) {
          const end = this.#metrics.begin(labelsOf(parsed.request, request))
          response.on('close', () => end(response.statusCode))
          if (isLong(parsed.request)) {
            // It began; from here on it is counted among those that stay.
            response.on('close', this.#fair.stay(user.name))
            void this.#resource(parsed.request, user, request, response).catch((error) =>
              this.#failed(error, request, response),
            )
          } else await this.#resource(parsed.request, user, request, response)
        } else await this.#other(parsed, request, response)
      } finally {
        this.#fair.leave(user.name)
      }
    } catch (error) {
      this.#failed(error, request, response)
    }
  }

  #failed(error: unknown, request: IncomingMessage, response: ServerResponse): void {
    if (!(error instanceof StatusError))
      this.#options.log.error('request failed', {
        method: request.method,
        url: request.url?.split('?')[0],
        error: error instanceof Error ? (error.stack ?? error.message) : error,
      })
    sendError(response, error)
  }

  #authorize(user: User, parsed: ParsedUrl, method: string): void {
    const { request } = parsed
    const what: Attributes = request
      ? {
          verb: request.verb,
          group: request.kind.group,
          resource: request.kind.plural,
          subresource: request.subresource,
          // A Role in a namespace may speak of the namespace itself.
          namespace: groupResource(request.kind) === 'namespaces' ? request.name : request.namespace,
          name: request.name,
        }
      : { verb: method === 'HEAD' ? 'get' : method.toLowerCase(), path: parsed.path }
    if (user.groups.includes('system:unauthenticated')) {
      if (!request || !this.#options.authorizer.allowed(user, what)) throw errors.unauthorized()
      return
    }
    if (this.#options.authorizer.allowed(user, what)) return
    if (!request) throw errors.forbiddenPath(`forbidden: User "${user.name}" cannot ${what.verb} path "${parsed.path}"`)
    const resource = request.subresource ? `${request.kind.plural}/${request.subresource}` : request.kind.plural
    const scope = request.namespace
      ? ` in the namespace "${request.namespace}"`
      : request.kind.namespaced
        ? ' at the cluster scope'
        : ' at the cluster scope'
    throw errors.forbidden(
      request.kind,
      request.name,
      `User "${user.name}" cannot ${request.verb} resource "${resource}" in API group "${request.kind.group}"${scope}`,
    )
  }

  async #resource(
    request: ResourceRequest,
    user: User,
    http: IncomingMessage,
    response: ServerResponse,
  ): Promise<void> {
    const { resources } = this.#options
    const { query, verb, subresource } = request
    const warning = deprecation(request.kind)
    if (warning) response.appendHeader('Warning', `299 - "${warning}"`)
    if (subresource === 'proxy') return proxyVerb(resources, request, this.#options.node, http, response)
    const context = contextOf(user, query, http.headers['user-agent'])
    if (STREAMED.has(subresource)) throw errors.badRequest('Upgrade request required: this is a stream, not a document')
    if (request.kind.namespaced && !request.namespace && verb !== 'list' && verb !== 'watch')
      throw errors.methodNotAllowed('')
    const wanted = negotiate(subresource === 'log' ? '*/*' : http.headers.accept, query, request.kind)
    if (wanted.protobuf) preferProtobuf(response)
    if (isReview(request.kind)) {
      if (wanted.representation !== 'object')
        throw errors.notAcceptable('only the following media types are accepted: application/json')
      const body = parseBody(await readBody(http), http.headers['content-type'])
      return sendJson(
        response,
        201,
        await answerReview(request, body, user, this.#options.authorizer, this.#options.tokens),
      )
    }
    const computed = this.#options.computed?.find((c) => c.kind === request.kind)
    if (computed) return computedVerb(computed, request, wanted, resources.clock.now(), response)
    const mayCreate = () => this.#authorize(user, { path: '', query, request: { ...request, verb: 'create' } }, 'POST')
    const call: WriteCall = { resources, request, context, wanted, http, response, mayCreate }
    const stored = { ...call, request: { ...request, kind: storedKind(request.kind) } }
    if (
      subresource &&
      (await subresourceVerb(stored, { tokens: this.#options.tokens, node: this.#options.node }, this.#stopping.signal))
    )
      return
    const served = subresource
      ? GENERIC_SUBRESOURCES.has(subresource) &&
        request.kind.subresources.some((s) => s.name === subresource && s.verbs.includes(verb))
      : request.kind.verbs.includes(verb)
    if (!served) throw errors.methodNotAllowed('')
    switch (verb) {
      case 'get':
        return getVerb(resources, request, wanted, response)
      case 'list':
        return listVerb(resources, request, wanted, response)
      case 'watch':
        return watchVerb(resources, request, wanted, response, this.#stopping.signal)
      case 'create':
        return createVerb(call)
      case 'update':
        return updateVerb(call)
      case 'patch':
        return patchVerb(call)
      case 'delete':
        return deleteVerb(call)
      case 'deletecollection':
        return deleteCollectionVerb(call)
      default:
        throw errors.methodNotAllowed('')
    }
  }

  #public(parsed: ParsedUrl, response: ServerResponse): void {
    if (parsed.path.startsWith('/version')) return sendJson(response, 200, this.#options.version)
    const report = this.health.report(parsed.path, parsed.query.has('verbose'), parsed.query.getAll('exclude'))
    if (!report) throw errors.unknownPath()
    const { code, text } = report
    response.setHeader('X-Content-Type-Options', 'nosniff')
    sendBytes(response, code, 'text/plain; charset=utf-8', Buffer.from(text))
  }

  async #other(parsed: ParsedUrl, http: IncomingMessage, response: ServerResponse): Promise<void> {
    const { path } = parsed
    const accept = http.headers.accept ?? ''
    const asked = { ifNoneMatch: http.headers['if-none-match'] }
    if (path === '/openapi/v2' || path === '/swagger-2.0.0.pb-v1') {
      const protobuf = path.endsWith('pb-v1') || (accept.includes('protobuf') && !accept.startsWith('application/json'))
      const type = protobuf ? 'application/com.github.proto-openapi.spec.v2.v1.0+protobuf' : 'application/json'
      const document = this.#document(`v2${protobuf}`, () => {
        const v2 = openApiV2(this.#registry, this.#options.version.gitVersion)
        return protobuf ? encodeOpenApiV2(v2) : Buffer.from(JSON.stringify(v2))
      })
      return sendDocument(response, type, document, asked)
    }
    if (path === '/openapi/v3') {
      const index = this.#document(path, () => Buffer.from(JSON.stringify(openApiV3Index(this.#registry))))
      return sendDocument(response, 'application/json', index, asked)
    }
    const v3 = /^\/openapi\/v3\/(?:api\/(v1)|apis\/([^/]+)\/([^/]+))$/.exec(path)
    if (v3 && this.#registry.hasVersion(v3[2] ?? '', v3[1] ?? v3[3]!)) {
      const [group, version] = [v3[2] ?? '', v3[1] ?? v3[3]!]
      const document = this.#document(path, () =>
        Buffer.from(JSON.stringify(openApiV3(this.#registry, group, version, this.#options.version.gitVersion))),
      )
      const hash = parsed.query.get('hash')
      if (hash !== null) {
        const now = openApiHash(this.#registry, group, version)
        if (hash !== now) {
          // A document that is no more: the one of now is elsewhere.
          response.writeHead(301, { Location: `${path}?hash=${now}`, 'Content-Length': 0 })
          response.end()
          return
        }
      }
      return sendDocument(response, 'application/json', document, asked)
    }
    if (path === '/.well-known/openid-configuration') return sendJson(response, 200, this.#options.tokens.discovery())
    if (path === '/openid/v1/jwks')
      return sendBytes(
        response,
        200,
        'application/jwk-set+json',
        Buffer.from(JSON.stringify(this.#options.tokens.keys())),
      )
    if (path === '/metrics') {
      const counts = this.#options.resources.store.counts()
      const page = this.#metrics.render(this.#options.version.gitVersion, counts, this.#fair.counts)
      return sendBytes(response, 200, 'text/plain; version=0.0.4; charset=utf-8', Buffer.from(page))
    }
    const wanted = negotiate(accept.includes('json') ? accept : '*/*', parsed.query)
    const found = discovery(path, this.#registry, wanted.discovery, String(http.headers.host ?? ''))
    if (!found) throw errors.unknownPath()
    if (wanted.discovery)
      return sendDocument(
        response,
        `application/json;g=apidiscovery.k8s.io;v=${wanted.discovery};as=APIGroupDiscoveryList`,
        this.#document(`${path} ${wanted.discovery}`, () => Buffer.from(JSON.stringify(found))),
        asked,
      )
    sendJson(response, 200, found)
  }

  /** A document made once for each state of the registry; only the newest few are kept. */
  #document(name: string, make: () => Buffer): Document {
    const { generation } = this.#registry
    const known = this.#documents.get(name)
    if (known?.generation === generation) return known.document
    const document = documentOf(make())
    this.#documents.set(name, { generation, document })
    setTimeout(() => this.#documents.delete(name), 60_000).unref()
    return document
  }

  async #upgrade(http: IncomingMessage, socket: Duplex, head: Buffer): Promise<void> {
    socket.on('error', () => {})
    try {
      const parsed = parseUrl('GET', http.url ?? '/', this.#registry)
      const user = impersonate(http, await authenticate(http, this.#options.tokens), this.#options.authorizer)
      const { request } = parsed
      if (request?.subresource === 'proxy') {
        this.#authorize(user, parsed, http.method ?? 'GET')
        return await proxyUpgrade(this.#options.resources, request, http, socket, head)
      }
      if (!request || !['exec', 'attach', 'portforward'].includes(request.subresource)) throw errors.unknownPath()
      // Streams are commands, not reads: they need "create" whatever the method.
      this.#authorize(user, { ...parsed, request: { ...request, verb: 'create' } }, 'POST')
      const pod = await this.#options.resources.get(
        this.#registry.kind('v1', R.pods.kind)!,
        request.namespace,
        request.name,
      )
      socket.on('close', this.#fair.stay(user.name))
      // Loaded with the first stream: a server answers sooner.
      const { handleUpgrade } = await import('./streaming.ts')
      await handleUpgrade({ request, pod, http, socket, head, node: this.#options.node })
    } catch (error) {
      const status = error instanceof StatusError ? error : errors.internal(error)
      if (!(error instanceof StatusError)) this.#options.log.error('upgrade failed', { error })
      const body = JSON.stringify(status.status)
      socket.end(
        `HTTP/1.1 ${status.httpCode} ${status.code}\r\nContent-Type: application/json\r\nContent-Length: ${Buffer.byteLength(body)}\r\nConnection: close\r\n\r\n${body}`,
      )
    }
  }
}

/** Requests that last as long as their client likes. */
function isLong({ verb, subresource, query }: ResourceRequest): boolean {
  return verb === 'watch' || subresource === 'proxy' || (subresource === 'log' && flag(query, 'follow') === true)
}

/** How a request is counted. */
function labelsOf(request: ResourceRequest, http: IncomingMessage): RequestLabels {
  const { kind, verb, subresource, namespace, name, query } = request
  const apply = verb === 'patch' && http.headers['content-type']?.startsWith('application/apply-patch')
  return {
    verb: apply ? 'APPLY' : (COUNTED_AS[verb] ?? verb.toUpperCase()),
    group: kind.group,
    version: kind.version,
    resource: kind.plural,
    subresource,
    scope: name ? 'resource' : namespace ? 'namespace' : 'cluster',
    dryRun: query.has('dryRun'),
  }
}

const COUNTED_AS: Readonly<Record<string, string>> = { create: 'POST', update: 'PUT' }

/** What clients are told of a version that Kubernetes has dropped, in its own words. */
function deprecation(kind: ResourceKind): string | undefined {
  const { storage, conversion } = kind.converted ?? {}
  if (!storage || !conversion?.deprecated) return undefined
  const [since, removed] = conversion.deprecated
  return `${groupVersion(kind)} ${kind.kind} is deprecated in v${since}+, unavailable in v${removed}+; use ${groupVersion(storage)} ${storage.kind}`
}

/** The name a request's fields are owned under: as given, else the program's name. */
function managerOf(query: URLSearchParams, userAgent: string | undefined): string {
  const given = query.get('fieldManager')
  if (given && (given.length > 128 || !/^[\x20-\x7e\u00a0-\uffff]*$/.test(given)))
    throw errors.invalid('CreateOptions', 'meta.k8s.io', '', [
      given.length > 128
        ? field.tooLong('fieldManager', 128)
        : field.invalid('fieldManager', given, 'should only contain printable characters'),
    ])
  return given || (userAgent ?? '').split('/')[0]!.slice(0, 128) || 'unknown'
}

function contextOf(user: User, query: URLSearchParams, userAgent: string | undefined): RequestContext {
  const dryRun = query.getAll('dryRun')
  if (dryRun.some((d) => d !== 'All'))
    throw errors.badRequest(`Invalid value: ${JSON.stringify(dryRun)}: dryRun must be "All"`)
  const validation = query.get('fieldValidation') ?? 'Warn'
  if (!['Strict', 'Warn', 'Ignore'].includes(validation))
    throw errors.badRequest(
      `fieldValidation: Unsupported value: "${validation}": supported values: "Ignore", "Strict", "Warn"`,
    )
  return {
    user,
    dryRun: dryRun.length > 0,
    fieldManager: managerOf(query, userAgent),
    operation: 'Update',
    fieldValidation: validation as RequestContext['fieldValidation'],
    warnings: [],
  }
}
