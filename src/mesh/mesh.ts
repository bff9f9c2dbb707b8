// The mesh control plane: injection, validation, xDS, and word about rules that cannot take effect.

import { createServer, type Server } from 'node:http'
import http2 from 'node:http2'
import { groupResource, isAlreadyExists, type KubeObject, keyOf, resources, sameJson } from '#api'
import { type Clock, Coalesced, type Log, messageOf } from '#base'
import { EventRecorder, type Informers } from '#client'
import { serveGrpc } from '#wire/grpc-server'
import { AdsServer, type ProxyIdentity, type ProxyUser } from './ads-server.ts'
import { analyze } from './analyze.ts'
import { INGRESS_GATEWAY, matches } from './gateway.ts'
import { servesIngress } from './ingress.ts'
import { publishIngressAddress } from './ingress-status.ts'
import { injectSidecar, wantsSidecar } from './inject.ts'
import { istioDefinitions } from './kinds.ts'
import { translate } from './translate.ts'
import { validateIstio } from './validate.ts'
import type { MeshView, XdsResources } from './view.ts'

/** The account of the cluster's own ingress gateway. */
const GATEWAY_USER = 'system:serviceaccount:istio-system:istio-ingressgateway-service-account'

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
  port: number
  monitoringPort: number
  tls: { cert: string; key: string }
  /** The user behind a proxy's token, or undefined. */
  verify(token: string): Promise<ProxyUser | undefined>
  /** Whether a user may list the Secrets of a namespace. */
  readsSecrets(user: ProxyUser, namespace: string): boolean
}

interface AdmissionStep {
  name: string
  mutate?(request: {
    kind: { group: string; plural: string; kind: string }
    operation: string
    subresource: string
    namespace: string
    object: KubeObject
  }): void
  validate?(request: {
    kind: { group: string; plural: string; kind: string }
    operation: string
    subresource: string
    object: KubeObject
  }): ReturnType<typeof validateIstio>
}

export class Mesh {
  readonly #options: MeshOptions
  readonly #ads: AdsServer
  #listen: MeshListen | undefined
  #servers: (Server | http2.Http2SecureServer)[] = []
  readonly #sessions = new Set<http2.ServerHttp2Session>()
  readonly #nacks = new Map<string, string>()

