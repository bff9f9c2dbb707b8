// reviews: what readers wrote. v1 shows no stars; v2 and v3 ask ratings, and colour them black and red.
import os from 'node:os'
import { json, serve } from '../shared/serve.mjs'
import { passedOn } from './trace.mjs'

const port = Number(process.argv[2] ?? 9080)
const { env } = process
const withStars = env.ENABLE_RATINGS === 'true'
const color = env.STAR_COLOR ?? 'black'
const domain = env.SERVICES_DOMAIN ? `.${env.SERVICES_DOMAIN}` : ''
const ratingsUrl = `http://${env.RATINGS_HOSTNAME ?? 'ratings'}${domain}:${env.RATINGS_SERVICE_PORT ?? 9080}/ratings`
/** The red version loses patience sooner. */
const patience = color === 'black' ? 10_000 : 2500

const REVIEWS = [
  ['Reviewer1', 'Two pairs of twins, one town, no end of trouble: I laughed from the first mix-up to the last.'],
  ['Reviewer2', 'Quick, light and very funny. It is not the deepest of his plays, and it does not try to be.'],
]

async function stars(id, headers) {
  try {
    const answer = await fetch(`${ratingsUrl}/${id}`, {
      headers: passedOn(headers),
      signal: AbortSignal.timeout(patience),
    })
    if (!answer.ok) throw new Error(`status ${answer.status}`)
    return (await answer.json()).ratings
  } catch (error) {
    console.error(`ratings: ${error.cause?.message ?? error.message}`)
    return undefined
  }
}

serve(
  port,
  async (request, response) => {
    const { pathname } = new URL(request.url, 'http://reviews')
    if (pathname === '/health') return json(response, 200, { status: 'Reviews is healthy' })
    const match = /^\/reviews\/([^/]+)$/.exec(pathname)
    if (!match) return json(response, 404, { error: 'not found' })
    const given = withStars ? await stars(match[1], request.headers) : undefined
    json(response, 200, {
      id: match[1],
      podname: os.hostname(),
      clustername: String(env.CLUSTER_NAME ?? null),
      reviews: REVIEWS.map(([reviewer, text]) => ({
        reviewer,
        text,
        ...(withStars
          ? {
              rating: given
                ? { stars: given[reviewer] ?? -1, color }
                : { error: 'Ratings service is currently unavailable' },
            }
          : {}),
      })),
    })
  },
  `reviews listening on port ${port}`,
)
