// The cluster as translation sees it, through informers; what is dear to make is kept until it changes.

import { type KubeObject, keyOf, type Resource, resources, sameJson } from '#api'
import type { Log } from '#base'
import type { Informers } from '#client'
import { EndpointVersions } from './endpoint-versions.ts'
import { GATEWAY_RESOURCES, gatewayApiView } from './gateway-api/controller.ts'
import { type Converted, convertGatewayApi } from './gateway-api/convert.ts'
import { discovery } from './model/discovery.ts'
import { MESH_CONFIG, type MeshConfig, meshConfig } from './model/mesh-config.ts'
import { smiRules } from './model/smi.ts'
import { inPreferringNamespace } from './model/topology.ts'
import type { MeshView } from './model/view.ts'
import { servesIngress } from './translate/ingress.ts'

/** Resources whose every change may change what proxies are sent. */
const WATCHED: readonly Resource[] = [
  resources.services,
  resources.endpointSlices,
  resources.virtualServices,
  resources.destinationRules,
  resources.gateways,
  resources.serviceEntries,
  resources.workloadEntries,
  resources.sidecars,
  resources.envoyFilters,
  resources.trafficSplits,
  resources.httpRouteGroups,
  ...GATEWAY_RESOURCES,
  resources.ingresses,
  resources.ingressClasses,
]

/** Under which Secrets bear certificates and authorities. */
const KEYS = ['tls.crt', 'cert', 'ca.crt', 'cacert']

/** Read besides those. */
const READ: readonly Resource[] = [
  resources.pods,
  resources.nodes,
  resources.namespaces,
  resources.secrets,
  resources.configMaps,
  resources.deployments,
  resources.proxyConfigs,
  resources.workloadGroups,
]

export class ClusterView {
  readonly #informers: Informers
  readonly #log: Log
  readonly #endpoints = new EndpointVersions()
  #converted: Converted | undefined
  #config: { of: KubeObject | undefined; mesh: MeshConfig } | undefined

  constructor(informers: Informers, log: Log) {
    this.#informers = informers
    this.#log = log
  }

  /** Asks for all that is read; the informers are synced after it. */
  async open(): Promise<void> {
    const informers = this.#informers
    const slices = informers.for(resources.endpointSlices)
    slices.addIndex('service', (o) => [
      `${o.metadata.namespace}/${o.metadata.labels?.['kubernetes.io/service-name'] ?? ''}`,
    ])
    slices.addIndex('address', (o) => (o.endpoints ?? []).flatMap((e: { addresses?: string[] }) => e.addresses ?? []))
    informers
      .for(resources.pods)
      .addIndex('ip', (o) => (o.status?.podIP && !o.spec?.hostNetwork ? [o.status.podIP] : []))
    for (const resource of [...WATCHED, ...READ]) informers.for(resource)
    await informers.synced()
  }

  /** Calls `changed` whenever what is seen may be another. */
  follow(changed: () => void): void {
    const informers = this.#informers
    const ofGatewayApi = new Set<Resource>([...GATEWAY_RESOURCES, resources.services, resources.serviceEntries])
    for (const resource of WATCHED)
      informers.for(resource).on(({ type, object, old }) => {
        if (type === 'updated' && old && resource !== resources.endpointSlices && isStatusOnly(object, old)) return
        if (ofGatewayApi.has(resource)) this.#converted = undefined
        changed()
      })
    informers.for(resources.configMaps).on(({ object, old }) => {
      const authority = [object, old].some((m) => m?.data?.['ca.crt'] !== undefined || m?.data?.cacert !== undefined)
      if (authority || keyOf(object) === MESH_CONFIG) this.#converted = undefined
      if (authority || keyOf(object) === MESH_CONFIG) changed()
    })
    // Routes are allowed by the labels of their namespace, services prefer what its annotations say.
    informers.for(resources.namespaces).on(({ type, object, old }) => {
      const same = (what: 'labels' | 'annotations') => sameJson(object.metadata[what], old?.metadata[what])
      if (type === 'updated' && same('labels') && same('annotations')) return
      this.#converted = undefined
      changed()
    })
    informers.for(resources.secrets).on(({ object, old }) => {
      this.#converted = undefined
      if ([object, old].some((s) => KEYS.some((key) => s?.data?.[key]))) changed()
    })
    this.#endpoints.follow(informers, changed)
  }

  /** The pod with an address of its own. */
  podAt(ip: string): KubeObject | undefined {
    return this.#informers.for(resources.pods).byIndex('ip', ip)[0]
  }

  /** MeshConfig as it stands in its ConfigMap. */
  get mesh(): MeshConfig {
    const map = this.#informers.for(resources.configMaps).get(MESH_CONFIG)
    if (!this.#config || this.#config.of !== map) {
      const { config, problem } = meshConfig(map)
      if (problem) this.#log.warn('MeshConfig cannot be read', { problem })
      this.#config = { of: map, mesh: config }
    }
    return this.#config.mesh
  }

  /** True when an Ingress is ours to serve. */
  serves(ingress: KubeObject, classes = this.#informers.for(resources.ingressClasses).list()): boolean {
    return servesIngress(ingress, classes, this.mesh.ingressControllerMode)
  }

  /** Everything as it is now. */
  now(): MeshView {
    const informers = this.#informers
    const { mesh } = this
    const namespaces = informers.for(resources.namespaces)
    const sees = discovery(mesh.discoverySelectors, (name) => namespaces.get(name))
    const list = (resource: Resource) => informers.for(resource).list().filter(sees)
    const preferring = (o: KubeObject) => inPreferringNamespace(o, namespaces.get(o.metadata.namespace ?? ''))
    const slices = informers.for(resources.endpointSlices)
    const pods = informers.for(resources.pods)
    const converted = (this.#converted ??= convertGatewayApi(gatewayApiView(informers, mesh)))
    const classes = list(resources.ingressClasses)
    const splits = smiRules(list(resources.trafficSplits), list(resources.httpRouteGroups))
    return {
      services: list(resources.services).map(preferring),
      slices: (service) => slices.byIndex('service', keyOf(service)),
      podByIp: (ip) => pods.byIndex('ip', ip)[0],
      endpointsVersion: (service) => this.#endpoints.of(keyOf(service)),
      pods: (namespace) => pods.list(namespace),
      node: (name) => informers.for(resources.nodes).get(name),
      virtualServices: [...list(resources.virtualServices), ...converted.virtualServices, ...splits],
      destinationRules: [...list(resources.destinationRules), ...converted.destinationRules],
      gateways: [...list(resources.gateways), ...converted.gateways],
      serviceEntries: list(resources.serviceEntries).map(preferring),
      workloadEntries: list(resources.workloadEntries),
      sidecars: list(resources.sidecars),
      envoyFilters: list(resources.envoyFilters),
      ingresses: list(resources.ingresses).filter((i) => this.serves(i, classes)),
      secret: (namespace, name) => informers.for(resources.secrets).get(`${namespace}/${name}`),
      configMap: (namespace, name) => informers.for(resources.configMaps).get(`${namespace}/${name}`),
      mesh,
    }
  }
}

/** Status says what we have found ourselves: it changes nothing but the addresses we give. */
const isStatusOnly = (object: KubeObject, old: KubeObject): boolean =>
  object.metadata.generation !== undefined &&
  object.metadata.generation === old.metadata.generation &&
  sameJson(object.metadata.annotations, old.metadata.annotations) &&
  sameJson(object.metadata.labels, old.metadata.labels) &&
  sameJson(object.status?.addresses, old.status?.addresses)
