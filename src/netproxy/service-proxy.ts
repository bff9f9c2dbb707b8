// The service proxy: keeps nftables in step with Services and endpoints.

import { readFileSync, writeFileSync } from 'node:fs'
import { type Json, type KubeObject, resources } from '#api'
import { type Clock, Coalesced, execOk, type Log, messageOf } from '#base'
import { EventRecorder, type Informers } from '#client'
import { NodePorts } from './node-ports.ts'
import { type RulesetOptions, renderRuleset, type ServicePort, servicePorts } from './ruleset.ts'

/** Applies a ruleset; the real one runs `nft`. */
export type Nft = (ruleset: string) => Promise<void>

export const systemNft: Nft = async (ruleset) => {
  await execOk('nft', ['-f', '-'], { stdin: ruleset })
}

export interface ServiceProxyOptions extends RulesetOptions {
  informers: Informers
  clock: Clock
  log: Log
  nft: Nft
}

export class ServiceProxy {
  readonly #options: ServiceProxyOptions
  readonly #job: Coalesced
  readonly #nodePorts: NodePorts
  #applied = ''
  #ports: readonly ServicePort[] = []
  #failures = 0

  constructor(options: ServiceProxyOptions) {
    this.#options = options
    const { informers, clock, log } = options
    const events = new EventRecorder(informers.client, clock, log, 'kube-proxy')
    this.#nodePorts = new NodePorts((port, error) => {
      const [namespace = '', rest = ''] = port.key.split('/')
      const service = informers.for(resources.services).get(`${namespace}/${rest.split(':')[0]}`)
      log.warn('node port is taken', { service: port.key, port: port.nodePort, error: error.message })
      if (service)
        events.warning(
          service,
          'NodePortTaken',
          `Cannot listen on node port ${port.nodePort}: ${error.code === 'EADDRINUSE' ? 'another program or cluster on this machine uses it' : error.message}; choose another spec.ports[].nodePort`,
        )
    })
    this.#job = new Coalesced(
      () => this.#sync(),
      (error) => {
        this.#failures++
        log.error('service rules not applied', { error: messageOf(error) })
        clock.after(1000, () => void this.#job.trigger())
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

  /** Resolves when no rule sends new connections to `ip`. */
  async withdrawn(ip: string): Promise<void> {
    const slices = this.#options.informers.for(resources.endpointSlices)
    // The endpoint is marked terminating first; when it has been applied the address is out.
    const present = () =>
      slices
        .list()
        .some((s) => (s.endpoints ?? []).some((e: Json) => e.addresses[0] === ip && e.conditions?.ready !== false))
    if (present())
      await new Promise<void>((resolve) => {
        const stop = slices.on(() => {
          if (present()) return
          queueMicrotask(() => stop())
          resolve()
        })
      })
    await this.#job.trigger()
  }

  close(): void {
    this.#nodePorts.close()
  }

  async #sync(): Promise<void> {
    const { informers, nft } = this.#options
    const slices = informers.for(resources.endpointSlices)
    const slicesOf = (service: KubeObject) =>
      slices.byIndex('service', `${service.metadata.namespace}/${service.metadata.name}`)
    this.#ports = servicePorts(informers.for(resources.services).list(), slicesOf)
    const ruleset = renderRuleset(this.#ports, this.#options)
    if (ruleset !== this.#applied) {
      await nft(ruleset)
      this.#applied = ruleset
      this.#failures = 0
    }
    this.#nodePorts.update(this.#ports)
  }
}

/** Packets of pods must be forwarded by the host. */
function enableForwarding(): void {
  const file = '/proc/sys/net/ipv4/ip_forward'
  if (readFileSync(file, 'utf8').trim() !== '1') writeFileSync(file, '1')
}
