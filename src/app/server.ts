// The server process: every part of a cluster in one program.

import { randomUUID } from 'node:crypto'
import {
  appendFileSync,
  existsSync,
  mkdirSync,
  readFileSync,
  renameSync,
  rmSync,
  statSync,
  writeFileSync,
} from 'node:fs'
import { flushCompileCache } from 'node:module'
import { hostname, networkInterfaces } from 'node:os'
import { join } from 'node:path'
import { resources as R } from '#api'
import { metricsKinds, type NodeAccess } from '#apiserver'
import { createLog, execOk, giveBackMemoryAtRest, type Log, messageOf, patience, systemClock } from '#base'
import { DnsServer } from '#dns'
import { Mesh } from '#mesh'
import { ServiceProxy, systemNft } from '#netproxy'
import {
  hostResolver,
  kubeletAnswer,
  NodeAgent,
  type SystemPart,
  SystemParts,
  socketOf,
  startContainerd,
  Usage,
} from '#node'
import { sealedStore } from '#store'
import { createDefaults, keepSystemServices } from './bootstrap.ts'
import { ARCHIVE, archiveId, isBundled, PAUSE_IMAGE, PROXY_IMAGE } from './bundled-images.ts'
import type { Cluster } from './cluster.ts'
import { createControlPlane } from './control-plane.ts'
import { loadCredentials } from './credentials.ts'
import { openStore } from './datastore.ts'
import { logDir, processStart, type ServerState, stateFile } from './server-state.ts'
import { KUBERNETES_VERSION, VERSION } from './version.ts'
import { endpointLeft, requestsEnded } from './withdrawal.ts'

/** Ports of the cluster's own parts on the bridge's address. */
const MESH_PORT = 15012
const MESH_PLAIN_PORT = 15010
const MESH_MONITORING_PORT = 15014

/** A pod that ends waits so long for proxies to forget it, milliseconds: one that hangs must not hold it for good. */
const WITHDRAWAL_MS = 10_000

/** A file a part's log goes to is cut at this size; one older part is kept. */
const LOG_LIMIT = 10 * 1024 * 1024

function fileSink(directory: string): (component: string, line: string) => void {
  mkdirSync(directory, { recursive: true })
  let writes = 0
  return (component, line) => {
    const file = join(directory, `${component}.log`)
    appendFileSync(file, `${line}\n`)
    if (++writes % 1000 === 0 && statSync(file).size > LOG_LIMIT) renameSync(file, `${file}.1`)
  }
}

/** The host's address that pods and other machines know it by. */
function hostAddress(fallback: string): string {
  for (const list of Object.values(networkInterfaces()))
    for (const i of list ?? [])
      if (i.family === 'IPv4' && !i.internal && !/^10\.(9[6-9]|24[4-7])\./.test(i.address)) return i.address
  return fallback
}

/** Makes the pods' bridge with the cluster's address on it. */
async function ensureBridge(cluster: Cluster): Promise<void> {
  const { bridge, gatewayIp } = cluster
  // A fixed address: otherwise the bridge takes that of a port, and changes it as pods come and go,
  // which leaves every pod with a wrong neighbour entry for its gateway.
  const mac = ['0a', '58', ...gatewayIp.split('.').map((part) => Number(part).toString(16).padStart(2, '0'))].join(':')
  if (!existsSync(`/sys/class/net/${bridge}`))
    await execOk('ip', ['link', 'add', bridge, 'address', mac, 'type', 'bridge'])
  const address = await execOk('ip', ['-o', 'addr', 'show', 'dev', bridge])
  if (!address.includes(`${gatewayIp}/`)) await execOk('ip', ['addr', 'add', `${gatewayIp}/22`, 'dev', bridge])
  await execOk('ip', ['link', 'set', bridge, 'up'])
}

/** Imports the images that come with the program, once for each version of them. */
async function importBundled(cluster: Cluster, log: Log): Promise<void> {
  const stamp = join(cluster.dataDir, 'containerd', 'bundled-images')
  const id = archiveId()
  if (existsSync(stamp) && readFileSync(stamp, 'utf8') === id) return
  const started = Date.now()
  await importArchive(cluster, ARCHIVE)
  writeFileSync(stamp, id)
  log.info('bundled images imported', { ms: Date.now() - started })
}

export async function importArchive(cluster: Cluster, file: string): Promise<void> {
  await execOk('ctr', ['--address', socketOf(cluster.runDir), '--namespace', 'k8s.io', 'images', 'import', file])
}

