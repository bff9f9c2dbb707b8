// OpenAPI documents: v2 for the whole server, v3 a group-version, from the same definitions and paths.

import { createHash } from 'node:crypto'
import { readFileSync } from 'node:fs'
import { generatedFile, type Json, type KindRegistry, mergeRule, type Property, type ResourceKind, schemas } from '#api'

/** How a document points at definitions. */
interface Dialect {
  readonly prefix: string
  readonly v3: boolean
}

const V2: Dialect = { prefix: '#/definitions/', v3: false }
const V3: Dialect = { prefix: '#/components/schemas/', v3: true }

/** Descriptions are large and rarely read: loaded for a document, then let go. */
function loadDescriptions(): Record<string, Record<string, string>> {
  return JSON.parse(readFileSync(generatedFile('descriptions.json'), 'utf8'))
}

function propertyJson(property: Property, dialect: Dialect, description: string | undefined): Json {
  const base: Json = description ? { description } : {}
  if (property.ref) {
    const $ref = dialect.prefix + property.ref
    return dialect.v3 ? { ...base, allOf: [{ $ref }], default: {} } : { ...base, $ref }
  }
  if (property.format === 'int-or-string')
    return {
      ...base,
      type: 'string',
      format: 'int-or-string',
      ...(dialect.v3 ? { oneOf: [{ type: 'integer' }, { type: 'string' }] } : {}),
    }
  if (property.type) base.type = property.type
  if (property.format) base.format = property.format
  if (property.items) base.items = propertyJson(property.items, dialect, undefined)
  if (property.additional) base.additionalProperties = propertyJson(property.additional, dialect, undefined)
  return base
}

function definitionJson(
  name: string,
  dialect: Dialect,
  descriptions: Record<string, Record<string, string>>,
  gvks: Map<string, Json[]>,
): Json {
  const definition = schemas()[name]
  const texts = descriptions[name] ?? {}
  const properties: Json = {}
  for (const [key, property] of Object.entries(definition?.properties ?? {})) {
    // A field that is an object is described by what it is, where the field itself is not.
    const type = property.ref ?? property.items?.ref ?? property.additional?.ref
    const json = propertyJson(property, dialect, texts[key] ?? (type && descriptions[type]?.['']))
    const rule = mergeRule(name, key)
    if (rule) {
      if (rule.key) json['x-kubernetes-patch-merge-key'] = rule.key
      json['x-kubernetes-patch-strategy'] = [rule.merge ? 'merge' : '', rule.retainKeys ? 'retainKeys' : '']
        .filter(Boolean)
        .join(',')
    }
    properties[key] = json
  }
  const result: Json = { description: texts[''] ?? '', type: 'object' }
  if (definition?.required.length) result.required = definition.required
  if (Object.keys(properties).length > 0) result.properties = properties
  const gvk = gvks.get(name)
  if (gvk) result['x-kubernetes-group-version-kind'] = gvk
  return result
}

const gvkOf = (kind: ResourceKind): Json => ({ group: kind.group, kind: kind.kind, version: kind.version })

/** The definition's name of a custom kind: the group reversed, as upstream does. */
export function customModel(kind: ResourceKind): string {
  return `${kind.group.split('.').reverse().join('.')}.${kind.version}.${kind.kind}`
}

function customSchema(kind: ResourceKind, dialect: Dialect): Json {
  const schema: Json = structuredClone(kind.custom?.schema?.openAPIV3Schema ?? { type: 'object' })
  // OpenAPI v2 has no words for an object that takes everything.
  if (!dialect.v3 && schema['x-kubernetes-preserve-unknown-fields'])
    return { type: 'object', 'x-kubernetes-group-version-kind': [gvkOf(kind)] }
  const meta = `${dialect.prefix}io.k8s.apimachinery.pkg.apis.meta.v1.ObjectMeta`
  schema.properties = {
    apiVersion: {
      type: 'string',
      description: 'APIVersion defines the versioned schema of this representation of an object.',
    },
    kind: {
      type: 'string',
      description: 'Kind is a string value representing the REST resource this object represents.',
    },
    metadata: dialect.v3
      ? { allOf: [{ $ref: meta }], description: 'Standard object metadata.' }
      : { $ref: meta, description: 'Standard object metadata.' },
    ...schema.properties,
  }
  if (!dialect.v3) stripV2(schema)
  schema['x-kubernetes-group-version-kind'] = [gvkOf(kind)]
  return schema
}

