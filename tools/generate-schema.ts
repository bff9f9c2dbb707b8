// Generates generated/{kinds,schemas}.json from the models and API classes of @kubernetes/client-node.
// Run at install; nothing it writes is committed.

import { existsSync, mkdirSync, readdirSync, readFileSync, statSync, writeFileSync } from 'node:fs'
import { dirname, join } from 'node:path'
import { fileURLToPath, pathToFileURL } from 'node:url'

const root = join(dirname(fileURLToPath(import.meta.url)), '..')
const gen = join(root, 'node_modules/@kubernetes/client-node/dist/gen')
const out = join(root, 'generated')

interface Operation {
  path: string
  method: string
  body?: string
  returns?: string
}

/** A field of a definition, in JSON-schema words. */
interface Property {
  type?: string
  format?: string
  ref?: string
  items?: Property
  additional?: Property
  description?: string
}

interface Definition {
  description: string
  required: string[]
  properties: Record<string, Property>
}

interface Kind {
  group: string
  version: string
  kind: string
  plural: string
  namespaced: boolean
  verbs: string[]
  subresources: { name: string; verbs: string[] }[]
  model: string
}

/** Served versions: what Kubernetes serves by default, which is what is stable. */
const isStable = (version: string) => /^v\d+$/.test(version)

