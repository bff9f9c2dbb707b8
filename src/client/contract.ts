// The client: how every part above the API server reads and writes the cluster.

import type { Json, KubeInput, KubeObject, Resource } from '#api'

export type WatchEventType = 'ADDED' | 'MODIFIED' | 'DELETED'

export interface ListOptions {
  namespace?: string
  labelSelector?: string
  fieldSelector?: string
}

export interface WatchHandler {
  onEvent(type: WatchEventType, object: KubeObject): void
  /** The watch is over; with an error it was not asked to end. */
  onEnd(error: unknown): void
}

export interface DeleteOptions {
  gracePeriodSeconds?: number
  propagationPolicy?: 'Foreground' | 'Background' | 'Orphan'
  uid?: string
  resourceVersion?: string
}

export type PatchType = 'merge' | 'strategic' | 'json'

/**
 * A cluster. Objects that come back are shared and frozen: copy before changing. All methods fail
 * with StatusErrors, as the API words them.
 */
export interface Client {
  get(resource: Resource, namespace: string, name: string): Promise<KubeObject>
  list(resource: Resource, options?: ListOptions): Promise<{ items: KubeObject[]; resourceVersion: string }>
  /** Changes after `resourceVersion`. */
  watch(resource: Resource, resourceVersion: string, handler: WatchHandler, options?: ListOptions): { close(): void }
  create(resource: Resource, object: KubeInput): Promise<KubeObject>
  update(resource: Resource, object: KubeObject): Promise<KubeObject>
  updateStatus(resource: Resource, object: KubeObject): Promise<KubeObject>
  patch(
    resource: Resource,
    namespace: string,
    name: string,
    patch: Json,
    type?: PatchType,
    subresource?: string,
  ): Promise<KubeObject>
  delete(resource: Resource, namespace: string, name: string, options?: DeleteOptions): Promise<void>
  /** Assigns a pod to a node. */
  bind(namespace: string, pod: string, node: string): Promise<void>
  /** A token of a service account. */
  createToken(
    namespace: string,
    serviceAccount: string,
    spec: Json,
  ): Promise<{ token: string; expirationTimestamp: string }>
  /** Removes the last hold on a namespace that is going away. */
  finalizeNamespace(namespace: KubeObject): Promise<void>
}
