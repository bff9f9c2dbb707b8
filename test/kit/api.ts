// An API server with all controllers on the memory store, optionally under virtual time.

import { errors, isAlreadyExists, type KubeObject, resources } from '#api'
import type { NodeAccess } from '#apiserver'
import { type Clock, createLog, type Log, silentLog, VirtualClock } from '#base'
import { MvccStore, type Store } from '#store'
import type { KeyPair } from '#wire'
import { type ControlPlane, createControlPlane } from '../../src/app/control-plane.ts'
import { testKeys } from './keys.ts'

const unavailable = () => Promise.reject(errors.unavailable('this cluster has no node'))

export const noNode: NodeAccess = {
  logs: unavailable,
  exec: unavailable,
  attach: unavailable,
  portForward: unavailable,
}

export interface TestApi extends ControlPlane, AsyncDisposable {
  readonly clock: VirtualClock
  readonly ca: KeyPair
  readonly admin: KeyPair
  readonly port: number
}

/** Starts an API server on a free port of the loopback interface. */
export async function startApi(
  options: {
    clock?: Clock
    /** True, or the identity under which this server stands for election. */
    controllers?: boolean | string
    node?: NodeAccess
    log?: Log
    store?: Store
  } = {},
): Promise<TestApi> {
  const { ca, server, admin } = await testKeys()
  const stop = new AbortController()
  const clock = new VirtualClock()
  const plane = await createControlPlane(
    {
      store: options.store ?? new MvccStore(),
      clock: options.clock ?? clock,
      log: () => options.log ?? silentLog,
      serviceCidr: '10.96.0.0/22',
      tokenKey: ca.key,
      tls: { ...server, clientCa: ca.cert },
      node: options.node ?? noNode,
    },
    stop.signal,
  )
  // Another server on the same store may have made them.
  const there = (error: unknown) => {
    if (!isAlreadyExists(error)) throw error
  }
  for (const name of ['default', 'kube-system'])
    await plane.client.create(resources.namespaces, { metadata: { name } }).catch(there)
  await plane.client
    .create(resources.serviceAccounts, { metadata: { name: 'default', namespace: 'default' } })
    .catch(there)
  if (options.controllers)
    plane.startControllers(typeof options.controllers === 'string' ? options.controllers : undefined)
  const port = await plane.api.listen('127.0.0.1', 0)
  return {
    ...plane,
    clock,
    ca,
    admin,
    port,
    async [Symbol.asyncDispose]() {
      stop.abort()
      await plane.api.close()
    },
  }
}

export const stderrLog: Log = createLog('test', { sink: (_c, line) => process.stderr.write(`${line}\n`) })

/** Marks a pod as running and ready on a node, as a node agent would. */
export function readyPod(pod: KubeObject, ip: string, now: string): KubeObject {
  return {
    ...pod,
    status: {
      phase: 'Running',
      podIP: ip,
      podIPs: [{ ip }],
      conditions: [{ type: 'Ready', status: 'True', lastTransitionTime: now }],
      containerStatuses: pod.spec.containers.map((c: { name: string; image: string }) => ({
        name: c.name,
        image: c.image,
        ready: true,
        restartCount: 0,
        state: { running: { startedAt: now } },
      })),
    },
  }
}
