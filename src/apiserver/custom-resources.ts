// Custom resources: kinds from CustomResourceDefinitions, their pruning, defaults and validation.

import {
  checkLabel1123,
  checkShape,
  checkSubdomain,
  condition,
  errors,
  type FieldError,
  field,
  type Json,
  type KubeObject,
  pruneShape,
  type ResourceKind,
  sameJson,
} from '#api'
import { fillDefaults, prune, schemaProblems, validateValue } from './structural-schema.ts'

/** The kinds a CRD serves. */
export function kindsOf(crd: KubeObject): ResourceKind[] {
  const { group, names, scope, versions } = crd.spec
  const storage = versions.find((v: Json) => v.storage)?.name ?? versions[0]?.name
  return versions
    .filter((v: Json) => v.served)
    .map((v: Json): ResourceKind => {
      const subresources = []
      if (v.subresources?.status) subresources.push({ name: 'status', verbs: ['get', 'patch', 'update'] })
      if (v.subresources?.scale) subresources.push({ name: 'scale', verbs: ['get', 'patch', 'update'] })
      return {
        group,
        version: v.name,
        kind: names.kind,
        plural: names.plural,
        singular: names.singular ?? names.kind.toLowerCase(),
        namespaced: scope === 'Namespaced',
        verbs: ['delete', 'deletecollection', 'get', 'list', 'patch', 'create', 'update', 'watch'],
        subresources,
        shortNames: names.shortNames ?? [],
        categories: names.categories ?? [],
        storageVersion: storage,
        custom: v,
      }
    })
}

/** Names that two definitions of a group may not share. */
const NAMES = ['plural', 'singular', 'kind', 'listKind'] as const

/** Why the names of a CRD are not its own; undefined when they are. */
function conflict(crd: KubeObject, others: readonly KubeObject[]): { reason: string; message: string } | undefined {
  const { names, group } = crd.spec
  const taken = others.filter(
    (o) =>
      o.metadata.uid !== crd.metadata.uid && o.spec.group === group && condition(o, 'NamesAccepted')?.status === 'True',
  )
  for (const key of NAMES) {
    const same = taken.some((o) => {
      const have: Json = o.status?.acceptedNames ?? o.spec.names
      if (key === 'kind' || key === 'listKind')
        return names[key] && (have.kind === names[key] || have.listKind === names[key])
      return names[key] && [have.plural, have.singular, ...(have.shortNames ?? [])].includes(names[key])
    })
    if (same)
      return {
        reason: `${key[0]!.toUpperCase()}${key.slice(1)}Conflict`,
        message: `${JSON.stringify(names[key])} is already in use`,
      }
  }
  const short = (names.shortNames ?? []).find((n: string) =>
    taken.some((o) => {
      const have: Json = o.status?.acceptedNames ?? o.spec.names
      return [have.plural, have.singular, ...(have.shortNames ?? [])].includes(n)
    }),
  )
  return short && { reason: 'ShortNamesConflict', message: `${JSON.stringify(short)} is already in use` }
}

/**
 * The status a CRD should have: whether its names are its own, whether it is served, and the versions
 * objects may be stored in. Undefined when it has it. Only an established CRD is served.
 */
export function definitionStatus(crd: KubeObject, others: readonly KubeObject[], now: string): Json | undefined {
  const { names, versions } = crd.spec
  const clash = conflict(crd, others)
  const was = (type: string) => condition(crd, type)
  const make = (type: string, status: 'True' | 'False', reason: string, message: string): Json => {
    const before = was(type)
    return {
      type,
      status,
      lastTransitionTime: before?.status === status ? before.lastTransitionTime : now,
      reason,
      message,
    }
  }
  const storage = versions.find((v: Json) => v.storage)?.name
  const stored: string[] = crd.status?.storedVersions ?? []
  // Once established, always established.
  const established = !clash || was('Established')?.status === 'True'
  const conditions = [
    clash
      ? make('NamesAccepted', 'False', clash.reason, clash.message)
      : make('NamesAccepted', 'True', 'NoConflicts', 'no conflicts found'),
    established
      ? make('Established', 'True', 'InitialNamesAccepted', 'the initial names have been accepted')
      : make('Established', 'False', 'NotAccepted', 'not all names are accepted'),
    ...((crd.status?.conditions ?? []) as Json[]).filter((c) => c.type !== 'NamesAccepted' && c.type !== 'Established'),
  ]
  const status = {
    ...crd.status,
    acceptedNames: clash ? (crd.status?.acceptedNames ?? { plural: '', kind: '' }) : names,
    storedVersions: stored.includes(storage) ? stored : [...stored, storage],
    conditions,
  }
  return sameJson(status, crd.status) ? undefined : status
}

