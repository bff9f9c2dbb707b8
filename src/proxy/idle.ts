// A proxy nobody uses for a while is small.

import { giveBackMemoryAtRest } from '#base'
import type { ProxyContext } from './http/context.ts'

/** Whoever is asked now and then stays quick; who is not for so long is small. Milliseconds. */
const REST_MS = 60_000

/** Gives memory back when nothing is asked of a data path. */
export const shrinkAtRest = ({ stats: { counters } }: ProxyContext): void =>
  giveBackMemoryAtRest(() => counters.downstreamConnections + counters.requests, REST_MS)
