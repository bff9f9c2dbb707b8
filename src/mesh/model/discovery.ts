// Which namespaces the mesh looks at: MeshConfig.discoverySelectors. Pure.

import { type Json, type KubeObject, labelSelector } from '#api'

/**
 * Whether the mesh sees an object: one whose namespace has the labels of any selector, or that has no namespace.
 * Without selectors it sees all.
 */
export function discovery(
  selectors: readonly Json[],
  namespace: (name: string) => KubeObject | undefined,
): (object: KubeObject) => boolean {
  if (selectors.length === 0) return () => true
  const matchers = selectors.map(labelSelector)
  const seen = new Map<string, boolean>()
  return ({ metadata }) => {
    if (!metadata.namespace) return true
    let sees = seen.get(metadata.namespace)
    if (sees === undefined) {
      const labels = namespace(metadata.namespace)?.metadata.labels
      seen.set(metadata.namespace, (sees = matchers.some((matches) => matches(labels))))
    }
    return sees
  }
}
