// The mesh control plane: puts the parts together and keeps them in step with the cluster.

import { createServer } from 'node:http'
import { createServer as createPlain, type Server } from 'node:net'
import { createServer as createSecure } from 'node:tls'
import { groupResource, isAlreadyExists, type KubeObject, keyOf, type Resource, resources, sameJson } from '#api'
import { type Clock, type Log, messageOf } from '#base'
import { EventRecorder, type Informers } from '#client'
import { type ServerCall, serveGrpc } from '#wire'
import { EndpointVersions } from './endpoint-versions.ts'
import { GATEWAY_RESOURCES, GatewayController, gatewayApiView } from './gateway-api/controller.ts'
import { type Converted, convertGatewayApi } from './gateway-api/convert.ts'
import { publishIngressAddress } from './ingress-status.ts'
import { injectSidecar } from './inject/inject.ts'
import { wantsSidecar } from './inject/policy.ts'
import { podLocality } from './model/endpoints.ts'
import { type MeshConfig, meshConfig } from './model/mesh-config.ts'
import { smiRules } from './model/smi.ts'
import { createSnapshot, type Snapshot } from './model/snapshot.ts'
import { type MeshView, matches, type ProxyNode, viewOf } from './model/view.ts'
import { PushSchedule } from './push-schedule.ts'
import { installKinds } from './schema/install.ts'
import { validateIstio } from './schema/validate.ts'
import { allocateAddresses, watchRules } from './status.ts'
import { INGRESS_GATEWAY } from './translate/gateway.ts'
import { servesIngress } from './translate/ingress.ts'
import { layersOf } from './translate/translate.ts'
import { AdsServer } from './xds/ads-server.ts'
import { debugAnswer } from './xds/debug.ts'
import type { ProxyIdentity, ProxyUser } from './xds/identity.ts'
import { Refusals } from './xds/refusals.ts'
import type { EncodedLayer } from './xds/resource-set.ts'
import { DEBUG_TYPES, debugResponse } from './xds/status.ts'
import { Views } from './xds/views.ts'

/** The account of the cluster's own ingress gateway. */
const GATEWAY_USER = 'system:serviceaccount:istio-system:istio-ingressgateway-service-account'
const MESH_CONFIG = 'istio-system/istio'

export interface MeshOptions {
  informers: Informers
  clock: Clock
  log: Log
  proxyImage: string
  /** PEM of the mesh's certificate authority. */
  rootCa: string
  excludeCidrs: readonly string[]
}

export interface MeshListen {
  host: string
  /** xDS over TLS, for whoever shows a token. */
  port: number
  /** xDS without TLS, for pods that call from their own address; they are given no secrets. */
  plainPort: number
  monitoringPort: number
  tls: { cert: string; key: string }
  /** The user behind a proxy's token, or undefined. */
  verify(token: string): Promise<ProxyUser | undefined>
  /** Whether a user may list the Secrets of a namespace. */
  readsSecrets(user: ProxyUser, namespace: string): boolean
}

interface AdmissionRequest {
  kind: { group: string; plural: string; kind: string }
  operation: string
  subresource: string
  namespace: string
  object: KubeObject
}

interface AdmissionStep {
  name: string
  mutate?(request: AdmissionRequest): void
  validate?(request: Omit<AdmissionRequest, 'namespace'>): ReturnType<typeof validateIstio>
}

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

/** A list of protocols would be copied for every connection. */
const chooseH2 = ({ protocols }: { protocols: string[] }) => (protocols.includes('h2') ? 'h2' : undefined)

export class Mesh {
  readonly #options: MeshOptions
  readonly #ads: AdsServer
  readonly #views: Views
  readonly #refusals: Refusals
  readonly #schedule: PushSchedule
  readonly #endpoints = new EndpointVersions()
  #snapshot: Snapshot | undefined
  /** The last that could be made. */
  #last: Snapshot | undefined
  #converted: Converted | undefined
  #config: { of: KubeObject | undefined; mesh: MeshConfig } | undefined
  #listen: MeshListen | undefined
  #servers: Server[] = []
  #streams: { destroy(): void }[] = []
  /** Callers on the plain port, who have no token. */
  readonly #anonymous = new WeakSet<ProxyUser>()
  #lookAtRules: () => void = () => {}

