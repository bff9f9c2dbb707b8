// Keeps the Gateway API's objects in step: Deployments and Services of Gateways, and the status of everything.

import {
  isAlreadyExists,
  isNotFound,
  type Json,
  type KubeInput,
  type KubeObject,
  keyOf,
  type Resource,
  resources,
  sameJson,
} from '#api'
import { type Clock, Coalesced, type Log, messageOf, rfc3339 } from '#base'
import type { Informers } from '#client'
import { discovery } from '../model/discovery.ts'
import type { MeshConfig } from '../model/mesh-config.ts'
import { type Converted, convertGatewayApi, manualAddress, manualService } from './convert.ts'
import { deploymentName, deploymentOf, type Wanted } from './deployment.ts'
import { allowsListeners, parentOf } from './listener-sets.ts'
import { unsupportedAddresses } from './listeners.ts'
import { PARAMETERS, parametersOf } from './parameters.ts'
import {
  classStatus,
  type GatewayAddresses,
  gatewayStatus,
  listenerSetStatus,
  policyStatus,
  remoteStatus,
  routeStatus,
} from './status.ts'
import { CONTROLLER, type GatewayApiView, isOurs, isRemote, REMOTE_CONTROLLER } from './view.ts'

/** The Gateway API's own resources, whose changes are conversions anew. */
export const GATEWAY_RESOURCES: readonly Resource[] = [
  resources.gatewayClasses,
  resources.k8sGateways,
  resources.listenerSets,
  resources.httpRoutes,
  resources.grpcRoutes,
  resources.tlsRoutes,
  resources.tcpRoutes,
  resources.referenceGrants,
  resources.backendTlsPolicies,
]

/** The view of a cluster through its informers, as far as the mesh sees it. */
export function gatewayApiView(informers: Informers, mesh: MeshConfig): GatewayApiView {
  const sees = discovery(mesh.discoverySelectors, (name) => informers.for(resources.namespaces).get(name))
  const list = (resource: Resource) => informers.for(resource).list().filter(sees)
  return {
    classes: list(resources.gatewayClasses),
    gateways: list(resources.k8sGateways),
    listenerSets: list(resources.listenerSets),
    httpRoutes: list(resources.httpRoutes),
    grpcRoutes: list(resources.grpcRoutes),
    tlsRoutes: list(resources.tlsRoutes),
    tcpRoutes: list(resources.tcpRoutes),
    grants: list(resources.referenceGrants),
    tlsPolicies: list(resources.backendTlsPolicies),
    service: (namespace, name) => informers.for(resources.services).get(`${namespace}/${name}`),
    serviceEntries: list(resources.serviceEntries),
    serviceEntry: (namespace, name) => informers.for(resources.serviceEntries).get(`${namespace}/${name}`),
    namespace: (name) => informers.for(resources.namespaces).get(name),
    secret: (namespace, name) => informers.for(resources.secrets).get(`${namespace}/${name}`),
    configMap: (namespace, name) => informers.for(resources.configMaps).get(`${namespace}/${name}`),
  }
}

export interface GatewayControllerOptions {
  readonly informers: Informers
  readonly clock: Clock
  readonly log: Log
  readonly proxyImage: string
  mesh(): MeshConfig
}

/** Classes that are there from the start (Istio's names). */
const CLASSES = [
  { name: 'istio', controllerName: CONTROLLER, description: 'The default Istio GatewayClass' },
  {
    name: 'istio-remote',
    controllerName: REMOTE_CONTROLLER,
    description: 'Remote to this cluster. Does not deploy or affect configuration.',
  },
]

export class GatewayController {
  readonly #options: GatewayControllerOptions
  readonly #job: Coalesced
  #again: { cancel(): void } | undefined
  /** The first failure of a look. */
  #failure: unknown

