// httpbin: says what it was asked, delays, fails and redirects as the path wants. FLAVOUR=go writes fields as lists.
import { randomBytes, randomUUID } from 'node:crypto'
import os from 'node:os'
import { bodyOf, escapeHtml, serve } from '../shared/serve.mjs'

const go = process.env.FLAVOUR === 'go'
const at = /-b=?\s*[^ ]*:(\d+)/.exec(process.argv.slice(2).join(' '))?.[1]
const port = Number(at ?? process.env.PORT ?? (go ? 8080 : 80))
const json = (response, code, value) =>
  response
    .writeHead(code, { 'Content-Type': 'application/json; charset=utf-8' })
    .end(`${JSON.stringify(value, null, 2)}\n`)
const most = 10 * 1024 * 1024

const titled = (name) => name.replace(/(^|-)([a-z])/g, (_, dash, letter) => dash + letter.toUpperCase())

function headersOf(request) {
  const found = { Host: go ? [request.headers.host ?? ''] : (request.headers.host ?? '') }
  for (let i = 0; i < request.rawHeaders.length; i += 2) {
    const name = titled(request.rawHeaders[i].toLowerCase())
    if (name === 'Host') continue
    const value = request.rawHeaders[i + 1]
    if (go) found[name] = [...(found[name] ?? []), value]
    else found[name] = found[name] ? `${found[name]},${value}` : value
  }
  return Object.fromEntries(Object.entries(found).sort(([a], [b]) => (a < b ? -1 : 1)))
}

function argsOf(url) {
  const args = {}
  for (const [key, value] of url.searchParams) {
    if (go) args[key] = [...(args[key] ?? []), value]
    else args[key] = args[key] === undefined ? value : [args[key], value].flat()
  }
  return args
}

const originOf = (request) =>
  String(request.headers['x-forwarded-for'] ?? request.socket.remoteAddress ?? '').replace(/^::ffff:/, '')

function about(request, url) {
  return { args: argsOf(url), headers: headersOf(request), origin: originOf(request), url: url.href }
}

async function withBody(request, url) {
  const data = await bodyOf(request)
  let parsed = null
  try {
    parsed = data ? JSON.parse(data) : null
  } catch {
    // It is not JSON.
  }
  const form = /urlencoded/.test(request.headers['content-type'] ?? '')
    ? Object.fromEntries(new URLSearchParams(data))
    : {}
  return { ...about(request, url), method: request.method, data, files: {}, form, json: parsed }
}

const cookiesOf = (request) =>
  Object.fromEntries(
    String(request.headers.cookie ?? '')
      .split(/; */)
      .filter(Boolean)
      .map((pair) => [pair.split('=')[0], pair.slice(pair.indexOf('=') + 1)]),
  )

const wait = (seconds) => new Promise((resolve) => setTimeout(resolve, Math.min(10, seconds) * 1000))