function readOperations(): Operation[] {
  const operations: Operation[] = []
  for (const file of readdirSync(join(gen, 'apis')).filter((f) => f.endsWith('Api.js'))) {
    const source = readFileSync(join(gen, 'apis', file), 'utf8')
    const bodies = new Map<string, Operation>()
    for (const block of source.split(/\n {4}async /).slice(1)) {
      const name = /^(\w+)\(/.exec(block)?.[1] ?? ''
      const path = /localVarPath = '([^']+)'/.exec(block)?.[1]
      const method = /HttpMethod\.(\w+)/.exec(block)?.[1]
      if (path && method) {
        const operation: Operation = { path, method }
        const body = /serialize\(body, "(\w+)"/.exec(block)?.[1]
        if (body) operation.body = body
        bodies.set(name, operation)
        operations.push(operation)
      }
      const returns = /deserialize\([\s\S]*?"(\w+)", ""\)/.exec(block)?.[1]
      const responder = /^(\w+)WithHttpInfo\(/.exec(block)?.[1]
      const target = responder ? bodies.get(responder) : undefined
      if (target && returns) target.returns = returns
    }
  }
  return operations
}

/** Verbs of named resources; HEAD and OPTIONS are no verbs. */
const VERBS: Record<string, string> = { GET: 'get', PUT: 'update', PATCH: 'patch', DELETE: 'delete', POST: 'create' }

function readKinds(operations: Operation[]): Kind[] {
  const kinds = new Map<string, Kind>()
  const pattern =
    /^\/(?:api\/(v1)|apis\/([^/]+)\/([^/]+))\/(namespaces\/\{namespace\}\/)?([a-z]+)(\/\{name\})?(?:\/([a-z]+))?$/
  for (const op of operations) {
    const m = pattern.exec(op.path)
    if (!m) continue
    const [, core, group = '', apiVersion, namespaced, plural, named, sub] = m
    const version = core ?? apiVersion ?? ''
    if (!isStable(version) || plural === 'watch') continue
    const key = `${group}/${version}/${plural}`
    let kind = kinds.get(key)
    if (!kind) {
      kind = {
        group,
        version,
        kind: '',
        plural: plural ?? '',
        namespaced: false,
        verbs: [],
        subresources: [],
        model: '',
      }
      kinds.set(key, kind)
    }
    if (namespaced) kind.namespaced = true
    const verb = VERBS[op.method]
    if (!verb) continue
    if (sub) {
      let entry = kind.subresources.find((s) => s.name === sub)
      if (!entry) {
        entry = { name: sub, verbs: [] }
        kind.subresources.push(entry)
      }
      if (!entry.verbs.includes(verb)) entry.verbs.push(verb)
      continue
    }
    if (op.method === 'POST' && op.body) kind.model = op.body
    if (op.method === 'PUT' && op.body && !kind.model) kind.model = op.body
    const verbs = named
      ? [verb]
      : op.method === 'GET'
        ? ['list', 'watch']
        : op.method === 'DELETE'
          ? ['deletecollection']
          : [verb]
    for (const v of verbs) if (!kind.verbs.includes(v)) kind.verbs.push(v)
  }
  // Kinds that can only be read (componentstatuses) name their model in what GET returns.
  for (const op of operations) {
    const m = pattern.exec(op.path)
    if (!m?.[6] || m[7] || op.method !== 'GET' || !op.returns) continue
    const kind = kinds.get(`${m[2] ?? ''}/${m[1] ?? m[3]}/${m[5]}`)
    if (kind && !kind.model) kind.model = op.returns
  }
  const list = [...kinds.values()].filter((k) => k.model)
  for (const k of list) k.kind = k.model.replace(/^[A-Z][a-z]+(?=V\d)/, '').replace(/^V\d+((alpha|beta)\d+)?/, '')
  return list.sort((a, b) => `${a.group}/${a.plural}`.localeCompare(`${b.group}/${b.plural}`))
}

interface ModelClass {
  attributeTypeMap?: { baseName: string; type: string; format: string }[]
}

function parseType(type: string, format: string): Property {
  const array = /^Array<(.+)>$/.exec(type)
  if (array) return { type: 'array', items: parseType(array[1]!, format) }
  const map = /^\{ \[key: string\]: (.+); \}$/.exec(type)
  if (map) return { type: 'object', additional: parseType(map[1]!, format) }
  switch (type) {
    case 'string':
      return format ? { type, format } : { type }
    case 'number':
      return format === 'double' || format === 'float'
        ? { type: 'number', format }
        : { type: 'integer', format: format || 'int64' }
    case 'boolean':
      return { type }
    case 'any':
      return {}
    case 'object':
      return { type: 'object' }
    case 'Date':
      return { type: 'string', format: 'date-time' }
    case 'V1MicroTime':
      return { type: 'string', format: 'date-time' }
    case 'IntOrString':
      return { type: 'string', format: 'int-or-string' }
    default:
      return { ref: type }
  }
}

async function readModels(): Promise<Record<string, Definition>> {
  const definitions: Record<string, Definition> = {}
  for (const file of readdirSync(join(gen, 'models')).filter((f) => f.endsWith('.d.ts'))) {
    const name = file.slice(0, -5)
    const module = (await import(pathToFileURL(join(gen, 'models', `${name}.js`)).href)) as Record<string, ModelClass>
    const map = module[name]?.attributeTypeMap
    if (!map) continue
    const source = readFileSync(join(gen, 'models', file), 'utf8')
    const comments = new Map<string, { description: string; optional: boolean }>()
    for (const m of source.matchAll(/(?:\/\*\*\n((?:(?!\*\/)[\s\S])*?)\*\/\n)?\s*'([\w$]+)'(\?)?: /g))
      comments.set(m[2]!, { description: cleanComment(m[1]), optional: m[3] === '?' })
    const head = /\/\*\*\n((?:(?!\/\*\*)[\s\S])*?)\*\/\nexport declare class/.exec(source)
    const definition: Definition = { description: cleanComment(head?.[1]), required: [], properties: {} }
    for (const attribute of map) {
      const property = parseType(attribute.type, attribute.format)
      const tsName = [attribute.baseName, `_${attribute.baseName}`].find((n) => comments.has(n))
      const comment = tsName ? comments.get(tsName) : undefined
      if (comment?.description) property.description = comment.description
      if (comment && !comment.optional) definition.required.push(attribute.baseName)
      definition.properties[attribute.baseName] = property
    }
    definitions[name] = definition
  }
  return definitions
}

function cleanComment(text: string | undefined): string {
  return (text ?? '')
    .replace(/^\s*\* ?/gm, '')
    .trim()
    .replaceAll("\\'", "'")
    .replaceAll('\\"', '"')
}

/** Types every group shares. */
const META =
  /^V1(APIGroup|APIGroupList|APIResource|APIResourceList|APIVersions|Condition|DeleteOptions|FieldSelectorRequirement|GroupVersionForDiscovery|LabelSelector|LabelSelectorRequirement|ListMeta|ManagedFieldsEntry|ObjectMeta|OwnerReference|Preconditions|ServerAddressByClientCIDR|Status|StatusCause|StatusDetails|MicroTime|WatchEvent|ShardInfo)$/

/** Gives each model its OpenAPI name, io.k8s.api.<group>.<version>.<Kind>, by the group that reaches it first. */
function nameModels(kinds: Kind[], definitions: Record<string, Definition>): Map<string, string> {
  const names = new Map<string, string>()
  for (const model of Object.keys(definitions))
    if (META.test(model)) names.set(model, `io.k8s.apimachinery.pkg.apis.meta.v1.${model.slice(2)}`)
  const prefix = (group: string, version: string) => {
    if (group === 'apiextensions.k8s.io') return `io.k8s.apiextensions-apiserver.pkg.apis.apiextensions.${version}`
    if (group === 'apiregistration.k8s.io') return `io.k8s.kube-aggregator.pkg.apis.apiregistration.${version}`
    return `io.k8s.api.${group === '' ? 'core' : group.replace(/\..*$/, '')}.${version}`
  }
  const refs = (p: Property): string[] => [
    ...(p.ref ? [p.ref] : []),
    ...(p.items ? refs(p.items) : []),
    ...(p.additional ? refs(p.additional) : []),
  ]
  const order = [...kinds].sort((a, b) => (a.group === '' ? 0 : 1) - (b.group === '' ? 0 : 1))
  for (const kind of order) {
    const queue = [kind.model, `${kind.model}List`]
    for (let model = queue.shift(); model; model = queue.shift()) {
      const definition = definitions[model]
      if (!definition || names.has(model)) continue
      const short = model.replace(/^[A-Z][a-z]+(?=V\d)/, '').replace(/^V\d+((alpha|beta)\d+)?/, '')
      names.set(model, `${prefix(kind.group, kind.version)}.${short}`)
      for (const p of Object.values(definition.properties)) queue.push(...refs(p))
    }
  }
  return names
}

function rename(property: Property, names: Map<string, string>): Property {
  const result: Property = { ...property }
  if (property.ref) {
    const name = names.get(property.ref)
    if (name) result.ref = name
    else delete result.ref
  }
  if (property.items) result.items = rename(property.items, names)
  if (property.additional) result.additional = rename(property.additional, names)
  return result
}

async function main(): Promise<void> {
  const stamp = join(out, 'kinds.json')
  const self = fileURLToPath(import.meta.url)
  const manifest = join(root, 'node_modules/@kubernetes/client-node/package.json')
  if (existsSync(stamp) && statSync(stamp).mtimeMs > Math.max(statSync(self).mtimeMs, statSync(manifest).mtimeMs))
    return
  const kinds = readKinds(readOperations())
  const definitions = await readModels()
  const names = nameModels(kinds, definitions)
  const schemas: Record<string, Omit<Definition, 'description'>> = {}
  const descriptions: Record<string, Record<string, string>> = {}
  for (const [model, name] of names) {
    const definition = definitions[model]
    if (!definition) continue
    const properties: Record<string, Property> = {}
    const texts: Record<string, string> = { '': definition.description }
    for (const [field, property] of Object.entries(definition.properties)) {
      const { description, ...rest } = rename(property, names)
      properties[field] = rest
      if (description) texts[field] = description
    }
    schemas[name] = { required: definition.required, properties }
    descriptions[name] = texts
  }
  for (const kind of kinds) kind.model = names.get(kind.model) ?? kind.model
  mkdirSync(out, { recursive: true })
  writeFileSync(join(out, 'schemas.json'), JSON.stringify(schemas))
  writeFileSync(join(out, 'descriptions.json'), JSON.stringify(descriptions))
  writeFileSync(stamp, JSON.stringify(kinds, null, 1))
  process.stderr.write(`generated ${kinds.length} kinds, ${Object.keys(schemas).length} schemas\n`)
}

await main()
