// Brings the CustomResourceDefinitions of the mesh's kinds up to date.

import { isAlreadyExists, type KubeInput, resources, sameJson } from '#api'
import type { Client } from '#client'
import { istioDefinitions } from './kinds.ts'

/** The annotation that says which of our versions a definition is of; one without it is somebody else's. */
const OWNED = 'app'

/** Creates what is missing; of our own definitions, changes what is of an older version. */
export async function installKinds(client: Client): Promise<void> {
  await Promise.all(istioDefinitions().map((definition) => ensure(client, definition)))
}

async function ensure(client: Client, definition: KubeInput): Promise<void> {
  try {
    await client.create(resources.customResourceDefinitions, definition)
  } catch (error) {
    if (!isAlreadyExists(error)) throw error
    const current = await client.get(resources.customResourceDefinitions, '', definition.metadata.name!)
    if (current.metadata.labels?.[OWNED] !== definition.metadata.labels?.[OWNED]) return
    if (sameJson(current.spec.versions, definition.spec.versions)) return
    await client.update(resources.customResourceDefinitions, {
      ...current,
      spec: { ...current.spec, versions: definition.spec.versions },
    })
  }
}
