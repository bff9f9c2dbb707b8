// Brings the CustomResourceDefinitions of the mesh's kinds up to date.

import { isAlreadyExists, type KubeInput, resources, sameJson } from '#api'
import type { Client } from '#client'
import { meshDefinitions } from './kinds.ts'

/** Where kubectl apply notes what it wrote: who has it is kept by somebody else. */
const APPLIED = 'kubectl.kubernetes.io/last-applied-configuration'

/** Creates what is missing; of our own definitions, changes what is of an older version. */
export async function installKinds(client: Client): Promise<void> {
  await Promise.all(meshDefinitions().map((definition) => ensure(client, definition)))
}

async function ensure(client: Client, definition: KubeInput): Promise<void> {
  try {
    await client.create(resources.customResourceDefinitions, definition)
  } catch (error) {
    if (!isAlreadyExists(error)) throw error
    const current = await client.get(resources.customResourceDefinitions, '', definition.metadata.name!)
    if (current.metadata.labels?.chart !== 'istio' || current.metadata.annotations?.[APPLIED]) return
    if (sameJson(current.spec.versions, definition.spec.versions)) return
    await client.update(resources.customResourceDefinitions, {
      ...current,
      spec: { ...current.spec, versions: definition.spec.versions },
    })
  }
}