/** Removes what OpenAPI v2 has no words for; an open object loses its type, so that nothing in it is refused. */
function stripV2(schema: Json): void {
  for (const key of ['oneOf', 'anyOf', 'not', 'nullable', 'default', 'allOf']) delete schema[key]
  if (schema['x-kubernetes-preserve-unknown-fields']) {
    delete schema.properties
    delete schema.items
    delete schema.type
  }
  for (const child of Object.values<Json>(schema.properties ?? {})) stripV2(child)
  if (schema.items) stripV2(schema.items)
  if (typeof schema.additionalProperties === 'object') stripV2(schema.additionalProperties)
}

const QUERY: Record<string, [type: string, description: string]> = {
  dryRun: ['string', 'When present, indicates that modifications should not be persisted. Valid values: All.'],
  fieldManager: ['string', 'The name of the actor or entity that is making these changes.'],
  fieldValidation: ['string', 'What to do with unknown or duplicate fields. Valid values: Ignore, Warn, Strict.'],
  force: ['boolean', 'Force takes ownership of fields owned by other managers in an apply.'],
}

const METHODS: Record<string, { method: string; action: string; query: string[] }> = {
  create: { method: 'post', action: 'post', query: ['dryRun', 'fieldManager', 'fieldValidation'] },
  update: { method: 'put', action: 'put', query: ['dryRun', 'fieldManager', 'fieldValidation'] },
  patch: { method: 'patch', action: 'patch', query: ['dryRun', 'fieldManager', 'fieldValidation', 'force'] },
  delete: { method: 'delete', action: 'delete', query: ['dryRun'] },
  get: { method: 'get', action: 'get', query: [] },
  list: { method: 'get', action: 'list', query: [] },
  deletecollection: { method: 'delete', action: 'deletecollection', query: ['dryRun'] },
}

function pathsOf(kind: ResourceKind, dialect: Dialect): Record<string, Json> {
  const root = kind.group ? `/apis/${kind.group}/${kind.version}` : `/api/${kind.version}`
  const collection = `${root}${kind.namespaced ? '/namespaces/{namespace}' : ''}/${kind.plural}`
  const ref = { $ref: dialect.prefix + (kind.model ?? customModel(kind)) }
  const operation = (verb: string): Json => {
    const { action, query } = METHODS[verb]!
    const parameters = query.map((name) => {
      const [type, description] = QUERY[name]!
      return dialect.v3
        ? { name, in: 'query', description, schema: { type, uniqueItems: true } }
        : { name, in: 'query', description, type, uniqueItems: true }
    })
    const body = verb === 'create' || verb === 'update' || verb === 'patch'
    return {
      operationId: `${verb}${kind.group.replace(/\W/g, '')}${kind.version}${kind.kind}`,
      parameters:
        body && !dialect.v3 ? [...parameters, { name: 'body', in: 'body', required: true, schema: ref }] : parameters,
      responses: {
        200: dialect.v3
          ? { description: 'OK', content: { 'application/json': { schema: ref } } }
          : { description: 'OK', schema: ref },
      },
      'x-kubernetes-action': action,
      'x-kubernetes-group-version-kind': gvkOf(kind),
    }
  }
  const item = (verbs: string[]): Json =>
    Object.fromEntries(verbs.filter((v) => kind.verbs.includes(v)).map((v) => [METHODS[v]!.method, operation(v)]))
  const everywhere = `${root}/${kind.plural}`
  return {
    // kubectl explain finds a kind by this path.
    ...(kind.namespaced && kind.verbs.includes('list')
      ? {
          [everywhere]: {
            get: {
              ...operation('list'),
              operationId: `list${kind.group.replace(/\W/g, '')}${kind.version}${kind.kind}ForAllNamespaces`,
            },
          },
        }
      : {}),
    [collection]: item(['list', 'create', 'deletecollection']),
    [`${collection}/{name}`]: item(['get', 'update', 'patch', 'delete']),
  }
}

