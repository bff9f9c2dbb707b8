// The in-process client: the verbs of the API server without the wire.

import {
  errors,
  groupResource,
  type Json,
  type KubeInput,
  type KubeObject,
  parseFieldSelector,
  parseLabelSelector,
  type Resource,
  type ResourceKind,
} from '#api'
import {
  bindPod,
  eventFor,
  patched,
  type Resources,
  type Selection,
  selects,
  systemContext,
  type Tokens,
} from '#apiserver'
import type { Client, DeleteOptions, ListOptions, PatchType, WatchHandler } from '#client'

const PATCH_TYPES: Record<PatchType, string> = {
  merge: 'application/merge-patch+json',
  strategic: 'application/strategic-merge-patch+json',
  json: 'application/json-patch+json',
}

/** Makes a client that acts as the system itself. */
export function localClient(resources: Resources, tokens: Tokens): Client {
  const kindOf = (r: Resource): ResourceKind => {
    const kind = resources.registry.resource(r.group, r.version, r.plural)
    if (!kind) throw errors.unknownPath()
    return kind
  }
  const selection = (r: Resource, options: ListOptions = {}): Selection => ({
    namespace: options.namespace ?? '',
    name: '',
    ...(options.labelSelector ? { labels: parseLabelSelector(options.labelSelector) } : {}),
    ...(options.fieldSelector ? { fields: parseFieldSelector(options.fieldSelector, groupResource(r)) } : {}),
  })
  const typed = (r: Resource, object: KubeInput): KubeInput => ({
    ...object,
    apiVersion: r.group ? `${r.group}/${r.version}` : r.version,
    kind: r.kind,
  })
  const update = async (r: Resource, object: KubeInput & { metadata: { name: string } }, subresource: string) => {
    const { namespace = '', name } = object.metadata
    return (await resources.update(kindOf(r), namespace, name, typed(r, object), systemContext(), subresource)).object
  }
  return {
    get: (r, namespace, name) => resources.get(kindOf(r), namespace, name),
    async list(r, options) {
      const cache = await resources.store.cache(r)
      const chosen = selection(r, options)
      const items = cache
        .entries(chosen.namespace)
        .filter((e) => selects(chosen, e))
        .map((e) => e.object)
      return { items, resourceVersion: String(cache.revision) }
    },
    watch(r, resourceVersion, handler: WatchHandler, options) {
      const chosen = selection(r, options)
      let stop: (() => void) | undefined
      let closed = false
      void resources.store.cache(r).then((cache) => {
        if (closed) return
        try {
          stop = cache.watch(Number(resourceVersion), { namespace: chosen.namespace }, ({ events }) => {
            for (const event of events) {
              const type = eventFor(chosen, event)
              if (type && !closed) handler.onEvent(type, event.entry.object)
            }
          })
        } catch (error) {
          handler.onEnd(error)
        }
      })
      return {
        close() {
          closed = true
          stop?.()
        },
      }
    },
    async create(r, object) {
      const { namespace = '' } = object.metadata
      return (await resources.create(kindOf(r), namespace, typed(r, object), systemContext())).object
    },
    update: (r, object) => update(r, object, ''),
    updateStatus: (r, object) => update(r, object, 'status'),
    async patch(r, namespace, name, patch: Json, type = 'merge', subresource = '') {
      const kind = kindOf(r)
      const change = (current: KubeObject) => patched(kind, current, patch, PATCH_TYPES[type])
      return (await resources.modify(kind, namespace, name, systemContext(), change, subresource)).object
    },
    async delete(r, namespace, name, options: DeleteOptions = {}) {
      const { uid, resourceVersion, ...rest } = options
      const preconditions = { ...(uid ? { uid } : {}), ...(resourceVersion ? { resourceVersion } : {}) }
      await resources.delete(kindOf(r), namespace, name, { ...rest, preconditions }, systemContext())
    },
    async bind(namespace, pod, node) {
      const kind = resources.registry.resource('', 'v1', 'pods')!
      await bindPod(resources, kind, namespace, pod, { target: { name: node } }, systemContext(), resources.clock.now())
    },
    async createToken(namespace, serviceAccount, spec) {
      const account = await resources.get(
        resources.registry.resource('', 'v1', 'serviceaccounts')!,
        namespace,
        serviceAccount,
      )
      const { token, expiration } = await tokens.issue({
        namespace,
        serviceAccount,
        serviceAccountUid: account.metadata.uid,
        audiences: spec.audiences,
        expirationSeconds: spec.expirationSeconds ?? 3600,
        ...(spec.boundObjectRef ? { pod: { name: spec.boundObjectRef.name, uid: spec.boundObjectRef.uid } } : {}),
      })
      return { token, expirationTimestamp: new Date(expiration).toISOString() }
    },
    async finalizeNamespace(namespace: KubeObject) {
      await resources.finalizeNamespace(namespace.metadata.name)
    },
  }
}
