// The proxy subresource: requests and upgraded connections passed on to what is behind a pod, Service or node.

import { type IncomingMessage, request as plainRequest, type ServerResponse } from 'node:http'
import { request as secureRequest } from 'node:https'
import type { Duplex } from 'node:stream'
import { errors, groupResource, resources as R } from '#api'
import { sendBytes } from './http-io.ts'
import type { NodeAccess } from './node-access.ts'
import { nodeTarget, type ProxyTarget, podTarget, serviceTargets, splitProxyName } from './proxy-target.ts'
import type { ResourceRequest } from './request-info.ts'
import type { Resources } from './resources.ts'

/** Fields that speak of one connection, or of who the client is to this server. */
const KEPT_BACK = new Set([
  'authorization',
  'connection',
  'host',
  'keep-alive',
  'proxy-authenticate',
  'proxy-authorization',
  'te',
  'trailer',
  'transfer-encoding',
  'upgrade',
])
const HTML_LIMIT = 4 * 1024 * 1024
const KUBELET_PORT = '10250'

/** What a proxied path is called on this server, without the path itself. */
function prefixOf({ kind, namespace }: ResourceRequest, segment: string): string {
  const root = `/api/${kind.version}`
  return `${root}${namespace ? `/namespaces/${namespace}` : ''}/${kind.plural}/${segment}/proxy`
}

async function targetsOf(resources: Resources, request: ResourceRequest): Promise<ProxyTarget[]> {
  const { kind, namespace } = request
  const { secure, name, port } = splitProxyName(request.name)
  const object = await resources.get(kind, namespace, name)
  switch (groupResource(kind)) {
    case 'pods':
      return [podTarget(object, port, secure)]
    case 'nodes':
      return [nodeTarget(object, port, secure)]
    default: {
      const slices = (await resources.store.cache(R.endpointSlices))
        .entries(namespace)
        .map((e) => e.object)
        .filter((s) => s.metadata.labels?.['kubernetes.io/service-name'] === name)
      const targets = serviceTargets(object, slices, port, secure)
      if (targets.length === 0) throw errors.unavailable(`no endpoints available for service "${request.name}"`)
      return targets
    }
  }
}

const pick = (targets: readonly ProxyTarget[]) => targets[Math.floor(Math.random() * targets.length)]!

function forwardedHeaders(http: IncomingMessage, target: ProxyTarget): Record<string, string | string[]> {
  const headers: Record<string, string | string[]> = {}
  for (const [name, value] of Object.entries(http.headers))
    if (value !== undefined && !KEPT_BACK.has(name) && !name.startsWith('impersonate-') && !name.startsWith(':'))
      headers[name] = value
  headers.host = `${target.host}:${target.port}`
  headers['x-forwarded-for'] = [http.headers['x-forwarded-for'], http.socket.remoteAddress].filter(Boolean).join(', ')
  return headers
}

/** Answers a request with what is behind the object. `url` is the request line's target as it came. */
export async function proxyVerb(
  resources: Resources,
  request: ResourceRequest,
  node: NodeAccess,
  http: IncomingMessage,
  response: ServerResponse,
): Promise<void> {
  const url = http.url ?? '/'
  const mark = url.indexOf('?')
  const path = mark < 0 ? url : url.slice(0, mark)
  const query = mark < 0 ? '' : url.slice(mark)
  const at = path.indexOf('/proxy', path.indexOf(`/${request.kind.plural}/`))
  const rest = path.slice(at + '/proxy'.length)
  if (rest === '' && (http.method === 'GET' || http.method === 'HEAD')) {
    // Relative links of what is there need the slash.
    response.writeHead(301, { Location: `${path}/${query}`, 'Content-Length': 0 })
    response.end()
    return
  }
  if (groupResource(request.kind) === 'nodes') {
    const { name, port } = splitProxyName(request.name)
    if (port === '' || port === KUBELET_PORT) {
      await resources.get(request.kind, '', name)
      const answer = await node.kubelet?.(name, rest)
      if (!answer) throw errors.unknownPath()
      return sendBytes(response, 200, answer.type, Buffer.from(answer.body))
    }
  }
  const target = pick(await targetsOf(resources, request))
  const prefix = prefixOf(request, path.slice(0, at).split('/').pop()!)
  await pass(target, `${rest || '/'}${query}`, prefix, http, response)
}

