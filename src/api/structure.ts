// How a field's value is structured for ownership: what is one piece, what is merged by element.
// The rules: x-kubernetes-list-type, -list-map-keys and -map-type of Kubernetes' schemas (KEP-555).

import { mergeRule } from './merge-keys.ts'
import { type Property, schemas } from './schema.ts'
import type { Json } from './types.ts'

/** A place in a schema: a definition of ours, a field of one, or a custom resource's schema. Undefined: unknown. */
export type SchemaNode =
  | { readonly model: string }
  | { readonly property: Property; readonly owner: string; readonly field: string }
  | { readonly custom: Json }
  | undefined

/** What a value at a place is made of. */
export type Structure =
  | { readonly kind: 'atomic' }
  | { readonly kind: 'map'; child(key: string): SchemaNode }
  | { readonly kind: 'set' }
  | { readonly kind: 'list'; readonly keys: readonly string[]; readonly item: SchemaNode }

const ATOMIC: Structure = { kind: 'atomic' }

/** Keys of lists that have more than the strategic merge knows, or another one. */
const LIST_KEYS: Record<string, readonly string[]> = {
  'Container.ports': ['containerPort', 'protocol'],
  'EphemeralContainer.ports': ['containerPort', 'protocol'],
  'ServiceSpec.ports': ['port', 'protocol'],
  'PodSpec.topologySpreadConstraints': ['topologyKey', 'whenUnsatisfiable'],
  'ResourceRequirements.claims': ['name'],
}

/** Lists and maps that are one piece although they could be merged, or the other way round. */
const ATOMIC_FIELDS = new Set(['PodSpec.nodeSelector', 'ServiceSpec.selector', 'ReplicationControllerSpec.selector'])
const SET_FIELDS = new Set(['Endpoint.addresses', 'NodeSpec.podCIDRs', 'ObjectMeta.finalizers'])

/** Definitions whose value is one piece (x-kubernetes-map-type: atomic). */
const ATOMIC_MODELS = new Set(
  'LabelSelector ObjectReference LocalObjectReference SecretKeySelector ConfigMapKeySelector ObjectFieldSelector ResourceFieldSelector TypedLocalObjectReference TypedObjectReference SecretReference RoleRef Subject NodeSelector NodeSelectorTerm ScopeSelector TopologySelectorTerm CrossVersionObjectReference EndpointAddress EndpointPort ClusterTrustBundleProjection FileKeySelector'.split(
    ' ',
  ),
)

/** Fields that stand for a key that was left out (defaults of list-map keys). */
export const KEY_DEFAULTS: Readonly<Record<string, string>> = { protocol: 'TCP' }

const shortName = (model: string) => model.slice(model.lastIndexOf('.') + 1)

function nodeOf(property: Property | undefined, owner: string, field: string): SchemaNode {
  if (!property) return undefined
  return property.ref ? { model: property.ref } : { property, owner, field }
}

/** The structure of a value at a node. What no schema describes: objects by field, lists as one piece. */
export function structureOf(node: SchemaNode, value: unknown): Structure {
  if (Array.isArray(value)) return listStructure(node)
  if (typeof value !== 'object' || value === null) return ATOMIC
  if (!node) return { kind: 'map', child: () => undefined }
  if ('custom' in node) return customMap(node.custom)
  if ('model' in node) {
    if (ATOMIC_MODELS.has(shortName(node.model))) return ATOMIC
    const definition = schemas()[node.model]
    return { kind: 'map', child: (key) => nodeOf(definition?.properties[key], node.model, key) }
  }
  const { property, owner, field } = node
  if (ATOMIC_FIELDS.has(`${shortName(owner)}.${field}`)) return ATOMIC
  return { kind: 'map', child: () => nodeOf(property.additional, owner, `${field}.*`) }
}

function listStructure(node: SchemaNode): Structure {
  if (!node || 'model' in node) return ATOMIC
  if ('custom' in node) {
    const { custom } = node
    const type = custom['x-kubernetes-list-type']
    if (type === 'set') return { kind: 'set' }
    if (type === 'map')
      return { kind: 'list', keys: custom['x-kubernetes-list-map-keys'] ?? [], item: { custom: custom.items ?? {} } }
    return ATOMIC
  }
  const { property, owner, field } = node
  const place = `${shortName(owner)}.${field}`
  const item = nodeOf(property.items, owner, field)
  if (LIST_KEYS[place]) return { kind: 'list', keys: LIST_KEYS[place], item }
  if (SET_FIELDS.has(place)) return { kind: 'set' }
  const rule = mergeRule(owner, field)
  if (rule?.key) return { kind: 'list', keys: [rule.key], item }
  return rule?.merge ? { kind: 'set' } : ATOMIC
}

function customMap(schema: Json): Structure {
  if (schema['x-kubernetes-map-type'] === 'atomic') return ATOMIC
  return {
    kind: 'map',
    child: (key) => {
      const child =
        schema.properties?.[key] ??
        (typeof schema.additionalProperties === 'object' ? schema.additionalProperties : undefined)
      return child ? { custom: child } : undefined
    },
  }
}