/** Runs a cluster until SIGTERM or SIGINT. */
export async function runServer(cluster: Cluster, options: { foreground: boolean }): Promise<void> {
  const stop = new AbortController()
  const sink = fileSink(logDir(cluster))
  const log = (component: string) =>
    createLog(component, {
      sink: options.foreground
        ? (c, l) => {
            sink(c, l)
            process.stderr.write(`${c}: ${l}\n`)
          }
        : sink,
    })
  const main = log('sampan')
  process.on('unhandledRejection', (error) =>
    main.error('unhandled rejection', { error: error instanceof Error ? (error.stack ?? error.message) : error }),
  )
  process.on('uncaughtException', (error) => main.error('uncaught exception', { error: error.stack ?? error.message }))
  mkdirSync(cluster.runDir, { recursive: true, mode: 0o711 })
  const state: ServerState = {
    pid: process.pid,
    processStart: processStart(process.pid),
    startedAt: Date.now(),
    ready: false,
  }
  writeFileSync(stateFile(cluster), JSON.stringify(state))

  const clock = systemClock
  const [credentials, store, runtime] = await Promise.all([
    loadCredentials(cluster),
    openStore(cluster, main),
    startContainerd(
      {
        dataDir: cluster.dataDir,
        runDir: cluster.runDir,
        logFile: join(logDir(cluster), 'containerd.log'),
        sandboxImage: PAUSE_IMAGE,
        cni: { bridge: cluster.bridge, subnet: cluster.podCidr, gateway: cluster.gatewayIp, mtu: 1500 },
      },
      clock,
      log('kubelet'),
    ),
    ensureBridge(cluster),
  ])
  const bundled = importBundled(cluster, main)
  bundled.catch((error) => main.error('bundled images not imported', { error: messageOf(error) }))

  let agent: NodeAgent | undefined
  const node: NodeAccess = {
    logs: (...args) => agent!.logs(...args),
    exec: (...args) => agent!.exec(...args),
    attach: (...args) => agent!.attach(...args),
    portForward: (...args) => agent!.portForward(...args),
    kubelet: async (name, path) =>
      usage &&
      kubeletAnswer({ informers: plane.informers, usage, clock, nodeName: hostname().toLowerCase() }, name, path),
  }
  let mesh: Mesh | undefined
  let usage: Usage | undefined
  const plane = await createControlPlane(
    {
      store: sealedStore(store, credentials.encryptionKey, (key) => key.startsWith('/registry/core/secrets/')),
      clock,
      log,
      serviceCidr: cluster.serviceCidr,
      tokenKey: credentials.tokens.key,
      tls: { cert: credentials.server.cert, key: credentials.server.key, clientCa: credentials.ca.cert },
      node,
      computed: metricsKinds({ pods: () => usage!.pods(), nodes: () => usage!.nodes() }),
      admission: ({ informers }) => {
        mesh = new Mesh({
          informers,
          clock,
          log: log('istiod'),
          proxyImage: PROXY_IMAGE,
          // A machine may be called otherwise tomorrow; only those who share a store must be told apart.
          instance: store.shared ? `${hostname()}_${cluster.name}` : cluster.name,
          rootCa: credentials.meshCa.cert,
          excludeCidrs: [`${cluster.gatewayIp}/32`, `${cluster.kubernetesIp}/32`],
        })
        return mesh.admission()
      },
    },
    stop.signal,
  )
  const { informers, client, api } = plane
  // Workloads of before go on while a server begins: they look for names before anything else.
  const resolver = hostResolver()
  const dns = new DnsServer({
    host: cluster.gatewayIp,
    port: 53,
    informers,
    mesh: (source, name) => mesh?.resolve(source, name),
    upstream: resolver.servers,
    log: log('coredns'),
  })
  await informers.synced()
  await dns.start()
  await createDefaults(client, cluster)
  await mesh!.installKinds()
  // Servers that share their state take turns; alone there is nobody to wait for.
  plane.startControllers(store.shared ? `${hostname()}_${randomUUID()}` : undefined)
  keepSystemServices(informers, cluster, main)

  const proxy = new ServiceProxy({
    informers,
    clock,
    log: log('kube-proxy'),
    nft: systemNft,
    table: cluster.nftTable,
    podCidr: cluster.podCidr,
    serviceCidr: cluster.serviceCidr,
    bridge: cluster.bridge,
    gatewayIp: cluster.gatewayIp,
    hostIp: hostAddress(cluster.gatewayIp),
    ownPorts: [cluster.apiPort, MESH_PORT, MESH_PLAIN_PORT, MESH_MONITORING_PORT, 53],
  })
  const nodeName = hostname().toLowerCase()
  usage = new Usage({ runtime, informers, clock, nodeName })
  const part = (
    name: string,
    namespace: string,
    labels: Record<string, string>,
    problem: () => string | undefined,
    mirror = true,
  ): SystemPart => ({ name, namespace, labels, problem, mirror, logFile: join(logDir(cluster), `${name}.log`) })
  const component = (name: string) => ({ component: name, tier: 'control-plane' })
  const parts = new SystemParts({
    parts: [
      part('kube-apiserver', 'kube-system', component('kube-apiserver'), () => api.health.failures()[0]?.[1]),
      part('kube-controller-manager', 'kube-system', component('kube-controller-manager'), () =>
        plane.problem('kube-controller-manager'),
      ),
      part('kube-scheduler', 'kube-system', component('kube-scheduler'), () => plane.problem('kube-scheduler')),
      part('kube-proxy', 'kube-system', { 'k8s-app': 'kube-proxy' }, () => proxy.problem),
      part('coredns', 'kube-system', { 'k8s-app': 'kube-dns' }, () => dns.problem, false),
      part('istiod', 'istio-system', { app: 'istiod', istio: 'pilot' }, () => mesh!.problem, false),
    ],
    informers,
    clock,
    log: log('kubelet'),
    nodeName,
    hostIp: hostAddress(cluster.gatewayIp),
    listenIp: cluster.gatewayIp,
    startedAt: state.startedAt,
    version: VERSION,
  })
  agent = new NodeAgent({
    parts,
    name: nodeName,
    informers,
    runtime,
    clock,
    log: log('kubelet'),
    dataDir: cluster.dataDir,
    hostIp: hostAddress(cluster.gatewayIp),
    podCidr: cluster.podCidr,
    dnsIp: cluster.dnsIp,
    kubeletVersion: KUBERNETES_VERSION,
    cgroupRoot: `sampan-${cluster.name}`,
    bundledImages: bundled,
    isBundled,
    trafficStopped: async (ip) => {
      const all = endpointLeft(informers, ip).then(() => Promise.all([proxy.settled(), mesh!.settled()]))
      if (!(await patience(clock, all, WITHDRAWAL_MS)))
        main.warn('a pod ends before every proxy knows', {
          ip,
          afterMs: WITHDRAWAL_MS,
          proxies: mesh!.behind.slice(0, 10),
        })
      await requestsEnded(clock, ip)
    },
  })
  api.health.add('service-proxy', () => proxy.problem)
  await Promise.all([
    api.listen('127.0.0.1', cluster.apiPort),
    api.listen(cluster.gatewayIp, cluster.apiPort),
    proxy.start(),
    mesh!.start({
      host: cluster.gatewayIp,
      port: MESH_PORT,
      plainPort: MESH_PLAIN_PORT,
      monitoringPort: MESH_MONITORING_PORT,
      tls: credentials.mesh,
      verify: (token) => plane.tokens.verify(token, 'istio-ca'),
      readsSecrets: (user, namespace) =>
        plane.authorizer.allowed(user, { verb: 'list', group: '', resource: 'secrets', namespace }),
    }),
    agent.start(stop.signal),
  ])
  await defaultAccount(plane.informers)
  state.ready = true
  writeFileSync(stateFile(cluster), JSON.stringify(state))
  giveBackMemoryAtRest(() => api.begun + mesh!.work)
  main.info('ready', { ms: Date.now() - state.startedAt })
  // The next start has it also where this server is killed.
  flushCompileCache()

  await new Promise<void>((resolve) => {
    for (const name of ['SIGTERM', 'SIGINT'] as const) process.once(name, () => resolve())
  })
  main.info('stopping')
  stop.abort()
  const force = setTimeout(() => process.exit(0), 5000)
  force.unref()
  proxy.close()
  dns.close()
  mesh!.close()
  await Promise.all([api.close(), plane.resigned()])
  await store.close()
  runtime.close()
  rmSync(stateFile(cluster), { force: true })
  process.exit(0)
}

/** Pods can be created once the namespace "default" has its service account. */
async function defaultAccount(informers: {
  for(r: typeof R.serviceAccounts): { get(key: string): unknown; on(fn: () => void): () => void }
}): Promise<void> {
  const accounts = informers.for(R.serviceAccounts)
  if (accounts.get('default/default')) return
  await new Promise<void>((resolve) => {
    const stop = accounts.on(() => {
      if (!accounts.get('default/default')) return
      queueMicrotask(() => stop())
      resolve()
    })
  })
}