async function answer(request, response, url) {
  const [, name = '', first = '', second = ''] = url.pathname.split('/')
  switch (name) {
    case '':
      return response
        .writeHead(200, { 'Content-Type': 'text/html; charset=utf-8' })
        .end(`<!DOCTYPE html><title>httpbin</title><h1>httpbin</h1><p>${escapeHtml(os.hostname())}</p>\n`)
    case 'get':
    case 'head':
      return json(response, 200, { ...about(request, url), ...(go ? { method: request.method } : {}) })
    case 'post':
    case 'put':
    case 'patch':
    case 'delete':
    case 'anything':
      return json(response, 200, await withBody(request, url))
    case 'headers':
      return json(response, 200, { headers: headersOf(request) })
    case 'ip':
      return json(response, 200, { origin: originOf(request) })
    case 'user-agent':
      return json(response, 200, { 'user-agent': request.headers['user-agent'] ?? '' })
    case 'hostname':
      return json(response, 200, { hostname: os.hostname() })
    case 'uuid':
      return json(response, 200, { uuid: randomUUID() })
    case 'status': {
      const codes = decodeURIComponent(first)
        .split(',')
        .map((c) => Number(c.split(':')[0]))
      const code = codes[Math.floor(Math.random() * codes.length)]
      if (!(code >= 200 && code < 600)) return json(response, 400, { error: `invalid status code: ${first}` })
      if (code >= 300 && code < 400) response.setHeader('Location', '/redirect/1')
      if (code === 401) response.setHeader('WWW-Authenticate', 'Basic realm="Fake Realm"')
      return response
        .writeHead(code, code === 418 ? { 'Content-Type': 'text/plain' } : {})
        .end(code === 418 ? "I'm a teapot!" : '')
    }
    case 'delay':
      await wait(Number.parseFloat(first) || 0)
      return json(response, 200, await withBody(request, url))
    case 'bytes':
    case 'stream-bytes':
      return response
        .writeHead(200, { 'Content-Type': 'application/octet-stream' })
        .end(randomBytes(Math.min(most, Number(first) || 0)))
    case 'stream':
      response.writeHead(200, { 'Content-Type': 'application/json' })
      for (let id = 0; id < Math.min(100, Number(first) || 0); id++)
        response.write(`${JSON.stringify({ id, ...about(request, url) })}\n`)
      return response.end()
    case 'drip': {
      const number = Math.min(most, Number(url.searchParams.get('numbytes') ?? 10))
      const seconds = Math.min(10, Number.parseFloat(url.searchParams.get('duration') ?? '2'))
      await wait(Number.parseFloat(url.searchParams.get('delay') ?? '0'))
      response.writeHead(Number(url.searchParams.get('code') ?? 200), { 'Content-Type': 'application/octet-stream' })
      for (let i = 0; i < number; i++) {
        response.write('*')
        await wait(seconds / number)
      }
      return response.end()
    }
    case 'response-headers':
      for (const [key, value] of url.searchParams) response.appendHeader(key, value)
      return json(response, 200, Object.fromEntries(url.searchParams))
    case 'redirect':
    case 'relative-redirect':
    case 'absolute-redirect': {
      const left = Number(first) || 1
      return response.writeHead(302, { Location: left > 1 ? `/${name}/${left - 1}` : '/get' }).end()
    }
    case 'redirect-to':
      return response
        .writeHead(Number(url.searchParams.get('status_code') ?? 302), { Location: url.searchParams.get('url') ?? '/' })
        .end()
    case 'cookies':
      if (first === 'set') {
        for (const [key, value] of url.searchParams) response.appendHeader('Set-Cookie', `${key}=${value}; Path=/`)
        return response.writeHead(302, { Location: '/cookies' }).end()
      }
      return json(response, 200, go ? cookiesOf(request) : { cookies: cookiesOf(request) })
    case 'basic-auth': {
      const given = Buffer.from(String(request.headers.authorization ?? '').replace(/^Basic /, ''), 'base64').toString()
      const right = given === `${decodeURIComponent(first)}:${decodeURIComponent(second)}`
      if (!right) response.setHeader('WWW-Authenticate', 'Basic realm="Fake Realm"')
      return json(response, right ? 200 : 401, { authenticated: right, user: first })
    }
    case 'bearer': {
      const token = /^Bearer (.+)$/.exec(String(request.headers.authorization ?? ''))?.[1]
      if (!token) response.setHeader('WWW-Authenticate', 'Bearer')
      return json(response, token ? 200 : 401, { authenticated: Boolean(token), token: token ?? '' })
    }
    case 'html':
      return response
        .writeHead(200, { 'Content-Type': 'text/html; charset=utf-8' })
        .end('<!DOCTYPE html><h1>Herman Melville - Moby-Dick</h1>\n')
    case 'json':
      return json(response, 200, { slideshow: { author: 'Yours Truly', title: 'Sample Slide Show' } })
    case 'robots.txt':
      return response.writeHead(200, { 'Content-Type': 'text/plain' }).end('User-agent: *\nDisallow: /deny\n')
    case 'cache':
      return json(
        response,
        request.headers['if-none-match'] || request.headers['if-modified-since'] ? 304 : 200,
        about(request, url),
      )
    default:
      return json(response, 404, { status_code: 404, error: 'Not Found' })
  }
}

serve(
  port,
  async (request, response) => {
    const start = Date.now()
    const url = new URL(request.url, `http://${request.headers.host ?? 'localhost'}`)
    response.on('finish', () => {
      const line = `"${request.method} ${request.url} HTTP/${request.httpVersion}" ${response.statusCode}`
      const agent = request.headers['user-agent'] ?? '-'
      console.log(
        go
          ? `time="${new Date(start).toISOString()}" status=${response.statusCode} method="${request.method}" uri="${request.url}" duration_ms=${Date.now() - start} user_agent="${agent}" client_ip=${originOf(request)}`
          : `${request.socket.remoteAddress?.replace(/^::ffff:/, '')} - - [${new Date(start).toISOString()}] ${line} - "-" "${agent}"`,
      )
    })
    response.setHeader('Access-Control-Allow-Origin', request.headers.origin ?? '*')
    response.setHeader('Access-Control-Allow-Credentials', 'true')
    await answer(request, response, url)
  },
  `httpbin listens on port ${port}`,
)