/** True when the kinds of a CRD are served. */
export function isEstablished(crd: KubeObject): boolean {
  return condition(crd, 'Established')?.status === 'True'
}

const rootSchema = (kind: ResourceKind): Json | undefined => kind.custom?.schema?.openAPIV3Schema
const METADATA = 'io.k8s.apimachinery.pkg.apis.meta.v1.ObjectMeta'

/** An object of a custom kind without the fields its schema does not know, and their paths. */
export function prunedCustom(kind: ResourceKind, input: Json): { object: Json; unknown: string[] } {
  const schema = rootSchema(kind)
  const unknown: string[] = []
  const { apiVersion, kind: name, metadata, ...own } = input
  const { unknown: odd, types } = checkShape(metadata ?? {}, METADATA)
  if (types.length > 0)
    throw errors.badRequest(
      `${kind.kind} in version "${kind.version}" cannot be handled as a ${kind.kind}: json: ${types[0]!.replace('field ', 'field ObjectMeta.')}`,
    )
  unknown.push(...odd.map((path) => `metadata.${path}`))
  let known = metadata
  if (odd.length > 0) {
    known = structuredClone(metadata)
    pruneShape(known, METADATA)
  }
  const kept = schema ? (prune(own, schema, '', unknown) as Json) : own
  if (unknown.length === 0) return { object: input, unknown }
  const head = { ...(apiVersion === undefined ? {} : { apiVersion }), ...(name === undefined ? {} : { kind: name }) }
  return { object: { ...head, ...(metadata === undefined ? {} : { metadata: known }), ...kept }, unknown }
}

/** Prunes an object about to be stored and fills in its schema's defaults, in place. */
export function completeCustom(kind: ResourceKind, object: KubeObject): void {
  const schema = rootSchema(kind)
  if (!schema) return
  const { apiVersion: _a, kind: _k, metadata: _m, ...own } = object
  const kept = prune(own, schema, '', []) as Json
  for (const key of Object.keys(own)) if (!(key in kept)) delete object[key]
  Object.assign(object, kept)
  fillDefaults(object, { ...schema, properties: { ...schema.properties, apiVersion: {}, kind: {}, metadata: {} } })
}

/** What a custom resource has against its schema. */
export function validateCustom(kind: ResourceKind, object: KubeObject): FieldError[] {
  const schema = rootSchema(kind)
  if (!schema) return []
  const { name, generateName } = schema.properties?.metadata?.properties ?? {}
  const metadata: Json =
    name || generateName
      ? { type: 'object', properties: { ...(name ? { name } : {}), ...(generateName ? { generateName } : {}) } }
      : {}
  return validateValue(object, {
    ...schema,
    properties: { ...schema.properties, metadata, apiVersion: {}, kind: {} },
  })
}

