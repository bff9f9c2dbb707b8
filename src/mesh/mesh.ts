// The mesh control plane: puts the parts together and keeps them in step with the cluster.

import { createServer } from 'node:http'
import { createServer as createPlain, type Server } from 'node:net'
import { createServer as createSecure } from 'node:tls'
import { groupResource, type Json, type KubeObject, resources } from '#api'
import type { Clock, Log } from '#base'
import { EventRecorder, type Informers } from '#client'
import { type ServerCall, serveGrpc } from '#wire'
import { ClusterView } from './cluster-view.ts'
import { GatewayController } from './gateway-api/controller.ts'
import { publishIngressAddress } from './ingress-status.ts'
import { injectSidecar } from './inject/inject.ts'
import { wantsSidecar } from './inject/policy.ts'
import { type ProxyWorkload, proxyConfigOf } from './inject/proxy-config.ts'
import { capturedAddresses, capturesDns } from './model/dns-capture.ts'
import { podLocality } from './model/endpoints.ts'
import { createSnapshot, type Snapshot } from './model/snapshot.ts'
import { matches, type ProxyNode, viewOf } from './model/view.ts'
import { labelsOf } from './model/workload-entry.ts'
import { PushSchedule } from './push-schedule.ts'
import { publishRootCertificate } from './root-certificate.ts'
import { installKinds } from './schema/install.ts'
import { allocateAddresses, watchRules } from './status.ts'
import { INGRESS_GATEWAY } from './translate/gateway.ts'
import { layersOf } from './translate/translate.ts'
import { validateGatewayApi } from './validation/gateway-api.ts'
import { admitIstio, istioWarnings } from './validation/validate.ts'
import { WorkloadRegistration } from './workload-registration.ts'
import { hasProxy } from './xds/absent-proxies.ts'
import { AdsServer } from './xds/ads-server.ts'
import { type DebugOptions, debugAnswer } from './xds/debug.ts'
import { debugResponse, isDebugType } from './xds/debug-types.ts'
import type { ProxyIdentity, ProxyUser } from './xds/identity.ts'
import { Refusals } from './xds/refusals.ts'
import type { EncodedLayer } from './xds/resource-set.ts'
import { Views } from './xds/views.ts'

/** The account of the cluster's own ingress gateway. */
const GATEWAY_USER = 'system:serviceaccount:istio-system:istio-ingressgateway-service-account'

export interface MeshOptions {
  informers: Informers
  clock: Clock
  log: Log
  proxyImage: string
  /** This server, by a name that it keeps over restarts. */
  instance: string
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
  old?: KubeObject
}

interface AdmissionStep {
  name: string
  mutate?(request: AdmissionRequest): void
  validate?(request: Omit<AdmissionRequest, 'namespace'>): ReturnType<typeof admitIstio>
  warn?(request: Omit<AdmissionRequest, 'namespace'>): readonly string[]
}

const NO_LABELS: Readonly<Record<string, string>> = {}

const isIstio = (group: string): boolean => group.endsWith('.istio.io')

/** A list of protocols would be copied for every connection. */
const chooseH2 = ({ protocols }: { protocols: string[] }) => (protocols.includes('h2') ? 'h2' : undefined)

export class Mesh {
  readonly #options: MeshOptions
  readonly #ads: AdsServer
  readonly #views: Views
  readonly #refusals: Refusals
  readonly #schedule: PushSchedule
  readonly #cluster: ClusterView
  readonly #registration: WorkloadRegistration
  #snapshot: Snapshot | undefined
  /** The last that could be made. */
  #last: Snapshot | undefined
  #listen: MeshListen | undefined
  #servers: Server[] = []
  #streams: { destroy(): void }[] = []
  #lookAtRules: () => void = () => {}