function pass(
  target: ProxyTarget,
  path: string,
  prefix: string,
  http: IncomingMessage,
  response: ServerResponse,
): Promise<void> {
  const send = target.secure ? secureRequest : plainRequest
  const headers = forwardedHeaders(http, target)
  // Links in pages are rewritten: they must come as text.
  delete headers['accept-encoding']
  return new Promise((resolve, reject) => {
    const upstream = send(
      { host: target.host, port: target.port, method: http.method, path, headers, rejectUnauthorized: false },
      (answer) => {
        const fields: Record<string, string | string[]> = {}
        for (const [name, value] of Object.entries(answer.headers))
          if (value !== undefined && !KEPT_BACK.has(name)) fields[name] = value
        if (typeof fields.location === 'string' && fields.location.startsWith('/'))
          fields.location = prefix + fields.location
        const html = String(fields['content-type'] ?? '').startsWith('text/html') && !fields['content-encoding']
        const length = Number(fields['content-length'] ?? HTML_LIMIT)
        if (html && length <= HTML_LIMIT && http.method !== 'HEAD') {
          const parts: Buffer[] = []
          answer.on('data', (d: Buffer) => parts.push(d))
          answer.on('end', () => {
            const body = Buffer.from(withPrefix(Buffer.concat(parts).toString(), prefix))
            response.writeHead(answer.statusCode ?? 502, { ...fields, 'content-length': String(body.length) })
            response.end(body)
            resolve()
          })
        } else {
          response.writeHead(answer.statusCode ?? 502, fields)
          answer.pipe(response)
          answer.on('end', resolve)
        }
        answer.on('error', () => {
          response.destroy()
          resolve()
        })
      },
    )
    upstream.on('error', (error) => {
      if (response.headersSent) {
        response.destroy()
        resolve()
      } else
        reject(errors.unavailable(`error trying to reach service: ${error.message} (${target.host}:${target.port})`))
    })
    response.on('close', () => {
      if (!response.writableEnded) upstream.destroy()
    })
    http.pipe(upstream)
  })
}

/** A page whose links from the root lead to where it is served now. */
function withPrefix(html: string, prefix: string): string {
  return html.replace(/\b(href|src|action)=(["'])\/(?!\/)/gi, (_, name: string, quote: string) => {
    return `${name}=${quote}${prefix}/`
  })
}

/** Passes an upgraded connection (a WebSocket) on as it is. */
export async function proxyUpgrade(
  resources: Resources,
  request: ResourceRequest,
  http: IncomingMessage,
  socket: Duplex,
  head: Buffer,
): Promise<void> {
  const target = pick(await targetsOf(resources, request))
  const url = http.url ?? '/'
  const path = url.slice(url.indexOf('/proxy', url.indexOf(`/${request.kind.plural}/`)) + '/proxy'.length)
  const send = target.secure ? secureRequest : plainRequest
  const upstream = send({
    host: target.host,
    port: target.port,
    method: http.method,
    path: path.startsWith('/') ? path : `/${path}`,
    headers: { ...forwardedHeaders(http, target), connection: 'Upgrade', upgrade: http.headers.upgrade ?? '' },
    rejectUnauthorized: false,
  })
  upstream.on('upgrade', (answer, far, rest) => {
    const lines = [`HTTP/1.1 101 ${answer.statusMessage ?? 'Switching Protocols'}`]
    for (let i = 0; i < answer.rawHeaders.length; i += 2)
      lines.push(`${answer.rawHeaders[i]}: ${answer.rawHeaders[i + 1]}`)
    socket.write(`${lines.join('\r\n')}\r\n\r\n`)
    if (rest.length > 0) socket.write(rest)
    if (head.length > 0) far.write(head)
    const end = () => {
      socket.destroy()
      far.destroy()
    }
    for (const side of [socket, far]) side.on('error', end).on('close', end)
    socket.pipe(far).pipe(socket)
  })
  upstream.on('response', (answer) => {
    socket.end(
      `HTTP/1.1 ${answer.statusCode} ${answer.statusMessage}\r\nContent-Length: 0\r\nConnection: close\r\n\r\n`,
    )
    answer.resume()
  })
  upstream.on('error', () =>
    socket.end('HTTP/1.1 503 Service Unavailable\r\nContent-Length: 0\r\nConnection: close\r\n\r\n'),
  )
  upstream.end()
}
