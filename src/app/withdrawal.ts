// A pod that ends leaves the endpoints of its Services, and what was on its way to it is answered, before its containers
// are told to stop.

import { get } from 'node:http'
import { type Json, resources } from '#api'
import { type Clock, sleep } from '#base'
import type { Informers } from '#client'

/** Resolves when no EndpointSlice offers the address as ready. */
export async function endpointLeft(informers: Informers, ip: string): Promise<void> {
  const slices = informers.for(resources.endpointSlices)
  const offered = () =>
    slices
      .list()
      .some((s) => (s.endpoints ?? []).some((e: Json) => e.addresses[0] === ip && e.conditions?.ready !== false))
  if (!offered()) return
  await new Promise<void>((resolve) => {
    const stop = slices.on(() => {
      if (offered()) return
      queueMicrotask(() => stop())
      resolve()
    })
  })
}

/** Where a sidecar tells how many requests are under way. */
const AGENT_PORT = 15020
const LOOK_MS = 50
/** Looks at most, and how many of them may find the same requests: those are streams, which the workload ends itself. */
const LOOKS = 40
const LOOKS_ALIKE = 10
/** A look that takes longer than this is none. */
const ANSWER_MS = 1000

/**
 * Resolves when the sidecar at an address has no requests for its workload under way, twice in a row: what stood in its
 * sockets at the first look it has taken by the second. At once where there is no sidecar; streams are not waited for.
 */
export async function requestsEnded(clock: Clock, ip: string, port = AGENT_PORT): Promise<void> {
  let before = -1
  let alike = 0
  for (let look = 0; look < LOOKS; look++) {
    const now = await underWay(ip, port)
    if (now === undefined) return
    alike = now === before ? alike + 1 : 0
    if (alike >= (now === 0 ? 1 : LOOKS_ALIKE)) return
    before = now
    await sleep(clock, LOOK_MS)
  }
}

/** The requests for a workload that are under way, as its sidecar says; undefined without one that does. */
function underWay(ip: string, port: number): Promise<number | undefined> {
  return new Promise((resolve) => {
    const request = get({ host: ip, port, path: '/requests/active', timeout: ANSWER_MS, agent: false }, (answer) => {
      let text = ''
      answer.setEncoding('utf8')
      answer.on('data', (part: string) => {
        text += part
        if (text.length > 100) answer.destroy()
      })
      answer.on('close', () => resolve(answer.statusCode === 200 && /^\d+\n$/.test(text) ? Number(text) : undefined))
    })
    // Who does not answer now is asked again: it may have stood still.
    request.on('timeout', () => request.destroy(new Error('slow')))
    request.on('error', (error) => resolve(error.message === 'slow' ? Number.POSITIVE_INFINITY : undefined))
  })
}
