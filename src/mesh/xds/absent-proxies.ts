// Proxies whose connection was lost a moment ago: they serve with what they know, and come back.

import type { Json, KubeObject } from '#api'
import { type Clock, patience } from '#base'

/** A proxy that comes back does so within this, milliseconds of this process's own time. */
const RETURN_MS = 3000

export class AbsentProxies {
  readonly #clock: Clock
  readonly #absent = new Map<string, { readonly over: Promise<unknown>; readonly back: () => void }>()

  constructor(clock: Clock) {
    this.#clock = clock
  }

  /** A proxy was lost, or is not here yet after a restart: it is awaited for a while. */
  left(id: string): void {
    if (this.#absent.has(id)) return
    let back = () => {}
    const returned = new Promise<void>((resolve) => {
      back = resolve
    })
    const over = patience(this.#clock, returned, RETURN_MS).then(() => this.#absent.delete(id))
    this.#absent.set(id, { over, back })
  }

  /** It is here again. */
  back(id: string): void {
    this.#absent.get(id)?.back()
  }

  /** Resolves when those that are awaited now, and live, are here or are given up. */
  async returned(lives: (id: string) => boolean): Promise<void> {
    await Promise.all([...this.#absent].filter(([id]) => lives(id)).map(([, { over }]) => over))
  }
}

/** Whether a proxy runs in a pod that is to stay. */
export function hasProxy(pod: KubeObject | undefined): boolean {
  if (!pod || pod.metadata.deletionTimestamp) return false
  const { containerStatuses = [], initContainerStatuses = [] }: Json = pod.status ?? {}
  return [...containerStatuses, ...initContainerStatuses].some(
    (s: Json) => s.name === 'istio-proxy' && s.started === true && s.state?.running,
  )
}