  constructor(options: MeshOptions) {
    this.#options = options
    this.#cluster = new ClusterView(options.informers, options.log)
    this.#registration = new WorkloadRegistration(options)
    this.#refusals = new Refusals()
    this.#views = new Views(layersOf, (key, error) =>
      options.log.error('resources not made', { for: key, error: error instanceof Error ? error.stack : error }),
    )
    this.#ads = new AdsServer({
      log: options.log,
      clock: options.clock,
      layers: (proxy) => this.#layersOf(proxy),
      authenticate: (call) => this.#authenticate(call),
      refuse: (proxy) => this.#refuse(proxy),
      admit: (connection) => this.#registration.admit(connection),
      onAnswer: (proxy, url, message) => {
        if (this.#refusals.note(proxy.id, url, message)) this.#lookAtRules()
        if (message) options.log.warn('configuration refused by a proxy', { proxy: proxy.id, type: url, message })
      },
      runs: (id) => this.#runs(id),
      onGone: (connection, proxy) => {
        this.#refusals.forget(proxy.id)
        this.#registration.gone(connection)
      },
      onOther: (connection, request) => {
        if (this.#registration.hear(connection, request)) return true
        const url = String(request.type_url ?? '')
        if (!isDebugType(url)) return false
        // Only the mesh's own operators see everybody.
        if (!connection.user.name.startsWith('system:serviceaccount:istio-system:')) return false
        connection.send(debugResponse(request, this.#debug()))
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
              mesh: this.#cluster.mesh,
              proxyConfigs: informers.for(resources.proxyConfigs).list(),
            })
        },
      },
      {
        name: 'IstioValidation',
        validate: ({ kind, operation, subresource, object, old }) => {
          if (operation === 'DELETE' || subresource) return []
          if (kind.group === 'gateway.networking.k8s.io')
            return validateGatewayApi(kind.kind, object.spec ?? {}, old?.spec)
          return isIstio(kind.group) ? admitIstio({ ...object, kind: kind.kind }) : []
        },
        warn: ({ kind, operation, subresource, object }) =>
          operation === 'DELETE' || subresource || !isIstio(kind.group)
            ? []
            : istioWarnings({ ...object, kind: kind.kind }),
      },
    ]
  }

  /**
   * The addresses of a name as the pod at an address is to be told them; undefined when the mesh has none for it:
   * its sidecar does not capture DNS, or the name is none of the mesh.
   */
  resolve(source: string, name: string): readonly string[] | undefined {
    const pod = this.#cluster.podAt(source)
    return pod && capturesDns(pod) ? capturedAddresses(this.#current(), pod.metadata.namespace ?? '', name) : undefined
  }

  /** Makes sure the mesh's kinds are served. */
  installKinds(): Promise<void> {
    return installKinds(this.#options.informers.client)
  }

  async start(listen: MeshListen): Promise<void> {
    this.#listen = listen
    const { informers, clock, log } = this.#options
    await this.#cluster.open()
    this.#cluster.follow(() => this.#schedule.changed())
    for (const pod of informers.for(resources.pods).list())
      if (hasProxy(pod)) this.#ads.expect(`${pod.metadata.name}.${pod.metadata.namespace}`)
    const events = new EventRecorder(informers.client, clock, log, 'istiod')
    this.#lookAtRules = watchRules({
      informers,
      events,
      clock,
      log,
      refusals: () => this.#refusals.byObject(this.#current()),
    })
    allocateAddresses(informers, log)
    this.#registration.start()
    new GatewayController({
      informers,
      clock,
      log,
      proxyImage: this.#options.proxyImage,
      mesh: () => this.#cluster.mesh,
    }).start()
    publishRootCertificate(informers, this.#options.rootCa, log)
    publishIngressAddress(informers, (ingress) => this.#cluster.serves(ingress), events, log)
    await this.#serve(listen)
    log.info('serving xDS', { port: listen.port })
  }

  async #serve(listen: MeshListen): Promise<void> {
    const secure = createSecure({ ...listen.tls, minVersion: 'TLSv1.2', ALPNCallback: chooseH2 })
    const plain = createPlain()
    this.#streams = [secure, plain].map((server) => serveGrpc(server, this.#ads.methods))
    const monitoring = createServer((request, response) => {
      const { code, type, body } = debugAnswer(this.#debug(), request.url ?? '/')
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

  /**
   * Resolves when every proxy has acknowledged the endpoints that the informers know now; one that was lost a moment
   * ago, or with a server before this one, too.
   */
  async settled(): Promise<void> {
    await this.#schedule.flush()
    await this.#ads.settled()
  }

  /** Whether a proxy, by its name "pod.namespace", runs in a pod that is to stay. */
  #runs(id: string): boolean {
    const dot = id.lastIndexOf('.')
    return hasProxy(this.#options.informers.for(resources.pods).get(`${id.slice(dot + 1)}/${id.slice(0, dot)}`))
  }

  /** The proxies that {@link settled} would wait for, by name. */
  get behind(): readonly string[] {
    return this.#ads.behind
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
    this.#registration.close()
    for (const streams of this.#streams) streams.destroy()
    for (const server of this.#servers) server.close()
  }

  async #authenticate(call: ServerCall): Promise<ProxyUser | undefined> {
    const header = String(call.headers.authorization ?? '')
    // A token that came without TLS may be anybody's by now.
    if (call.secure) return header.startsWith('Bearer ') ? this.#listen?.verify(header.slice(7)) : undefined
    return { name: '', groups: [], peer: call.peer.replace(/^::ffff:/, '') }
  }

  /** Why a proxy without a token is not served: it does not call from the address of the pod it says it is. */
  #refuse(proxy: ProxyIdentity): string | undefined {
    const { peer } = proxy.user
    if (peer === undefined) return undefined
    const pod = this.#options.informers.for(resources.pods).get(`${proxy.namespace}/${proxy.name}`)
    return pod?.status?.podIP === peer
      ? ''
      : `${peer} is not the address of the pod ${proxy.id}; use the port for TLS with a token`
  }

  #current(): Snapshot {
    if (this.#snapshot) return this.#snapshot
    try {
      this.#last = createSnapshot(this.#cluster.now(), this.#last)
    } catch (error) {
      this.#options.log.error('the mesh cannot be read', { error: error instanceof Error ? error.stack : error })
      this.#last ??= createSnapshot(viewOf({}))
    }
    this.#snapshot = this.#last
    return this.#snapshot
  }

  #layersOf(proxy: ProxyIdentity): readonly EncodedLayer[] {
    return this.#views.of(
      proxy,
      () => this.#current(),
      () => this.#nodeOf(proxy),
    )
  }

  #debug(): DebugOptions {
    return {
      ads: this.#ads,
      snapshot: () => this.#current(),
      layers: (proxy) => this.#layersOf(proxy),
      metrics: () => this.#schedule.metrics(this.#ads.connections.size),
      nacks: () => this.#refusals.all(),
    }
  }

  /** Of a workload's ProxyConfig what its proxy is not told when it begins. */
  #settingsOf(workload: ProxyWorkload): Json {
    const objects = this.#options.informers.for(resources.proxyConfigs).list()
    const { gatewayTopology, proxyHeaders } = proxyConfigOf(workload, this.#current().view.mesh, objects)
    return { ...(gatewayTopology ? { gatewayTopology } : {}), ...(proxyHeaders ? { proxyHeaders } : {}) }
  }

  /** What a pod is comes from its object, not from what the proxy says of itself. */
  #nodeOf(proxy: ProxyIdentity): ProxyNode {
    const pod = this.#options.informers.for(resources.pods).get(`${proxy.namespace}/${proxy.name}`)
    const entry = pod ? undefined : this.#registration.entryOf(proxy)
    const labels = pod?.metadata.labels ?? (entry ? labelsOf(entry) : NO_LABELS)
    const ports = (proxy.metadata.POD_PORTS ?? []) as { containerPort: number }[]
    const known = proxy.user.peer === undefined
    return {
      role: proxy.role,
      ...(proxy.metadata.GENERATOR === 'grpc' ? { generator: 'grpc' as const } : {}),
      namespace: proxy.namespace,
      labels,
      ip: proxy.ip,
      nodeName: pod?.spec?.nodeName,
      locality: entry ? (entry.spec?.locality ?? '') : podLocality(this.#current().view, pod),
      ports: Array.isArray(ports) ? ports : [],
      ...(entry?.spec?.ports ? { entryPorts: entry.spec.ports } : {}),
      trusted: known,
      dnsCapture: capturesDns(pod),
      config: this.#settingsOf({ namespace: proxy.namespace, labels, annotations: pod?.metadata.annotations ?? {} }),
      readsSecrets: known && (this.#listen?.readsSecrets(proxy.user, proxy.namespace) ?? false),
      servesIngresses: proxy.role === 'router' && proxy.user.name === GATEWAY_USER && matches(INGRESS_GATEWAY, labels),
    }
  }
}
