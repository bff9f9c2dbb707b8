// What every namespace has: the service account "default" and the ConfigMap with the cluster's CA.

import { isAlreadyExists, keyOf, resources, sameJson } from '#api'
import type { Log } from '#base'
import { Controller, type Informers } from '#client'

/** `rootCa` is the PEM that pods verify the API server with. */
export function namespaceDefaultsController(informers: Informers, log: Log, rootCa: string): Controller {
  const { client, clock } = informers
  const namespaces = informers.for(resources.namespaces)
  const accounts = informers.for(resources.serviceAccounts)
  const configMaps = informers.for(resources.configMaps)
  const controller = new Controller({ name: 'namespace-defaults', clock, log, workers: 4, reconcile })
  namespaces.on(({ object }) => controller.queue.add(keyOf(object)))
  accounts.on(({ type, object }) => {
    if (type === 'deleted' && object.metadata.name === 'default') controller.queue.add(object.metadata.namespace ?? '')
  })
  configMaps.on(({ type, object }) => {
    if (type !== 'added' && object.metadata.name === 'kube-root-ca.crt')
      controller.queue.add(object.metadata.namespace ?? '')
  })
  return controller

  async function reconcile(namespace: string): Promise<void> {
    const object = namespaces.get(namespace)
    if (!object || object.metadata.deletionTimestamp) return
    await configMaps.synced()
    await accounts.synced()
    const data = { 'ca.crt': rootCa }
    const current = configMaps.get(`${namespace}/kube-root-ca.crt`)
    if (!current)
      await ignoreExisting(
        client.create(resources.configMaps, {
          metadata: {
            name: 'kube-root-ca.crt',
            namespace,
            annotations: {
              'kubernetes.io/description':
                'Contains a CA bundle that can be used to verify the kube-apiserver when using internal endpoints such as the internal service IP or kubernetes.default.svc. No other usage is guaranteed across distributions of Kubernetes clusters.',
            },
          },
          data,
        }),
      )
    else if (!sameJson(current.data, data)) await client.update(resources.configMaps, { ...current, data })
    if (!accounts.get(`${namespace}/default`))
      await ignoreExisting(client.create(resources.serviceAccounts, { metadata: { name: 'default', namespace } }))
  }
}

async function ignoreExisting(work: Promise<unknown>): Promise<void> {
  try {
    await work
  } catch (error) {
    if (!isAlreadyExists(error)) throw error
  }
}
