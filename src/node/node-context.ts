// What pod workers share: the node's parts and facts.

import type { Json, KubeObject } from '#api'
import type { Clock, Log } from '#base'
import type { Client, EventRecorder } from '#client'
import type { EnvironmentSources } from './environment.ts'
import type { ImageManager } from './image-manager.ts'
import type { Runtime } from './runtime.ts'
import type { VolumeSources, Volumes } from './volumes.ts'

export interface NodeContext {
  readonly client: Client
  readonly runtime: Runtime
  readonly images: ImageManager
  readonly volumes: Volumes
  readonly events: EventRecorder
  readonly clock: Clock
  readonly log: Log
  readonly hostIp: string
  readonly logDir: string
  cgroupParent(podUid: string): string
  removeCgroup(podUid: string): void
  dns(pod: KubeObject): { servers: string[]; searches: string[]; options: string[] }
  volumeSources(pod: KubeObject, podIp: string): VolumeSources
  environmentSources(pod: KubeObject, podIp: string): EnvironmentSources
  /** Resolves when no proxy sends new connections to this address any more. */
  trafficStopped(podIp: string): Promise<void>
}

/**
 * Kubernetes' ndots, and less than the usual 5 s until a query is repeated: one that comes while the server restarts is
 * lost. Musl divides the time by the attempts, glibc does not.
 */
const IN_CLUSTER = ['ndots:5', 'timeout:2', 'attempts:5']

/** Options of a pod stand in for those of the same name. */
function mergeOptions(base: readonly string[], own: readonly Json[]): string[] {
  const names = new Set(own.map((o) => o.name))
  return [
    ...base.filter((text) => !names.has(text.split(':')[0])),
    ...own.map((o) => (o.value === undefined ? o.name : `${o.name}:${o.value}`)),
  ]
}

/** The resolver configuration of a pod. Pure. */
export function resolverOf(
  pod: KubeObject,
  cluster: { dnsIp: string },
  host: { servers: string[]; searches: string[] },
): { servers: string[]; searches: string[]; options: string[] } {
  const policy = pod.spec.dnsPolicy ?? 'ClusterFirst'
  const extra: Json = pod.spec.dnsConfig ?? {}
  const inCluster = policy === 'ClusterFirstWithHostNet' || (policy === 'ClusterFirst' && !pod.spec.hostNetwork)
  const base =
    policy === 'None'
      ? { servers: [], searches: [], options: [] }
      : inCluster
        ? {
            servers: [cluster.dnsIp],
            searches: [
              `${pod.metadata.namespace}.svc.cluster.local`,
              'svc.cluster.local',
              'cluster.local',
              ...host.searches,
            ],
            options: IN_CLUSTER,
          }
        : { ...host, options: [] }
  return {
    servers: [...base.servers, ...(extra.nameservers ?? [])],
    searches: [...base.searches, ...(extra.searches ?? [])],
    options: mergeOptions(base.options, extra.options ?? []),
  }
}
