// A cluster in use: its hosts, who of them is chosen, what it bears, and who is left out for a while.

import type { Cluster, Endpoint } from '../config/model.ts'
import { Choice, priorityLoad } from './balance.ts'
import { resolveHosts } from './dns.ts'
import { HealthChecker } from './health-checker.ts'
import { Host } from './host.ts'
import { RetryBudget } from './retry-budget.ts'

/** One priority: all its hosts, those that are well, and these by locality. */
interface Priority {
  readonly level: number
  readonly choice: Choice
  readonly localities: readonly { readonly weight: number; readonly choice: Choice }[]
  readonly localityTotal: number
  /** Hosts that are well, as a share of all. */
  readonly health: number
}

/** A status as outlier detection sees it: what is told to be a failure is one of the server, anything else is none. */
function judged(status: number, errorCodes: ReadonlySet<number> | undefined): number {
  if (!errorCodes) return status
  if (errorCodes.has(status)) return Math.max(status, 500)
  return 200
}

const budgetOf = ({ breakers: { retryBudget } }: Cluster) => retryBudget && new RetryBudget(retryBudget)

export class ClusterState {
  #config: Cluster
  readonly #now: () => number
  readonly hosts = new Map<string, Host>()
  /** What is under way. */
  connections = 0
  pending = 0
  requests = 0
  retries = 0
  readonly stats: Record<string, number> = {}
  #retryBudget: RetryBudget | undefined
  /** Whether endpoints have been delivered at least once. */
  warm = false
  /** Called when its endpoints are first known. */
  onWarm: () => void = () => {}
  #priorities: Priority[] | undefined
  #load: number[] = []
  #warmingUntil = 0
  #sweep: NodeJS.Timeout | undefined
  #resolving: { close(): void } | undefined
  #checkers = new Map<Host, HealthChecker[]>()
  #closed = false

  constructor(config: Cluster, now: () => number = () => performance.now()) {
    this.#config = config
    this.#now = now
    this.#retryBudget = budgetOf(config)
    this.#begin()
  }

  get config(): Cluster {
    return this.#config
  }

  /** A request to one of its hosts begins. */
  began(): void {
    this.requests++
    this.stats.upstream_rq_total = (this.stats.upstream_rq_total ?? 0) + 1
    this.#retryBudget?.count(this.#now())
  }

  /** Whether another retry is borne. */
  get bearsRetry(): boolean {
    const limit = this.#retryBudget?.limit(this.requests + this.pending, this.#now())
    return this.retries < (limit ?? this.#config.breakers.retries)
  }

  count(name: string, by = 1): void {
    this.stats[name] = (this.stats[name] ?? 0) + by
  }

  /** Takes a new configuration; hosts and what is under way stay. */
  configure(config: Cluster): void {
    const before = this.#config
    this.#config = config
    this.#priorities = undefined
    if (JSON.stringify(before.breakers.retryBudget) !== JSON.stringify(config.breakers.retryBudget))
      this.#retryBudget = budgetOf(config)
    if (JSON.stringify(before.healthChecks) !== JSON.stringify(config.healthChecks)) {
      for (const checkers of this.#checkers.values()) for (const c of checkers) c.close()
      this.#checkers.clear()
      for (const host of this.hosts.values()) this.#check(host)
    }
    // Connections that were made otherwise carry no new requests.
    if (before.transportKey !== config.transportKey) for (const host of this.hosts.values()) host.renew()
    if (!config.outlier) for (const host of this.hosts.values()) host.ejected = false
    if (config.type !== 'eds') this.#begin()
  }

  #begin(): void {
    this.#resolving?.close()
    this.#resolving = undefined
    const { type, inline } = this.#config
    if (type === 'static') this.update(inline)
    else if (type === 'originalDst') this.warm = true
    else if (type === 'strictDns' || type === 'logicalDns')
      this.#resolving = resolveHosts(this.#config, (endpoints) => {
        if (!this.#closed) this.update(endpoints)
      })
  }

