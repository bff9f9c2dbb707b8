// What the agent of a proxy and its workers say to each other.

import type { Told } from '../config/resources.ts'
import type { Tally } from './tally.ts'

/** Resources as they came: a worker puts in force what its agent does, and says so. */
export interface Update {
  readonly kind: 'apply'
  /** Of the question; 0 where nobody waits for the answer. */
  readonly id: number
  readonly type: string
  readonly told: readonly Told[]
  readonly removed: readonly string[]
  readonly whole: boolean
}

/** What is asked for by name. */
export type Demanded = 'clusters' | 'routes' | 'listeners'

export type ToWorker =
  | Update
  /** What is not kept in step any more: routes of a host, that an address has no listener. */
  | { readonly kind: 'forget'; readonly what: 'routes' | 'listeners'; readonly name: string }
  /** Listeners were once said to be told on demand. */
  | { readonly kind: 'asksForListeners' }
  | { readonly kind: 'tally'; readonly id: number }
  /** Answers say that connections end. */
  | { readonly kind: 'drain' }
  /** No new connections are taken. */
  | { readonly kind: 'close' }

export type FromWorker =
  /** Its addresses are open. */
  | { readonly kind: 'serving' }
  | { readonly kind: 'applied'; readonly id: number }
  | { readonly kind: 'ask'; readonly what: Demanded; readonly name: string }
  | { readonly kind: 'tally'; readonly id: number; readonly tally: Tally }