  constructor(options: GatewayControllerOptions) {
    this.#options = options
    this.#job = new Coalesced(
      () => this.#reconcile(),
      (error) => {
        options.log.warn('Gateway API not reconciled', { error: messageOf(error) })
        this.#again ??= options.clock.after(500, () => {
          this.#again = undefined
          void this.#job.trigger()
        })
      },
    )
  }

  /** Begins; the informers have synced. */
  start(): void {
    const { informers } = this.#options
    const look = () => void this.#job.trigger()
    for (const resource of [...GATEWAY_RESOURCES, resources.services, resources.serviceEntries, resources.deployments])
      informers.for(resource).on(look)
    for (const resource of [resources.secrets, resources.namespaces, resources.configMaps])
      informers.for(resource).on(() => {
        if (informers.for(resources.k8sGateways).list().length > 0) look()
      })
    void this.#createClasses().then(look)
  }

  async #createClasses(): Promise<void> {
    const { informers, log } = this.#options
    for (const { name, ...spec } of CLASSES)
      try {
        await informers.client.create(resources.gatewayClasses, { metadata: { name }, spec })
      } catch (error) {
        if (!isAlreadyExists(error)) log.warn('GatewayClass not created', { name, error: messageOf(error) })
      }
  }

  async #reconcile(): Promise<void> {
    const { informers, clock, proxyImage, mesh } = this.#options
    const config = mesh()
    const source = { proxyImage, mesh: config, proxyConfigs: informers.for(resources.proxyConfigs).list() }
    const view = gatewayApiView(informers, config)
    const converted = convertGatewayApi(view)
    const now = rfc3339(clock.now())
    this.#failure = undefined
    const classes = new Map(view.classes.map((c) => [c.metadata.name, c]))
    for (const c of view.classes)
      if (isOurs(c) || isRemote(c)) await this.#write(resources.gatewayClasses, c, classStatus(c, now))
    for (const gateway of view.gateways) {
      if (isRemote(classes.get(gateway.spec?.gatewayClassName)))
        await this.#write(resources.k8sGateways, gateway, remoteStatus(gateway, now))
      const listeners = converted.listeners.get(keyOf(gateway))
      if (!listeners || gateway.metadata.deletionTimestamp) continue
      const parameters = parametersOf(gateway, classes.get(gateway.spec?.gatewayClassName), view.configMap)
      if (
        manualAddress(gateway) === undefined &&
        unsupportedAddresses(gateway).length === 0 &&
        parameters.problem === undefined
      )
        for (const wanted of deploymentOf(gateway, listeners, source, parameters))
          await this.#attempt(() => this.#ensure(wanted))
      const reached = { ...this.#addressesOf(view, gateway, converted), parameters: parameters.problem }
      const status = gatewayStatus(gateway, converted, reached, now)
      await this.#write(resources.k8sGateways, gateway, status)
      const programmed = (status.conditions as Json[]).some((c) => c.type === 'Programmed' && c.status === 'True')
      for (const set of view.listenerSets.filter((s) => parentOf(s) === keyOf(gateway))) {
        const allowed = allowsListeners(view, gateway, set.metadata.namespace ?? '')
        const told = listenerSetStatus(set, converted, { allowed, programmed }, now)
        await this.#write(resources.listenerSets, set, told)
      }
    }
    for (const [resource, routes] of [
      [resources.httpRoutes, view.httpRoutes],
      [resources.grpcRoutes, view.grpcRoutes],
      [resources.tlsRoutes, view.tlsRoutes],
      [resources.tcpRoutes, view.tcpRoutes],
    ] as const)
      for (const route of routes) await this.#write(resource, route, routeStatus(route, converted, now))
    for (const policy of view.tlsPolicies)
      await this.#write(resources.backendTlsPolicies, policy, policyStatus(policy, converted, now))
    if (this.#failure) throw this.#failure
  }

  /** What fails for one object is tried again with the next look, and does not stop the others. */
  async #attempt(work: () => Promise<void>): Promise<void> {
    try {
      await work()
    } catch (error) {
      this.#failure ??= error
    }
  }

  /** Where a Gateway is reached: at its load balancer's address, else at its Service's own. */
  #addressesOf(view: GatewayApiView, gateway: KubeObject, converted: Converted): GatewayAddresses {
    const { informers } = this.#options
    const { namespace = '' } = gateway.metadata
    const service = manualService(view, gateway) ?? view.service(namespace, deploymentName(gateway))
    const ports = new Set((converted.listeners.get(keyOf(gateway)) ?? []).map((l) => l.listener.port))
    const ingress: Json[] = service?.status?.loadBalancer?.ingress ?? []
    const address = (value: string) => ({ type: 'IPAddress', value })
    const addresses =
      ingress.length > 0
        ? ingress.map((i) => (i.ip ? address(i.ip) : { type: 'Hostname', value: i.hostname }))
        : !service?.spec?.clusterIP
          ? []
          : service.spec.type === 'LoadBalancer' && service.spec.clusterIP !== 'None'
            ? [address(service.spec.clusterIP)]
            : [{ type: 'Hostname', value: `${service.metadata.name}.${service.metadata.namespace}.svc.cluster.local` }]
    const deployment = informers.for(resources.deployments).get(`${namespace}/${deploymentName(gateway)}`)
    return {
      addresses,
      serving: [...ports].map(
        (port) => `${service?.metadata.name}.${service?.metadata.namespace}.svc.cluster.local:${port}`,
      ),
      missing: service ? undefined : manualAddress(gateway),
      ready: manualService(view, gateway) !== undefined || (deployment?.status?.readyReplicas ?? 0) > 0,
    }
  }

  #write(resource: Resource, object: KubeObject, status: Json): Promise<void> {
    return this.#attempt(() => this.#writeStatus(resource, object, status))
  }

  async #writeStatus(resource: Resource, object: KubeObject, status: Json): Promise<void> {
    const next = { ...object.status, ...status }
    if (sameJson(object.status ?? {}, next)) return
    try {
      await this.#options.informers.client.updateStatus(resource, { ...object, status: next })
    } catch (error) {
      if (!isNotFound(error)) throw error
    }
  }

  /** Creates what is missing; of what is there changes the parts that the Gateway says. */
  async #ensure({ resource, object }: Wanted): Promise<void> {
    const { client } = this.#options.informers
    const { namespace = '', name = '' } = object.metadata
    const current = this.#options.informers.for(resource).get(`${namespace}/${name}`)
    if (!current) {
      try {
        await client.create(resource, object)
      } catch (error) {
        if (!isAlreadyExists(error)) throw error
      }
      return
    }
    // What somebody else made under this name is left alone.
    if (!current.metadata.ownerReferences?.some((r) => r.uid === object.metadata.ownerReferences?.[0]?.uid)) return
    const labels = { ...current.metadata.labels, ...object.metadata.labels }
    if (current.metadata.annotations?.[PARAMETERS] !== object.metadata.annotations?.[PARAMETERS])
      return void (await client.update(resource, remade(current, object)))
    const ports: Json[] | undefined = object.spec?.ports
    const samePorts =
      !ports ||
      (current.spec.ports.length === ports.length &&
        ports.every((p, i) => current.spec.ports[i].port === p.port && current.spec.ports[i].name === p.name))
    const sameType = !ports || current.spec.type === object.spec.type
    if (sameJson(labels, current.metadata.labels) && samePorts && sameType) return
    const known = (port: number) => (current.spec.ports as Json[]).find((p) => p.port === port)
    await client.update(resource, {
      ...current,
      metadata: { ...current.metadata, labels },
      ...(ports
        ? {
            spec: {
              ...current.spec,
              type: object.spec.type,
              ports: ports.map((p) => ({
                ...p,
                ...(known(p.port)?.nodePort ? { nodePort: known(p.port)!.nodePort } : {}),
              })),
            },
          }
        : {}),
    })
  }
}

/** What is there as other parameters make it; what the cluster gave to it stays. */
function remade(current: KubeObject, { spec, metadata }: KubeInput): KubeObject {
  const { [PARAMETERS]: _old, ...annotations } = current.metadata.annotations ?? {}
  const kept = { clusterIP: current.spec?.clusterIP, clusterIPs: current.spec?.clusterIPs }
  const given = (port: Json) => (current.spec.ports as Json[]).find((p) => p.port === port.port)?.nodePort
  const ports = (spec?.ports as Json[] | undefined)?.map((p) => ({ nodePort: given(p), ...p }))
  return {
    ...current,
    metadata: {
      ...current.metadata,
      labels: { ...current.metadata.labels, ...metadata.labels },
      annotations: { ...annotations, ...metadata.annotations },
    },
    ...(spec ? { spec: ports ? { ...kept, ...spec, ports } : spec } : {}),
  }
}