  /** Brings the hosts in step with what is told. */
  update(endpoints: readonly Endpoint[]): void {
    const first = !this.warm
    this.warm = true
    const told = new Map(endpoints.map((e) => [`${e.host}:${e.port}`, e]))
    for (const [key, host] of this.hosts)
      if (!told.has(key)) {
        this.hosts.delete(key)
        this.#forget(host)
      }
    const now = this.#now()
    for (const [key, endpoint] of told) {
      const known = this.hosts.get(key)
      if (known) {
        known.update(endpoint)
        continue
      }
      const host = new Host(endpoint, this, first ? Number.NEGATIVE_INFINITY : now)
      this.hosts.set(key, host)
      if (!first && this.#config.warmup > 0) this.#warmingUntil = now + this.#config.warmup
      this.#check(host)
    }
    this.#priorities = undefined
    if (first) this.onWarm()
  }

  /** A host for a destination that only the connection knows. */
  passthrough(address: string, asked: number): Host {
    const port = this.#config.portOverride || asked
    const key = `${address}:${port}`
    let host = this.hosts.get(key)
    if (!host) {
      const endpoint: Endpoint = {
        host: address,
        port,
        workload: '',
        hostname: '',
        locality: '',
        localityWeight: 1,
        priority: 0,
        weight: 1,
        health: 'healthy',
        labels: {},
      }
      host = new Host(endpoint, this, 0)
      this.hosts.set(key, host)
      // Destinations come and go; those nobody uses are forgotten.
      if (this.hosts.size > 1000)
        for (const [other, old] of this.hosts)
          if (old.connections === 0 && old !== host) {
            this.hosts.delete(other)
            if (this.hosts.size <= 500) break
          }
    }
    return host
  }

  /**
   * A host for a new request; those in `except` are avoided for some attempts, and priorities in `without` as long as
   * another one has a host that is well. Undefined when none is.
   */
  pick(
    random: () => number,
    hash?: number,
    except?: ReadonlySet<Host>,
    attempts = 1,
    without?: ReadonlySet<number>,
  ): Host | undefined {
    const priorities = (this.#priorities ??= this.#table())
    let host: Host | undefined
    for (let i = 0; i <= attempts; i++) {
      host = this.#pickOnce(priorities, random, hash, without)
      if (!host || !except?.has(host)) return host
      // A hash always says the same.
      if (hash !== undefined) return host
    }
    return host
  }

  #pickOnce(
    priorities: readonly Priority[],
    random: () => number,
    hash: number | undefined,
    without: ReadonlySet<number> | undefined,
  ): Host | undefined {
    let priority = priorities[0]
    if (priorities.length > 1) {
      let point = hash === undefined ? random() * 100 : hash % 100
      const shares = without ? this.#loadWithout(priorities, without) : this.#load
      for (const [i, load] of shares.entries()) {
        point -= load
        if (point < 0) {
          priority = priorities[i]
          break
        }
      }
    }
    if (!priority) return undefined
    let { choice } = priority
    if (priority.localities.length > 1) {
      let point = random() * priority.localityTotal
      for (const locality of priority.localities) {
        point -= locality.weight
        if (point < 0) {
          ;({ choice } = locality)
          break
        }
      }
    }
    return choice.pick(random, hash, this.#weigh())
  }

  #loadWithout(priorities: readonly Priority[], without: ReadonlySet<number>): number[] {
    const health = priorities.map((p) => (without.has(p.level) ? 0 : p.health))
    return health.some((h) => h > 0) ? priorityLoad(health, this.#config.overprovisioning) : this.#load
  }

  /** Shares while hosts warm up; undefined when none does. */
  #weigh(): ((host: Host) => number) | undefined {
    if (this.#warmingUntil === 0) return undefined
    const now = this.#now()
    if (now >= this.#warmingUntil) {
      this.#warmingUntil = 0
      return undefined
    }
    const { warmup, warmupAggression, warmupLeast } = this.#config
    return (host) =>
      host.weight * Math.max(warmupLeast, Math.min(1, ((now - host.since) / warmup) ** (1 / warmupAggression)))
  }

  #table(): Priority[] {
    const { balancer, panicPercent, overprovisioning, localityWeighted } = this.#config
    const levels = new Map<number, Host[]>()
    for (const host of this.hosts.values()) {
      if (host.endpoint.health === 'draining') continue
      const list = levels.get(host.endpoint.priority)
      if (list) list.push(host)
      else levels.set(host.endpoint.priority, [host])
    }
    const order = [...levels].sort(([a], [b]) => a - b)
    const priorities = order.map(([level, all]): Priority => {
      const well = all.filter((h) => h.usable)
      const health = well.length / all.length
      // When too many are unwell, their checks are not believed.
      const hosts = health * 100 < panicPercent ? all : well
      return {
        level,
        choice: new Choice(hosts, balancer),
        ...localitiesOf(localityWeighted ? hosts : [], all, (list) => new Choice(list, balancer), overprovisioning),
        health,
      }
    })
    this.#load = priorityLoad(
      priorities.map((p) => p.health),
      overprovisioning,
    )
    return priorities
  }