  constructor(options: MeshOptions) {
    this.#options = options
    this.#refusals = new Refusals()
    this.#views = new Views(layersOf, (key, error) =>
      options.log.error('resources not made', { for: key, error: error instanceof Error ? error.stack : error }),
    )
    this.#ads = new AdsServer({
      log: options.log,
      layers: (proxy) => this.#layersOf(proxy),
      authenticate: (call) => this.#authenticate(call),
      refuse: (proxy) => this.#refuse(proxy),
      onAnswer: (proxy, url, message) => {
        if (this.#refusals.note(proxy.id, url, message)) this.#lookAtRules()
        if (message) options.log.warn('configuration refused by a proxy', { proxy: proxy.id, type: url, message })
      },
      onGone: (proxy) => this.#refusals.forget(proxy.id),
      onOther: (connection, request) => {
        const url = String(request.type_url ?? '')
        if (!url.startsWith(DEBUG_TYPES)) return false
        // Only the mesh's own operators see everybody.
        if (!connection.user.name.startsWith('system:serviceaccount:istio-system:')) return false
        connection.send(debugResponse(url, this.#ads.connections))
        return true
      },
    })
    this.#schedule = new PushSchedule(options.clock, async () => {
      this.#snapshot = undefined
      this.#views.invalidate()
      await this.#ads.push()
    })
  }

  /** Steps of admission: sidecars into pods, checks of Istio's kinds. */
  admission(): AdmissionStep[] {
    const { informers, proxyImage, excludeCidrs } = this.#options
    const namespaces = informers.for(resources.namespaces)
    return [
      {
        name: 'SidecarInjector',
        mutate: ({ kind, operation, subresource, namespace, object }) => {
          if (groupResource(kind) !== 'pods' || operation !== 'CREATE' || subresource) return
          if (wantsSidecar(namespaces.get(namespace), object))
            injectSidecar(object, namespace, {
              proxyImage,
              excludeCidrs,
              mesh: this.#meshConfig(),
              proxyConfigs: informers.for(resources.proxyConfigs).list(),
            })
        },
      },
      {
        name: 'IstioValidation',
        validate: ({ kind, operation, subresource, object }) =>
          kind.group.endsWith('.istio.io') && operation !== 'DELETE' && !subresource
            ? validateIstio(kind.kind, object.spec ?? {})
            : [],
      },
    ]
  }

  /** Makes sure the mesh's kinds are served. */
  installKinds(): Promise<void> {
    return installKinds(this.#options.informers.client)
  }

  async start(listen: MeshListen): Promise<void> {
    this.#listen = listen
    const { informers, clock, log } = this.#options
    const slices = informers.for(resources.endpointSlices)
    const pods = informers.for(resources.pods)
    slices.addIndex('service', (o) => [
      `${o.metadata.namespace}/${o.metadata.labels?.['kubernetes.io/service-name'] ?? ''}`,
    ])
    slices.addIndex('address', (o) => (o.endpoints ?? []).flatMap((e: { addresses?: string[] }) => e.addresses ?? []))
    pods.addIndex('ip', (o) => (o.status?.podIP && !o.spec?.hostNetwork ? [o.status.podIP] : []))
    for (const resource of [...WATCHED, resources.deployments, resources.proxyConfigs]) informers.for(resource)
    informers.for(resources.nodes)
    await informers.synced()
    const changed = () => this.#schedule.changed()
    const ofGatewayApi = new Set<Resource>([...GATEWAY_RESOURCES, resources.services, resources.serviceEntries])
    // Status says what we have found ourselves: it changes nothing but the addresses we give.
    for (const resource of WATCHED)
      informers.for(resource).on(({ type, object, old }) => {
        const same =
          type === 'updated' &&
          old !== undefined &&
          object.metadata.generation !== undefined &&
          object.metadata.generation === old.metadata.generation &&
          sameJson(object.metadata.annotations, old.metadata.annotations) &&
          sameJson(object.metadata.labels, old.metadata.labels) &&
          sameJson(object.status?.addresses, old.status?.addresses)
        if (same && resource !== resources.endpointSlices) return
        if (ofGatewayApi.has(resource)) this.#converted = undefined
        changed()
      })
    informers.for(resources.configMaps).on(({ object }) => {
      const authority = object.data?.['ca.crt'] !== undefined
      if (authority) this.#converted = undefined
      if (authority || keyOf(object) === MESH_CONFIG) changed()
    })
    // Routes are allowed by the labels of their namespace.
    informers.for(resources.namespaces).on(({ type, object, old }) => {
      if (type === 'updated' && sameJson(object.metadata.labels, old?.metadata.labels)) return
      this.#converted = undefined
      changed()
    })
    informers.for(resources.secrets).on(({ object }) => {
      this.#converted = undefined
      if (object.data?.['tls.crt'] || object.data?.cert || object.data?.['ca.crt'] || object.data?.cacert) changed()
    })
    this.#endpoints.follow(informers, changed)
    const events = new EventRecorder(informers.client, clock, log, 'istiod')
    this.#lookAtRules = watchRules({
      informers,
      events,
      clock,
      log,
      refusals: () => this.#refusals.byObject(this.#current()),
    })
    allocateAddresses(informers, log)
    new GatewayController({ informers, clock, log, proxyImage: this.#options.proxyImage }).start()
    this.#publishRoot()
    publishIngressAddress(informers, events, log)
    await this.#serve(listen)
    log.info('serving xDS', { port: listen.port })
  }

  async #serve(listen: MeshListen): Promise<void> {
    const secure = createSecure({ ...listen.tls, minVersion: 'TLSv1.2', ALPNCallback: chooseH2 })
    const plain = createPlain()
    this.#streams = [secure, plain].map((server) => serveGrpc(server, this.#ads.methods))
    const monitoring = createServer((request, response) => {
      const { code, type, body } = debugAnswer(
        {
          ads: this.#ads,
          snapshot: () => this.#current(),
          layers: (proxy) => this.#layersOf(proxy),
          metrics: () => this.#schedule.metrics(this.#ads.connections.size),
          nacks: () => this.#refusals.all(),
        },
        request.url ?? '/',
      )
      response.writeHead(code, { 'Content-Type': type }).end(body)
    })
    const open = (server: Server, port: number) =>
      new Promise<void>((resolve, reject) => server.once('error', reject).listen(port, listen.host, resolve))
    await Promise.all([
      open(secure, listen.port),
      open(plain, listen.plainPort),
      open(monitoring, listen.monitoringPort),
    ])
    this.#servers = [secure, plain, monitoring]
  }

  /** Resolves when every proxy has acknowledged the endpoints that the informers know now. */
  async settled(): Promise<void> {
    await this.#schedule.flush()
    await this.#ads.settled()
  }

  /** What has been done so far: pushes and streams. */
  get work(): number {
    return this.#schedule.pushes + this.#ads.accepted
  }

  /** Why proxies are not served, if so. */
  get problem(): string | undefined {
    return this.#servers.length > 0 ? undefined : 'it does not listen yet'
  }

  close(): void {
    for (const streams of this.#streams) streams.destroy()
    for (const server of this.#servers) server.close()
  }

  async #authenticate(call: ServerCall): Promise<ProxyUser | undefined> {
    const header = String(call.headers.authorization ?? '')
    // A token that came without TLS may be anybody's by now.
    if (call.secure) return header.startsWith('Bearer ') ? this.#listen?.verify(header.slice(7)) : undefined
    const user: ProxyUser = { name: '', groups: [], peer: call.peer.replace(/^::ffff:/, '') }
    this.#anonymous.add(user)
    return user
  }

  /** Why a proxy without a token is not served: it does not call from the address of the pod it says it is. */
  #refuse(proxy: ProxyIdentity): string | undefined {
    if (!this.#anonymous.has(proxy.user)) return undefined
    const { peer = '' } = proxy.user
    const pod = this.#options.informers.for(resources.pods).get(`${proxy.namespace}/${proxy.name}`)
    return pod?.status?.podIP === peer
      ? ''
      : `${peer} is not the address of the pod ${proxy.id}; use the port for TLS with a token`
  }

  #meshConfig(): MeshConfig {
    const map = this.#options.informers.for(resources.configMaps).get(MESH_CONFIG)
    if (!this.#config || this.#config.of !== map) {
      const { config, problem } = meshConfig(map)
      if (problem) this.#options.log.warn('MeshConfig cannot be read', { problem })
      this.#config = { of: map, mesh: config }
    }
    return this.#config.mesh
  }

  #current(): Snapshot {
    if (this.#snapshot) return this.#snapshot
    try {
      this.#last = createSnapshot(this.#view())
    } catch (error) {
      this.#options.log.error('the mesh cannot be read', { error: error instanceof Error ? error.stack : error })
      this.#last ??= createSnapshot(viewOf({}))
    }
    this.#snapshot = this.#last
    return this.#snapshot
  }

  /** The Gateway API as Istio's kinds, made anew only when something of it has changed. */
  #fromGatewayApi(): Converted {
    return (this.#converted ??= convertGatewayApi(gatewayApiView(this.#options.informers)))
  }

  #view(): MeshView {
    const { informers } = this.#options
    const slices = informers.for(resources.endpointSlices)
    const pods = informers.for(resources.pods)
    const classes = informers.for(resources.ingressClasses).list()
    const converted = this.#fromGatewayApi()
    const mesh = this.#meshConfig()
    const splits = smiRules(
      informers.for(resources.trafficSplits).list(),
      informers.for(resources.httpRouteGroups).list(),
    )
    return {
      services: informers.for(resources.services).list(),
      slices: (service) => slices.byIndex('service', keyOf(service)),
      podByIp: (ip) => pods.byIndex('ip', ip)[0],
      endpointsVersion: (service) => this.#endpoints.of(keyOf(service)),
      pods: (namespace) => pods.list(namespace),
      node: (name) => informers.for(resources.nodes).get(name),
      virtualServices: [...informers.for(resources.virtualServices).list(), ...converted.virtualServices, ...splits],
      destinationRules: [...informers.for(resources.destinationRules).list(), ...converted.destinationRules],
      gateways: [...informers.for(resources.gateways).list(), ...converted.gateways],
      serviceEntries: informers.for(resources.serviceEntries).list(),
      workloadEntries: informers.for(resources.workloadEntries).list(),
      sidecars: informers.for(resources.sidecars).list(),
      envoyFilters: informers.for(resources.envoyFilters).list(),
      ingresses: informers
        .for(resources.ingresses)
        .list()
        .filter((i) => servesIngress(i, classes, mesh.ingressControllerMode)),
      secret: (namespace, name) => informers.for(resources.secrets).get(`${namespace}/${name}`),
      configMap: (namespace, name) => informers.for(resources.configMaps).get(`${namespace}/${name}`),
      mesh,
    }
  }

  #layersOf(proxy: ProxyIdentity): readonly EncodedLayer[] {
    return this.#views.of(
      proxy,
      () => this.#current(),
      () => this.#nodeOf(proxy),
    )
  }

  /** What a pod is comes from its object, not from what the proxy says of itself. */
  #nodeOf(proxy: ProxyIdentity): ProxyNode {
    const pod = this.#options.informers.for(resources.pods).get(`${proxy.namespace}/${proxy.name}`)
    const labels = pod?.metadata.labels ?? {}
    const ports = (proxy.metadata.POD_PORTS ?? []) as { containerPort: number }[]
    const known = !this.#anonymous.has(proxy.user)
    return {
      role: proxy.role,
      ...(proxy.metadata.GENERATOR === 'grpc' ? { generator: 'grpc' as const } : {}),
      namespace: proxy.namespace,
      labels,
      ip: proxy.ip,
      locality: podLocality(this.#current().view, pod),
      ports: Array.isArray(ports) ? ports : [],
      trusted: known,
      readsSecrets: known && (this.#listen?.readsSecrets(proxy.user, proxy.namespace) ?? false),
      servesIngresses: proxy.role === 'router' && proxy.user.name === GATEWAY_USER && matches(INGRESS_GATEWAY, labels),
    }
  }

  /** The ConfigMap by which sidecars know the control plane, in every namespace. */
  #publishRoot(): void {
    const { informers, rootCa, log } = this.#options
    const { client } = informers
    informers.for(resources.namespaces).on(({ type, object }) => {
      if (type !== 'added' || object.metadata.deletionTimestamp) return
      const data = { 'root-cert.pem': rootCa }
      client
        .create(resources.configMaps, {
          metadata: {
            name: 'istio-ca-root-cert',
            namespace: object.metadata.name,
            labels: { 'istio.io/config': 'true' },
          },
          data,
        })
        .catch((error) => {
          if (!isAlreadyExists(error))
            log.warn('root certificate not published', { namespace: object.metadata.name, error: messageOf(error) })
        })
    })
  }
}
