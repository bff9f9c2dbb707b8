// Brings the CustomResourceDefinitions of the mesh's kinds up to date.

import { isAlreadyExists, isNotFound, type KubeInput, type KubeObject, resources, sameJson } from '#api'
import type { Client } from '#client'
import { meshDefinitions } from './kinds.ts'

/** Where kubectl apply notes what it wrote: who has it is kept by somebody else. */
const APPLIED = 'kubectl.kubernetes.io/last-applied-configuration'

/** Creates what is missing; of our own definitions, changes what is of an older version. */
export async function installKinds(client: Client): Promise<void> {
  await Promise.all(meshDefinitions().map((definition) => ensure(client, definition)))
}

async function ensure(client: Client, definition: KubeInput): Promise<void> {
  const found = await known(client, definition)
  if (!found) {
    try {
      await client.create(resources.customResourceDefinitions, definition)
    } catch (error) {
      if (!isAlreadyExists(error)) throw error
    }
    return
  }
  if (found.metadata.labels?.chart !== 'istio' || found.metadata.annotations?.[APPLIED]) return
  if (sameJson(found.spec.versions, definition.spec.versions)) return
  await client.update(resources.customResourceDefinitions, {
    ...found,
    spec: { ...found.spec, versions: definition.spec.versions },
  })
}

/** The definition of the same name that is there. */
async function known(client: Client, { metadata }: KubeInput): Promise<KubeObject | undefined> {
  try {
    return await client.get(resources.customResourceDefinitions, '', metadata.name!)
  } catch (error) {
    if (isNotFound(error)) return undefined
    throw error
  }
}
