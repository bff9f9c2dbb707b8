// ratings: how many stars each reviewer gave. SERVICE_VERSION v-faulty, v-delayed, v-unavailable and v-unhealthy misbehave.
import { bodyOf, json, serve } from '../shared/serve.mjs'

const port = Number(process.argv[2] ?? 9080)
const version = process.env.SERVICE_VERSION ?? 'v1'
const ratings = new Map()
const started = Date.now()
/** v-unavailable and v-unhealthy are well for a minute, ill for the next, and so on. */
const ill = () => Math.floor((Date.now() - started) / 60_000) % 2 === 1
const later = (ms) => new Promise((resolve) => setTimeout(resolve, ms))

serve(
  port,
  async (request, response) => {
    const { pathname } = new URL(request.url, 'http://ratings')
    if (pathname === '/health')
      return version === 'v-unhealthy' && ill()
        ? json(response, 500, { status: 'Ratings is not healthy' })
        : json(response, 200, { status: 'Ratings is healthy' })
    const match = /^\/ratings\/([^/]+)$/.exec(pathname)
    if (!match) return json(response, 404, { error: 'not found' })
    const id = Number(match[1])
    if (!Number.isInteger(id)) return json(response, 400, { error: 'please provide numeric product ID' })
    if (request.method === 'POST') {
      try {
        ratings.set(id, JSON.parse(await bodyOf(request)))
      } catch {
        return json(response, 400, { error: 'please provide valid ratings JSON' })
      }
      return json(response, 200, { id, ratings: ratings.get(id) })
    }
    if (version === 'v-faulty' && Math.random() < 0.5) return json(response, 503, { error: 'Service unavailable' })
    if (version === 'v-delayed' && Math.random() < 0.5) await later(7000)
    if ((version === 'v-unavailable' || version === 'v-unhealthy') && ill())
      return json(response, 503, { error: 'Service unavailable' })
    json(response, 200, { id, ratings: ratings.get(id) ?? { Reviewer1: 5, Reviewer2: 4 } })
  },
  `Server listening on: http://0.0.0.0:${port}`,
)
