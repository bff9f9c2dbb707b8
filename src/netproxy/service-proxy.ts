// The service proxy: keeps nftables in step with Services and endpoints.

import { readFileSync, writeFileSync } from 'node:fs'
import { type Json, type KubeObject, keyOf, resources, sameJson } from '#api'
import { type Clock, Coalesced, execOk, type Log, messageOf, type Timer } from '#base'
import { EventRecorder, type Informers } from '#client'
import { HostPorts, type Refusal } from './host-ports.ts'
import { type RulesetOptions, renderRuleset, type ServicePort, servicePorts } from './ruleset.ts'
import { type Table, transaction } from './transaction.ts'

/** Runs a script; the real one runs `nft`. */
export type Nft = (script: string) => Promise<void>

export const systemNft: Nft = async (script) => {
  await execOk('nft', ['-f', '-'], { stdin: script })
}

export interface ServiceProxyOptions extends RulesetOptions {
  informers: Informers
  clock: Clock
  log: Log
  nft: Nft
  /** The host's address that load balancers are reached at. */
  hostIp: string
}

/** How often a port that somebody else has is tried again. */
const RETRY_MS = 2000

export class ServiceProxy {
  readonly #options: ServiceProxyOptions
  readonly #job: Coalesced
  readonly #hostPorts = new HostPorts()
  readonly #events: EventRecorder
  /** What the kernel has; undefined when that is not known. */
  #applied: Table | undefined
  #failures = 0
  #timer: Timer | undefined
  /** Ports that are known to be somebody else's, so that each is said once. */
  #refused = new Set<string>()

  constructor(options: ServiceProxyOptions) {
    this.#options = options
    const { informers, clock, log } = options
    this.#events = new EventRecorder(informers.client, clock, log, 'kube-proxy')
    this.#job = new Coalesced(
      () => this.#sync(),
      (error) => {
        this.#failures++
        log.error('service rules not applied', { error: messageOf(error) })
        this.#again(1000)
      },
    )
  }

  /** Why the proxy is not in order, if so. */
  get problem(): string | undefined {
    return this.#failures > 0 ? 'the last rules could not be applied' : undefined
  }

  async start(): Promise<void> {
    const { informers } = this.#options
    enableForwarding()
    const slices = informers.for(resources.endpointSlices)
    slices.addIndex('service', (o) => [
      `${o.metadata.namespace}/${o.metadata.labels?.['kubernetes.io/service-name'] ?? ''}`,
    ])
    await informers.synced()
    informers.for(resources.services).on(() => void this.#job.trigger())
    slices.on(() => void this.#job.trigger())
    await this.#job.trigger()
  }

  /** Resolves when what the informers know now is applied. */
  settled(): Promise<void> {
    return this.#job.trigger()
  }

  close(): void {
    this.#hostPorts.close()
  }

  async #sync(): Promise<void> {
    const { informers, nft } = this.#options
    const slices = informers.for(resources.endpointSlices)
    const slicesOf = (service: KubeObject) =>
      slices.byIndex('service', `${service.metadata.namespace}/${service.metadata.name}`)
    const services = informers.for(resources.services).list()
    const ports = servicePorts(services, slicesOf)
    const refusals = await this.#hostPorts.update(byRight(ports, services))
    const table = renderRuleset(
      ports.map((p) => withoutRefused(p, refusals)),
      this.#options,
    )
    const script = transaction(this.#applied, table)
    if (script) {
      this.#applied = undefined
      await nft(script)
      this.#applied = table
    }
    this.#failures = 0
    this.#tell(refusals)
    await this.#publish(services, refusals)
    if (refusals.length > 0) this.#again(RETRY_MS)
  }

  /** One more look in a while; there is one such timer, whoever asks. */
  #again(ms: number): void {
    this.#timer?.cancel()
    this.#timer = this.#options.clock.after(ms, () => {
      this.#timer = undefined
      void this.#job.trigger()
    })
  }

  /** Says once of each port that it is somebody else's. */
  #tell(refusals: readonly Refusal[]): void {
    const { informers, log } = this.#options
    const now = new Set<string>()
    for (const refusal of refusals.filter((r) => !isOfState(r))) {
      const { port, number, reason } = refusal
      const id = `${port.key} ${number}`
      now.add(id)
      if (this.#refused.has(id)) continue
      log.warn('host port is taken', { service: port.key, port: number, reason })
      const service = informers.for(resources.services).get(port.key.split(':')[0]!)
      const which = number === port.port ? 'port' : 'nodePort'
      if (service)
        this.#events.warning(
          service,
          'PortTaken',
          `Cannot listen on port ${number} of this machine: ${reason}; choose another spec.ports[].${which}`,
        )
    }
    this.#refused = now
  }

  /** Load balancers whose ports are all had are reached at the host's address. */
  async #publish(services: readonly KubeObject[], refusals: readonly Refusal[]): Promise<void> {
    const { informers, hostIp, log } = this.#options
    for (const service of services) {
      const wanted = loadBalancerStatus(service, refusals, hostIp)
      if (sameJson(service.status?.loadBalancer ?? {}, wanted)) continue
      await informers.client
        .patch(
          resources.services,
          service.metadata.namespace ?? '',
          service.metadata.name,
          {
            status: { loadBalancer: wanted.ingress ? wanted : { ingress: null } },
          },
          'merge',
          'status',
        )
        .catch((error) => log.warn('status not written', { service: keyOf(service), error: messageOf(error) }))
    }
  }
}

/**
 * Those first who have the better right to a port of the host: who is reached there already, then the older. After a
 * restart of the server nobody holds anything, and who had a port is to have it again.
 */
export function byRight(ports: readonly ServicePort[], services: readonly KubeObject[]): ServicePort[] {
  const rank = new Map(
    services.map((s) => [
      keyOf(s),
      `${s.status?.loadBalancer?.ingress?.length ? 0 : 1} ${s.metadata.creationTimestamp}`,
    ]),
  )
  const of = (port: ServicePort) => rank.get(port.key.split(':')[0]!) ?? ''
  return [...ports].sort((a, b) => (of(a) < of(b) ? -1 : of(a) > of(b) ? 1 : 0))
}

function withoutRefused(port: ServicePort, refusals: readonly Refusal[]): ServicePort {
  const lost = refusals.filter((r) => r.port.key === port.key).map((r) => r.number)
  return lost.length === 0 ? port : { ...port, hostPorts: port.hostPorts.filter((n) => !lost.includes(n)) }
}

/** Every gateway has a port for its state, and only one of them can have it here: that is no news. */
const isOfState = ({ port, number }: Refusal): boolean => port.key.endsWith(':status-port') && number === port.port

/** What status.loadBalancer of a Service should say. */
function loadBalancerStatus(service: KubeObject, refusals: readonly Refusal[], hostIp: string): Json {
  const { spec } = service
  if (spec.loadBalancerClass && spec.type === 'LoadBalancer') return service.status?.loadBalancer ?? {}
  if (spec.type !== 'LoadBalancer') return {}
  const taken = refusals.some(
    (r) => r.port.key.startsWith(`${keyOf(service)}:`) && r.number === r.port.port && !isOfState(r),
  )
  return taken ? {} : { ingress: [{ ip: hostIp, ipMode: 'VIP' }] }
}

/** Packets of pods must be forwarded by the host. */
function enableForwarding(): void {
  const file = '/proc/sys/net/ipv4/ip_forward'
  if (readFileSync(file, 'utf8').trim() !== '1') writeFileSync(file, '1')
}
