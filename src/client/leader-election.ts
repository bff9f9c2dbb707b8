// Leader election: of several servers one runs the controllers, the one that holds a Lease.
// Times and fields as client-go's leaderelection package has them.

import { isConflict, isNotFound, type KubeObject, resources } from '#api'
import { type Clock, type Log, messageOf, rfc3339Micro, sleep } from '#base'
import type { Client } from './contract.ts'

/** How long a lease holds without being renewed, and how often it is renewed or asked for, milliseconds. */
const LEASE_MS = 15_000
const RENEW_WITHIN_MS = 10_000
const RETRY_MS = 2_000

export interface ElectionOptions {
  readonly client: Client
  readonly clock: Clock
  readonly log: Log
  /** Name of the Lease in kube-system: "kube-controller-manager". */
  readonly name: string
  /** Who this is: different for every process that may lead. */
  readonly identity: string
}

/**
 * Runs `lead` whenever this is the leader, until `signal` aborts; the signal given to `lead` aborts when the
 * lease could not be renewed in time. A lease that is held is given up at the end, so that the next leader
 * need not wait.
 */
export async function runAsLeader(
  options: ElectionOptions,
  lead: (signal: AbortSignal) => void,
  signal: AbortSignal,
): Promise<void> {
  const { clock, log, name } = options
  const election = new Election(options)
  while (!signal.aborted) {
    // A lease counts from when it was asked for: the answer may have been long under way.
    let renewed = clock.now()
    if (!(await election.attempt())) {
      await sleep(clock, RETRY_MS, signal)
      continue
    }
    log.info('leading', { lease: name })
    const term = new AbortController()
    const end = () => term.abort()
    signal.addEventListener('abort', end, { once: true })
    lead(term.signal)
    let deadline = clock.after(Math.max(0, renewed + RENEW_WITHIN_MS - clock.now()), end)
    while (!term.signal.aborted) {
      await sleep(clock, RETRY_MS, term.signal)
      if (term.signal.aborted) break
      const asked = clock.now()
      if (!(await election.attempt()) || term.signal.aborted) continue
      renewed = asked
      deadline.cancel()
      deadline = clock.after(Math.max(0, renewed + RENEW_WITHIN_MS - clock.now()), end)
    }
    deadline.cancel()
    signal.removeEventListener('abort', end)
    term.abort()
    if (signal.aborted) await election.release()
    else log.warn('not leading any more: the lease was not renewed in time', { lease: name })
  }
}

class Election {
  readonly #options: ElectionOptions
  /** The lease as it was seen last, and when it was seen to change: others' clocks are not trusted. */
  #seen: { version: string; at: number } | undefined

  constructor(options: ElectionOptions) {
    this.#options = options
  }

  /** Takes or renews the lease; false when somebody else has it, or it could not be written. */
  async attempt(): Promise<boolean> {
    const { client, clock, log, name, identity } = this.#options
    const now = rfc3339Micro(clock.now())
    const term = { holderIdentity: identity, leaseDurationSeconds: LEASE_MS / 1000, renewTime: now }
    try {
      const lease = await this.#read()
      if (!lease) {
        const spec = { ...term, acquireTime: now, leaseTransitions: 0 }
        await client.create(resources.leases, { metadata: { name, namespace: 'kube-system' }, spec })
        return true
      }
      const { resourceVersion = '' } = lease.metadata
      if (this.#seen?.version !== resourceVersion) this.#seen = { version: resourceVersion, at: clock.now() }
      const mine = lease.spec.holderIdentity === identity
      const held = Boolean(lease.spec.holderIdentity) && clock.now() - this.#seen.at < LEASE_MS
      if (!mine && held) return false
      const taken = mine
        ? {}
        : {
            acquireTime: now,
            leaseTransitions: (lease.spec.leaseTransitions ?? 0) + (lease.spec.holderIdentity ? 1 : 0),
          }
      const next = await client.update(resources.leases, { ...lease, spec: { ...lease.spec, ...term, ...taken } })
      this.#seen = { version: next.metadata.resourceVersion ?? '', at: clock.now() }
      return true
    } catch (error) {
      if (!isConflict(error)) log.warn('lease not written', { lease: name, error: messageOf(error) })
      return false
    }
  }

  /** Gives the lease up. */
  async release(): Promise<void> {
    const { client, identity } = this.#options
    try {
      const lease = await this.#read()
      if (lease?.spec.holderIdentity !== identity) return
      await client.update(resources.leases, {
        ...lease,
        spec: { ...lease.spec, holderIdentity: '', leaseDurationSeconds: 1 },
      })
    } catch {
      // It runs out by itself.
    }
  }

  async #read(): Promise<KubeObject | undefined> {
    const { client, name } = this.#options
    try {
      return await client.get(resources.leases, 'kube-system', name)
    } catch (error) {
      if (isNotFound(error)) return undefined
      throw error
    }
  }
}