  /** How a request to a host ended: a status, or 0 when none came. */
  report(host: Host, status: number): void {
    if (status === 0 || status >= 500) host.stats.error++
    else host.stats.success++
    const { outlier } = this.#config
    if (!outlier) return
    const local = status === 0
    if (local && outlier.splitLocal) {
      host.consecutiveLocal++
      if (outlier.consecutiveLocal > 0 && host.consecutiveLocal >= outlier.consecutiveLocal)
        this.#eject(host, 'consecutive_local_origin_failure')
      return
    }
    if (!local) host.consecutiveLocal = 0
    // A failure of the connection counts as a 503.
    const code = local ? 503 : judged(status, outlier.errorCodes)
    if (code < 500) {
      host.consecutive5xx = 0
      host.consecutiveGateway = 0
      return
    }
    host.consecutive5xx++
    if (code >= 502 && code <= 504) host.consecutiveGateway++
    else host.consecutiveGateway = 0
    if (outlier.consecutiveGateway > 0 && host.consecutiveGateway >= outlier.consecutiveGateway)
      this.#eject(host, 'consecutive_gateway_failure')
    else if (outlier.consecutive5xx > 0 && host.consecutive5xx >= outlier.consecutive5xx)
      this.#eject(host, 'consecutive_5xx')
  }

  #eject(host: Host, why: string): void {
    const { outlier } = this.#config
    host.consecutive5xx = 0
    host.consecutiveGateway = 0
    host.consecutiveLocal = 0
    if (!outlier || host.ejected) return
    const ejected = [...this.hosts.values()].filter((h) => h.ejected).length
    // One may always be left out.
    if (ejected > 0 && ((ejected + 1) / this.hosts.size) * 100 > outlier.maxPercent) {
      this.count('outlier_detection.ejections_overflow')
      return
    }
    host.ejected = true
    host.ejections++
    host.ejectedUntil = this.#now() + Math.min(outlier.baseEjection * host.ejections, outlier.maxEjection)
    this.count('outlier_detection.ejections_enforced_total')
    this.count(`outlier_detection.ejections_enforced_${why}`)
    this.#priorities = undefined
    this.#sweep ??= setInterval(() => this.#readmit(), Math.max(10, outlier.interval)).unref()
  }

  /** Hosts whose time is over come back; those that behave lose an ejection at each turn. */
  #readmit(): void {
    const now = this.#now()
    let left = false
    for (const host of this.hosts.values())
      if (host.ejected && now >= host.ejectedUntil) {
        host.ejected = false
        this.#priorities = undefined
      } else if (host.ejected) left = true
      else if (host.ejections > 0 && --host.ejections > 0) left = true
    if (left) return
    clearInterval(this.#sweep)
    this.#sweep = undefined
  }

  #check(host: Host): void {
    const checks = this.#config.healthChecks
    if (checks.length === 0) {
      host.checked = true
      return
    }
    host.checked = false
    this.#checkers.set(
      host,
      checks.map(
        (check) =>
          new HealthChecker(check, host, (well) => {
            if (host.checked === well) return
            host.checked = well
            this.count(well ? 'health_check.success' : 'health_check.failure')
            this.#priorities = undefined
          }),
      ),
    )
  }

  #forget(host: Host): void {
    for (const checker of this.#checkers.get(host) ?? []) checker.close()
    this.#checkers.delete(host)
    host.retire()
  }

  /** The cluster is no longer told of: hosts end what is under way. */
  close(): void {
    this.#closed = true
    this.#resolving?.close()
    clearInterval(this.#sweep)
    this.#sweep = undefined
    for (const host of this.hosts.values()) this.#forget(host)
    this.hosts.clear()
  }
}

/** Localities with their shares: a locality's weight counts as far as its hosts are well. */
function localitiesOf(
  hosts: readonly Host[],
  all: readonly Host[],
  choose: (hosts: readonly Host[]) => Choice,
  overprovisioning: number,
): Pick<Priority, 'localities' | 'localityTotal'> {
  const groups = new Map<string, Host[]>()
  for (const host of hosts) {
    const list = groups.get(host.endpoint.locality)
    if (list) list.push(host)
    else groups.set(host.endpoint.locality, [host])
  }
  const localities = [...groups].map(([locality, list]) => {
    const total = all.filter((h) => h.endpoint.locality === locality).length
    const able = Math.min(1, (list.length / total) * (overprovisioning / 100))
    return { weight: list[0]!.endpoint.localityWeight * able, choice: choose(list) }
  })
  return { localities, localityTotal: localities.reduce((n, l) => n + l.weight, 0) }
}