  constructor(options: MeshOptions) {
    this.#options = options
    this.#ads = new AdsServer({
      log: options.log,
      resources: (proxy) => this.#resourcesOf(proxy),
      authenticate: async (call) => {
        const header = String(call.headers.authorization ?? '')
        return header.startsWith('Bearer ') ? this.#listen?.verify(header.slice(7)) : undefined
      },
      onNack: (proxy, type, message) => {
        this.#nacks.set(`${proxy.id}/${type}`, message)
        options.log.warn('configuration refused by a proxy', { proxy: proxy.id, type, message })
      },
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
            injectSidecar(object, namespace, { proxyImage, excludeCidrs })
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

  /** Makes sure Istio's kinds are served. */
  async installKinds(): Promise<void> {
    const { client } = this.#options.informers
    await Promise.all(
      istioDefinitions().map(async (definition) => {
        try {
          await client.create(resources.customResourceDefinitions, definition)
        } catch (error) {
          if (!isAlreadyExists(error)) throw error
        }
      }),
    )
  }

  async start(listen: MeshListen): Promise<void> {
    this.#listen = listen
    const { informers, clock, log } = this.#options
    const services = informers.for(resources.services)
    const slices = informers.for(resources.endpointSlices)
    const pods = informers.for(resources.pods)
    const virtualServices = informers.for(resources.virtualServices)
    const destinationRules = informers.for(resources.destinationRules)
    const gateways = informers.for(resources.gateways)
    const ingresses = informers.for(resources.ingresses)
    const classes = informers.for(resources.ingressClasses)
    slices.addIndex('service', (o) => [
      `${o.metadata.namespace}/${o.metadata.labels?.['kubernetes.io/service-name'] ?? ''}`,
    ])
    pods.addIndex('ip', (o) => (o.status?.podIP && !o.spec?.hostNetwork ? [o.status.podIP] : []))
    await informers.synced()
    for (const informer of [services, slices, virtualServices, destinationRules, gateways, ingresses, classes])
      informer.on(() => this.#ads.push())
    informers.for(resources.secrets).on(({ object }) => {
      if (object.data?.['tls.crt'] || object.data?.cert || object.data?.['ca.crt']) this.#ads.push()
    })
    pods.on(({ object, old }) => {
      if (!old || !sameJson(object.metadata.labels, old.metadata.labels) || object.status?.podIP !== old.status?.podIP)
        this.#ads.push()
    })
    const events = new EventRecorder(informers.client, clock, log, 'istiod')
    this.#watchRules(events)
    this.#publishRoot()
    publishIngressAddress(informers, events, log)
    const xds = http2.createSecureServer({
      cert: listen.tls.cert,
      key: listen.tls.key,
      minVersion: 'TLSv1.2',
      settings: { maxConcurrentStreams: 100 },
    })
    xds.on('session', (session) => {
      this.#sessions.add(session)
      session.on('close', () => this.#sessions.delete(session))
      session.on('error', () => {})
    })
    serveGrpc(xds, [this.#ads.method])
    const monitoring = createServer((request, response) =>
      this.#monitor(request.url ?? '/', (code, body) =>
        response.writeHead(code, { 'Content-Type': 'application/json' }).end(body),
      ),
    )
    await Promise.all([
      new Promise<void>((resolve, reject) => xds.once('error', reject).listen(listen.port, listen.host, resolve)),
      new Promise<void>((resolve, reject) =>
        monitoring.once('error', reject).listen(listen.monitoringPort, listen.host, resolve),
      ),
    ])
    this.#servers = [xds, monitoring]
    log.info('serving xDS', { port: listen.port })
  }

  /** Resolves when every proxy has acknowledged the endpoints that the informers know now. */
  settled(): Promise<void> {
    return this.#ads.settled()
  }

  /** Why proxies are not served, if so. */
  get problem(): string | undefined {
    return this.#servers.length > 0 ? undefined : 'it does not listen yet'
  }

  close(): void {
    for (const session of this.#sessions) session.destroy()
    for (const server of this.#servers) server.close()
  }

  #view(): MeshView {
    const { informers } = this.#options
    const slices = informers.for(resources.endpointSlices)
    const pods = informers.for(resources.pods)
    return {
      services: informers.for(resources.services).list(),
      slices: (service) => slices.byIndex('service', keyOf(service)),
      podByIp: (ip) => pods.byIndex('ip', ip)[0],
      virtualServices: informers.for(resources.virtualServices).list(),
      destinationRules: informers.for(resources.destinationRules).list(),
      gateways: informers.for(resources.gateways).list(),
      ingresses: informers
        .for(resources.ingresses)
        .list()
        .filter((i) => servesIngress(i, informers.for(resources.ingressClasses).list())),
      secret: (namespace, name) => informers.for(resources.secrets).get(`${namespace}/${name}`),
    }
  }

  #resourcesOf(proxy: ProxyIdentity): XdsResources {
    // What a pod is comes from its object, not from what the proxy says of itself.
    const pod = this.#options.informers.for(resources.pods).get(`${proxy.namespace}/${proxy.name}`)
    const labels = pod?.metadata.labels ?? {}
    const ports = (proxy.metadata.POD_PORTS ?? []) as { containerPort: number }[]
    return translate(this.#view(), {
      role: proxy.role,
      readsSecrets: this.#listen?.readsSecrets(proxy.user, proxy.namespace) ?? false,
      servesIngresses: proxy.role === 'router' && proxy.user.name === GATEWAY_USER && matches(INGRESS_GATEWAY, labels),
      namespace: proxy.namespace,
      labels,
      ip: proxy.ip,
      ports: Array.isArray(ports) ? ports : [],
    })
  }

  /** Says on each rule what of it cannot take effect: as a condition in its status and as an event. */
  #watchRules(events: EventRecorder): void {
    const { informers, clock, log } = this.#options
    const { client } = informers
    const virtualServices = informers.for(resources.virtualServices)
    const destinationRules = informers.for(resources.destinationRules)
    const job = new Coalesced(
      async () => {
        const findings = analyze({
          services: informers.for(resources.services).list(),
          pods: informers.for(resources.pods).list(),
          virtualServices: virtualServices.list(),
          destinationRules: destinationRules.list(),
        })
        for (const rule of virtualServices.list()) {
          const mine = findings.filter((f) => f.object === `VirtualService ${keyOf(rule)}`)
          const messages = mine.map((f) => ({
            type: { code: f.code, name: f.code },
            level: f.level.toUpperCase(),
            message: f.message,
          }))
          if (sameJson(rule.status?.validationMessages ?? [], messages)) continue
          await client.updateStatus(resources.virtualServices, {
            ...rule,
            status: { ...rule.status, validationMessages: messages },
          })
          for (const f of mine) events.warning(rule, f.code, f.message)
        }
      },
      (error) => log.warn('rules not analyzed', { error: messageOf(error) }),
    )
    let waiting = false
    const soon = () => {
      if (waiting) return
      waiting = true
      clock.after(200, () => {
        waiting = false
        void job.trigger()
      })
    }
    for (const informer of [virtualServices, destinationRules, informers.for(resources.services)]) informer.on(soon)
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

  #monitor(url: string, answer: (code: number, body: string) => void): void {
    if (url === '/version')
      answer(
        200,
        JSON.stringify({
          version: '1.32-sampan',
          revision: 'default',
          golang_version: '',
          status: 'Clean',
          tag: '1.32',
        }),
      )
    else if (url === '/ready') answer(200, '')
    else if (url === '/debug/syncz') answer(200, JSON.stringify(this.#ads.proxies))
    else if (url === '/debug/nacks') answer(200, JSON.stringify(Object.fromEntries(this.#nacks)))
    else answer(404, '')
  }
}
