// Load balancing: which of several hosts. Pure but for the turn of round robin.

import type { LoadBalancer } from '../config/model.ts'
import type { Host } from './host.ts'
import { type HashTable, maglevOf, ringOf } from './ring-hash.ts'

/** Hosts that one pick chooses among, with what was worked out of them. */
export class Choice {
  readonly hosts: readonly Host[]
  readonly #balancer: LoadBalancer
  readonly #uniform: boolean
  #table: HashTable<Host> | undefined
  #turn = 0
  /** For weighted round robin: what each has in hand. */
  readonly #credit = new Map<Host, number>()

  constructor(hosts: readonly Host[], balancer: LoadBalancer) {
    this.hosts = hosts
    this.#balancer = balancer
    this.#uniform = hosts.every((h) => h.weight === hosts[0]?.weight)
  }

  /** A host; `hash` decides where hashing balances. `weightOf` is given while shares differ from the weights. */
  pick(random: () => number, hash: number | undefined, weightOf?: (host: Host) => number): Host | undefined {
    const { hosts } = this
    const { length } = hosts
    if (length <= 1) return hosts[0]
    const weigh = weightOf ?? (this.#uniform ? undefined : (h: Host) => h.weight)
    const b = this.#balancer
    switch (b.kind) {
      case 'ringHash':
        this.#table ??= ringOf(hosts, b.min, b.max)
        return this.#table(hash ?? Math.floor(random() * 0x1_0000_0000))
      case 'maglev':
        this.#table ??= maglevOf(hosts, b.size)
        return this.#table(hash ?? Math.floor(random() * 0x1_0000_0000))
      case 'leastRequest':
        return weigh ? this.#leastWeighted(random, b.choices, weigh) : this.#least(random, b.choices)
      case 'roundRobin':
        if (weigh) return this.#nextWeighted(weigh)
        this.#turn = (this.#turn + 1) % length
        return hosts[this.#turn]
      default:
        return weigh ? weighted(hosts, weigh, random) : hosts[Math.floor(random() * length)]
    }
  }

  /** The least busy of some chosen at random, as Envoy does; of two, both are looked at. */
  #least(random: () => number, choices: number): Host {
    const { hosts } = this
    const { length } = hosts
    let best = hosts[Math.floor(random() * length)]!
    for (let i = 1; i < choices; i++) {
      const other = hosts[Math.floor(random() * length)]!
      if (other.active < best.active) best = other
    }
    return best
  }

  #leastWeighted(random: () => number, choices: number, weigh: (host: Host) => number): Host {
    const busy = (h: Host) => (h.active + 1) / weigh(h)
    let best = weighted(this.hosts, weigh, random)
    for (let i = 1; i < choices; i++) {
      const other = weighted(this.hosts, weigh, random)
      if (busy(other) < busy(best)) best = other
    }
    return best
  }

  /** Smooth weighted round robin: who has most in hand goes, and pays for all. */
  #nextWeighted(weigh: (host: Host) => number): Host {
    let best: Host | undefined
    let total = 0
    for (const host of this.hosts) {
      const weight = weigh(host)
      total += weight
      const credit = (this.#credit.get(host) ?? 0) + weight
      this.#credit.set(host, credit)
      if (!best || credit > this.#credit.get(best)!) best = host
    }
    this.#credit.set(best!, this.#credit.get(best!)! - total)
    return best!
  }
}

function weighted(hosts: readonly Host[], weigh: (host: Host) => number, random: () => number): Host {
  let total = 0
  for (const host of hosts) total += weigh(host)
  let point = random() * total
  for (const host of hosts) {
    point -= weigh(host)
    if (point < 0) return host
  }
  return hosts[hosts.length - 1]!
}

/** How much of the traffic each priority gets, in percent: the first that is well enough takes it all. Pure. */
export function priorityLoad(health: readonly number[], overprovisioning: number): number[] {
  const able = health.map((h) => Math.min(100, h * (overprovisioning / 100) * 100))
  const total = Math.min(
    100,
    able.reduce((n, a) => n + a, 0),
  )
  if (total <= 0) return health.map((_, i) => (i === 0 ? 100 : 0))
  let left = 100
  return able.map((a) => {
    const share = Math.min(left, (a * 100) / total)
    left -= share
    return share
  })
}