/** Which definitions name which kinds. */
function gvksOf(kinds: readonly ResourceKind[]): Map<string, Json[]> {
  const map = new Map<string, Json[]>()
  for (const kind of kinds) {
    if (!kind.model) continue
    // Versions of the same shape share a definition.
    map.set(kind.model, [...(map.get(kind.model) ?? []), gvkOf(kind)])
    const list = `${kind.model}List`
    map.set(list, [...(map.get(list) ?? []), { ...gvkOf(kind), kind: `${kind.kind}List` }])
  }
  return map
}

/** Names of all definitions that a definition leads to, itself included. */
function closure(names: Iterable<string>): Set<string> {
  const all = schemas()
  const seen = new Set<string>()
  const queue = [...names]
  const refs = (p: Property): void => {
    if (p.ref) queue.push(p.ref)
    if (p.items) refs(p.items)
    if (p.additional) refs(p.additional)
  }
  for (let name = queue.pop(); name; name = queue.pop()) {
    if (seen.has(name) || !all[name]) continue
    seen.add(name)
    for (const property of Object.values(all[name]!.properties)) refs(property)
  }
  return seen
}

const INFO = (version: string) => ({ title: 'Kubernetes', version })

/** The OpenAPI v2 document of everything served. */
export function openApiV2(registry: KindRegistry, version: string): Json {
  const kinds = registry.all()
  const descriptions = loadDescriptions()
  const gvks = gvksOf(kinds)
  const definitions: Json = {}
  for (const name of Object.keys(schemas())) definitions[name] = definitionJson(name, V2, descriptions, gvks)
  const paths: Json = {}
  for (const kind of kinds) {
    if (kind.custom) definitions[customModel(kind)] = customSchema(kind, V2)
    Object.assign(paths, pathsOf(kind, V2))
  }
  return { swagger: '2.0', info: INFO(version), paths, definitions }
}

/** The OpenAPI v3 document of one group-version. */
export function openApiV3(registry: KindRegistry, group: string, apiVersion: string, version: string): Json {
  const kinds = registry.all().filter((k) => k.group === group && k.version === apiVersion)
  const descriptions = loadDescriptions()
  const gvks = gvksOf(kinds)
  const components: Json = {}
  const roots = kinds.flatMap((k) =>
    k.model ? [k.model, `${k.model}List`] : ['io.k8s.apimachinery.pkg.apis.meta.v1.ObjectMeta'],
  )
  for (const name of closure([
    ...roots,
    'io.k8s.apimachinery.pkg.apis.meta.v1.Status',
    'io.k8s.apimachinery.pkg.apis.meta.v1.DeleteOptions',
  ]))
    components[name] = definitionJson(name, V3, descriptions, gvks)
  const paths: Json = {}
  for (const kind of kinds) {
    if (kind.custom) components[customModel(kind)] = customSchema(kind, V3)
    Object.assign(paths, pathsOf(kind, V3))
  }
  return { openapi: '3.0.0', info: INFO(version), paths, components: { schemas: components } }
}

/** The hash of what a group version serves; it changes with any of its kinds. */
export function openApiHash(registry: KindRegistry, group: string, version: string): string {
  const kinds = registry.all().filter((k) => k.group === group && k.version === version)
  const text = JSON.stringify(kinds.map((k) => [k.plural, k.kind, k.verbs, k.subresources, k.custom]))
  return createHash('sha256').update(text).digest('hex').slice(0, 32).toUpperCase()
}

/** The index of OpenAPI v3: a document a group version, named with its hash so that it may be kept for ever. */
export function openApiV3Index(registry: KindRegistry): Json {
  const paths: Json = {}
  for (const { group, version } of registry.all()) {
    const path = group ? `apis/${group}/${version}` : `api/${version}`
    paths[path] ??= { serverRelativeURL: `/openapi/v3/${path}?hash=${openApiHash(registry, group, version)}` }
  }
  return { paths }
}
