// productpage: the page people see. It asks details and reviews, and remembers who has signed in.
import { createHmac, randomBytes, timingSafeEqual } from 'node:crypto'
import { readFileSync } from 'node:fs'
import { bodyOf, json, serve } from '../shared/serve.mjs'
import { page } from './page.mjs'
import { passedOn } from './trace.mjs'

const port = Number(process.argv[2] ?? 9080)
const { env } = process
const domain = env.SERVICES_DOMAIN ? `.${env.SERVICES_DOMAIN}` : ''
const base = (name) =>
  `http://${env[`${name.toUpperCase()}_HOSTNAME`] ?? name}${domain}:${env[`${name.toUpperCase()}_SERVICE_PORT`] ?? 9080}/${name}`
const details = base('details')
const reviews = base('reviews')
const ratings = base('ratings')
/** Requests to reviews a page is allowed, and how long each may take. */
const TRIES = 2
const PATIENCE_MS = 3000
const flood = Number(env.FLOOD_FACTOR ?? 0)

const PRODUCTS = [
  {
    id: 0,
    title: 'The Comedy of Errors',
    descriptionHtml:
      'Two sets of identical twins, parted at birth, come to the same town on the same day, and nobody can tell who is who. It is among the earliest of <b>William Shakespeare</b>’s plays, and the shortest.',
  },
]

// Who has signed in is kept by the visitor, signed: any replica can read it while it shares the key.
const key = env.SESSION_KEY ?? 'bookinfo'
const sign = (text) => createHmac('sha256', key).update(text).digest('base64url')
const sessionOf = (user) => {
  const text = Buffer.from(JSON.stringify({ user, at: randomBytes(4).toString('hex') })).toString('base64url')
  return `${text}.${sign(text)}`
}
function userOf(cookie) {
  const [text, mac] = /(?:^|;\s*)session=([^;]+)/.exec(cookie ?? '')?.[1]?.split('.') ?? []
  if (!text || !mac) return undefined
  const [a, b] = [Buffer.from(mac), Buffer.from(sign(text))]
  if (a.length !== b.length || !timingSafeEqual(a, b)) return undefined
  try {
    return JSON.parse(Buffer.from(text, 'base64url').toString()).user
  } catch {
    return undefined
  }
}

function headersFor(request) {
  const user = userOf(request.headers.cookie)
  return { ...passedOn(request.headers), ...(user ? { 'end-user': user } : {}) }
}

async function ask(url, headers, tries, what) {
  let status = 500
  for (let i = 0; i < tries; i++)
    try {
      const answer = await fetch(url, { headers, signal: AbortSignal.timeout(PATIENCE_MS) })
      if (answer.ok) return { status: 200, body: await answer.json() }
      status = answer.status
    } catch (error) {
      console.error(`${url}: ${error.cause?.message ?? error.message}`)
    }
  return { status, body: { error: `Sorry, product ${what} are currently unavailable for this book.` } }
}

const product = (id) => PRODUCTS.find((p) => String(p.id) === id)
const STYLE = readFileSync(new URL('style.css', import.meta.url))

async function api(request, response, id, part) {
  if (id === undefined) return json(response, 200, PRODUCTS)
  if (!product(id)) return json(response, 404, { error: `no product ${id}` })
  const [url, tries] = { undefined: [details, 1], reviews: [reviews, TRIES], ratings: [ratings, 1] }[part]
  const answer = await ask(`${url}/${id}`, headersFor(request), tries, part ?? 'details')
  json(response, answer.status, answer.body)
}

serve(
  port,
  async (request, response) => {
    const url = new URL(request.url, 'http://productpage')
    const go = (to, cookie) =>
      response.writeHead(302, { Location: to, ...(cookie ? { 'Set-Cookie': cookie } : {}) }).end()
    const products = /^\/api\/v1\/products(?:\/(\d+)(?:\/(reviews|ratings))?)?$/.exec(url.pathname)
    if (products) return api(request, response, products[1], products[2])
    switch (url.pathname) {
      case '/health':
        return response.end('Product page is healthy')
      case '/static/style.css':
        return response.writeHead(200, { 'Content-Type': 'text/css', 'Cache-Control': 'max-age=3600' }).end(STYLE)
      case '/metrics':
        return response
          .writeHead(200, { 'Content-Type': 'text/plain; version=0.0.4' })
          .end(
            `# TYPE process_resident_memory_bytes gauge\nprocess_resident_memory_bytes ${process.memoryUsage.rss()}\n`,
          )
      case '/login': {
        if (request.method !== 'POST') return go('/productpage')
        const user = new URLSearchParams(await bodyOf(request)).get('username') ?? ''
        return go(
          request.headers.referer ?? '/productpage',
          `session=${sessionOf(user)}; Path=/; HttpOnly; SameSite=Lax`,
        )
      }
      case '/logout':
        return go(request.headers.referer ?? '/productpage', 'session=; Path=/; Max-Age=0')
      case '/':
      case '/index.html':
        return go('/productpage')
      case '/productpage': {
        const headers = headersFor(request)
        for (let i = 0; i < flood; i++) void fetch(`${reviews}/0`, { headers }).catch(() => {})
        const [about, said] = await Promise.all([
          ask(`${details}/0`, headers, 1, 'details'),
          ask(`${reviews}/0`, headers, TRIES, 'reviews'),
        ])
        console.log(`GET /productpage details ${about.status} reviews ${said.status} ${said.body.podname ?? ''}`)
        return response
          .writeHead(200, { 'Content-Type': 'text/html; charset=utf-8' })
          .end(page({ product: PRODUCTS[0], details: about, reviews: said, user: headers['end-user'] }))
      }
      default:
        return response.writeHead(404, { 'Content-Type': 'text/plain' }).end('Not Found\n')
    }
  },
  `productpage listening on http://0.0.0.0:${port}`,
)
