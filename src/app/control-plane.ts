// The control plane: store, API server, controllers and scheduler, wired together.

import { KindRegistry, resources as R, type Resource } from '#api'
import {
  type Admission,
  ApiServer,
  Authorizer,
  type ComputedKind,
  ingressAdmission,
  type NodeAccess,
  namespaceLifecycle,
  ObjectStore,
  podAdmission,
  Resources,
  rbacAdmission,
  registerCustomResources,
  requesterAdmission,
  serviceAdmission,
  Tokens,
} from '#apiserver'
import { type Clock, type Log, messageOf } from '#base'
import { type Client, type Controller, Informers, runAsLeader } from '#client'
import {
  clusterRoleAggregationController,
  customResourceCleanupController,
  deploymentController,
  disruptionController,
  endpointsController,
  garbageCollector,
  namespaceController,
  namespaceDefaultsController,
  replicaSetController,
} from '#controllers'
import { scheduler } from '#scheduler'
import type { Store } from '#store'
import { localClient } from './local-client.ts'
import { VERSION_INFO } from './version.ts'

export interface ControlPlaneOptions {
  store: Store
  clock: Clock
  /** A logger for each part. */
  log: (component: string) => Log
  serviceCidr: string
  tokenKey: string
  tls: { cert: string; key: string; clientCa: string }
  node: NodeAccess
  computed?: readonly ComputedKind[]
  admission?: (context: { client: Client; informers: Informers }) => readonly Admission[]
}

export interface ControlPlane {
  readonly resources: Resources
  readonly client: Client
  readonly informers: Informers
  readonly tokens: Tokens
  readonly api: ApiServer
  readonly authorizer: Authorizer
  /** Everything served that can be listed and deleted. */
  served(): Resource[]
  /** Why a part of the control plane is not in order, if so: "kube-scheduler" or "kube-controller-manager". */
  problem(part: string): string | undefined
  /**
   * Starts the controllers; they run until the signal given to `createControlPlane` aborts. With an identity
   * they run only while this server leads.
   */
  startControllers(identity?: string): void
  /** Resolves, after the signal has aborted, when others may lead. */
  resigned(): Promise<unknown>
}

/** Builds the control plane; nothing listens or runs yet but the caches. */
export async function createControlPlane(options: ControlPlaneOptions, signal: AbortSignal): Promise<ControlPlane> {
  const { clock } = options
  const store = new ObjectStore(options.store)
  const registry = new KindRegistry()
  const [namespaces, accounts, services, pods, classes] = await Promise.all([
    store.cache(R.namespaces),
    store.cache(R.serviceAccounts),
    store.cache(R.services),
    store.cache(R.pods),
    store.cache(R.ingressClasses),
  ])
  const authorizer = await Authorizer.open(store)
  const resources = new Resources({
    store,
    registry,
    clock,
    admission: [
      namespaceLifecycle(namespaces),
      podAdmission(accounts),
      requesterAdmission(),
      ingressAdmission(classes),
      rbacAdmission(() => authorizer),
      serviceAdmission(store, services, { cidr: options.serviceCidr, nodePorts: [30000, 32767] }),
    ],
  })
  await registerCustomResources(resources, options.log('kube-apiserver'))
  compactRegularly(options.store, clock, signal)
  const tokens = new Tokens({
    signingKey: options.tokenKey,
    issuer: 'https://kubernetes.default.svc.cluster.local',
    clock,
    bound: {
      serviceAccount: (namespace, name) => accounts.entry(`${namespace}/${name}`)?.object,
      pod: (namespace, name) => pods.entry(`${namespace}/${name}`)?.object,
    },
  })
  const client = localClient(resources, tokens)
  const informers = new Informers(client, clock, options.log('kube-controller-manager'), signal)
  for (const step of options.admission?.({ client, informers }) ?? []) resources.addAdmission(step)
  const api = new ApiServer({
    resources,
    tokens,
    authorizer,
    node: options.node,
    log: options.log('kube-apiserver'),
    tls: options.tls,
    ...(options.computed ? { computed: options.computed } : {}),
    version: VERSION_INFO,
  })

  const served = (): Resource[] =>
    registry
      .all()
      .filter((k) => k.version === k.storageVersion && !k.converted)
      .filter((k) => k.verbs.includes('list') && k.verbs.includes('delete'))
      .map(({ group, version, plural, kind, namespaced }) => ({ group, version, plural, kind, namespaced }))

  let started = false
  const ended = new Map<string, string>()
  const problem = (part: string) => (started ? ended.get(part) : 'its caches are not filled yet')
  const elections: Promise<void>[] = []
  const startControllers = (identity?: string) => {
    const log = options.log('kube-controller-manager')
    const gc = garbageCollector({ informers, log, served })
    informers.for(R.customResourceDefinitions).on(() => queueMicrotask(() => gc.refresh()))
    const managed: Controller[] = [
      deploymentController(informers, log),
      replicaSetController(informers, log),
      endpointsController(informers, log),
      disruptionController(informers, log),
      gc,
      clusterRoleAggregationController(informers, log),
      customResourceCleanupController(informers, log),
      namespaceController(informers, log, served),
      namespaceDefaultsController(informers, log, options.tls.clientCa),
    ]
    const scheduling = [scheduler(informers, options.log('kube-scheduler'))]
    const run = (part: string, controllers: readonly Controller[]) => (term: AbortSignal) => {
      ended.delete(part)
      for (const controller of controllers)
        controller.run(term).catch((error) => {
          ended.set(part, `${controller.name} ended: ${messageOf(error)}`)
          log.error('controller ended', { controller: controller.name, error: messageOf(error) })
        })
    }
    const start = (part: string, controllers: readonly Controller[]) => {
      const lead = run(part, controllers)
      if (!identity) return lead(signal)
      elections.push(runAsLeader({ client, clock, log: options.log(part), name: part, identity }, lead, signal))
    }
    void informers.synced().then(() => {
      started = true
      start('kube-controller-manager', managed)
      start('kube-scheduler', scheduling)
    })
  }
  return {
    resources,
    client,
    informers,
    tokens,
    api,
    authorizer,
    served,
    problem,
    startControllers,
    resigned: () => Promise.all(elections),
  }
}

/** How long old revisions are kept for lists that go on page by page (etcd's compaction interval upstream). */
const COMPACTION_MS = 300_000

function compactRegularly(store: Store, clock: Clock, signal: AbortSignal): void {
  let last = store.revision
  const compact = () => {
    if (signal.aborted) return
    const before = last
    last = store.revision
    void store.compact(before).catch(() => {})
    timer = clock.after(COMPACTION_MS, compact)
  }
  let timer = clock.after(COMPACTION_MS, compact)
  signal.addEventListener('abort', () => timer.cancel(), { once: true })
}