/** What is wrong with the schemas of a CRD, and with a change of it. */
export function validateDefinition(crd: KubeObject, old?: KubeObject): FieldError[] {
  const problems: FieldError[] = []
  const { versions = [], names = {}, group, scope } = crd.spec ?? {}
  const seen = new Set<string>()
  for (const [i, v] of (versions as Json[]).entries()) {
    const at = `spec.versions[${i}]`
    for (const p of checkLabel1123(v.name ?? '')) problems.push(field.invalid(`${at}.name`, v.name ?? '', p))
    if (seen.has(v.name)) problems.push(field.duplicate(`${at}.name`, v.name))
    seen.add(v.name)
    if (v.schema?.openAPIV3Schema)
      problems.push(...schemaProblems(v.schema.openAPIV3Schema, `${at}.schema.openAPIV3Schema`))
    for (const [j, c] of ((v.additionalPrinterColumns ?? []) as Json[]).entries()) {
      const column = `${at}.additionalPrinterColumns[${j}]`
      if (!c.name) problems.push(field.required(`${column}.name`))
      if (!c.jsonPath) problems.push(field.required(`${column}.jsonPath`))
      const types = ['boolean', 'date', 'integer', 'number', 'string']
      if (!types.includes(c.type)) problems.push(field.notSupported(`${column}.type`, c.type ?? '', types))
    }
    for (const [j, f] of ((v.selectableFields ?? []) as Json[]).entries()) {
      const of = String(f.jsonPath ?? '')
        .split('.')
        .slice(1)
        .reduce<Json | undefined>((s, key) => s?.properties?.[key], v.schema?.openAPIV3Schema)
      if (!of || !['string', 'boolean', 'integer'].includes(of.type))
        problems.push(
          field.invalid(
            `${at}.selectableFields[${j}].jsonPath`,
            f.jsonPath ?? '',
            'does not refer to a valid field: it must be a string, boolean or integer of the schema',
          ),
        )
    }
    const scale = v.subresources?.scale
    for (const key of ['specReplicasPath', 'statusReplicasPath'])
      if (scale && !scale[key]) problems.push(field.required(`${at}.subresources.scale.${key}`))
    if (scale?.specReplicasPath && !scale.specReplicasPath.startsWith('.spec.'))
      problems.push(
        field.invalid(
          `${at}.subresources.scale.specReplicasPath`,
          scale.specReplicasPath,
          'should be a json path under .spec',
        ),
      )
  }
  if (crd.spec?.preserveUnknownFields === true)
    problems.push(
      field.invalid(
        'spec.preserveUnknownFields',
        true,
        'cannot set to true, set x-kubernetes-preserve-unknown-fields to true in spec.versions[*].schema instead',
      ),
    )
  for (const key of ['plural', 'singular'] as const)
    if (names[key])
      for (const p of checkLabel1123(names[key])) problems.push(field.invalid(`spec.names.${key}`, names[key], p))
  for (const [i, n] of ((names.shortNames ?? []) as string[]).entries())
    for (const p of checkLabel1123(n)) problems.push(field.invalid(`spec.names.shortNames[${i}]`, n, p))
  for (const [i, n] of ((names.categories ?? []) as string[]).entries())
    for (const p of checkLabel1123(n)) problems.push(field.invalid(`spec.names.categories[${i}]`, n, p))
  if (names.kind && names.kind === names.listKind)
    problems.push(field.invalid('spec.names.listKind', names.listKind, 'kind and listKind may not be the same'))
  if (group) for (const p of checkSubdomain(group)) problems.push(field.invalid('spec.group', group, p))
  if (group && !group.includes('.'))
    problems.push(field.invalid('spec.group', group, 'should be a domain with at least one dot'))
  if (!old) return problems
  const fixed = (path: string, now: unknown, before: unknown) => {
    if (isEstablished(old) && now !== before) problems.push(field.invalid(path, now, 'field is immutable'))
  }
  fixed('spec.scope', scope, old.spec.scope)
  fixed('spec.names.kind', names.kind, old.spec.names?.kind)
  if (group !== old.spec.group) problems.push(field.invalid('spec.group', group, 'field is immutable'))
  if (names.plural !== old.spec.names?.plural)
    problems.push(field.invalid('spec.names.plural', names.plural, 'field is immutable'))
  for (const [i, v] of ((crd.status?.storedVersions ?? []) as string[]).entries())
    if (!seen.has(v)) problems.push(field.invalid(`status.storedVersions[${i}]`, v, 'must appear in spec.versions'))
  return problems
}
