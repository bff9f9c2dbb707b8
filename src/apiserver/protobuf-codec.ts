// Kubernetes' protobuf: objects to bytes and back, by the field numbers generated at set-up.
// The envelope is runtime.Unknown behind "k8s\0"; what JSON writes differently is converted here.

import { existsSync, readFileSync } from 'node:fs'
import { errors, generatedFile, type Json } from '#api'
import { type FieldSpec, type Message, MessageType, mapOf, message, repeated, type Scalar } from '#wire'
import { knownMessages } from './protobuf-fields.ts'

export const PROTOBUF = 'application/vnd.kubernetes.protobuf'
const MAGIC = Buffer.from('k8s\0')

type FieldEntry = readonly [number: number, type: string, shape?: 'many' | 'map']
type Table = Record<string, Record<string, FieldEntry>>

const META = 'k8s.io.apimachinery.pkg.apis.meta.v1'
const QUANTITY = 'k8s.io.apimachinery.pkg.api.resource.Quantity'
const INT_OR_STRING = 'k8s.io.apimachinery.pkg.util.intstr.IntOrString'
const RAW = 'k8s.io.apimachinery.pkg.runtime.RawExtension'

let loaded: Table | undefined

/** Messages by name; read once, on first use. Empty when set-up found none. */
function table(): Table {
  if (loaded) return loaded
  const file = generatedFile('protobuf.json')
  const found = existsSync(file) ? (JSON.parse(readFileSync(file, 'utf8')) as Table) : {}
  loaded = knownMessages()
  // What set-up found counts; what it did not is known here.
  for (const [name, fields] of Object.entries(found)) loaded[name] = { ...loaded[name], ...fields }
  return loaded
}

const types = new Map<string, MessageType>()

function typeOf(name: string): MessageType {
  let type = types.get(name)
  if (!type) {
    const fields: Record<string, FieldSpec> = {}
    for (const [field, [number, ref, shape]] of Object.entries(table()[name] ?? {})) {
      const inner = ref.includes('.') ? () => typeOf(ref) : (ref as Scalar)
      fields[field] = [number, shape === 'many' ? repeated(inner) : shape === 'map' ? mapOf(inner) : inner]
    }
    // A field without a name here would be lost in silence: better refused.
    type = new MessageType(name, fields, { strict: true })
    types.set(name, type)
  }
  return type
}

/** Kinds whose message stands in another group or version of the API. */
const ELSEWHERE: Record<string, string> = {
  DeleteOptions: `${META}.DeleteOptions`,
  CreateOptions: `${META}.CreateOptions`,
  Status: `${META}.Status`,
  'policy/v1/Eviction': 'k8s.io.api.policy.v1.Eviction',
}

/** The message of a kind in an API version; undefined when there is none. */
export function messageOf(apiVersion: string, kind: string): string | undefined {
  const own = ELSEWHERE[kind] ?? ELSEWHERE[`${apiVersion}/${kind}`]
  if (own) return own
  const [group = '', version] = apiVersion.includes('/') ? apiVersion.split('/') : ['', apiVersion]
  // Of names with a dot only Kubernetes' own have messages: apps.example.com is not apps.
  if (group.includes('.') && !group.endsWith('.k8s.io')) return undefined
  // "rbac.authorization.k8s.io" is the package rbac; "apps" is apps; the core group is core.
  const short = (group || 'core').split('.')[0]
  const name = `k8s.io.api.${short}.${version}.${kind}`
  if (table()[name]) return name
  // An old kubectl knows a version's forerunner, with the same numbers.
  const before = version === 'v1' ? 'v1beta1' : version === 'v2' ? 'v2beta2' : ''
  const forerunner = `k8s.io.api.${short}.${before}.${kind}`
  return table()[forerunner] ? forerunner : undefined
}

/** Fields whose message JSON writes into the parent. */
const INLINE = new Set([
  'volumeSource',
  'persistentVolumeSource',
  'ephemeralContainerCommon',
  'localObjectReference',
  'deviceConfiguration',
  'ruleWithOperations',
  'ingressRuleValue',
  'Probe.handler',
  'RuleWithOperations.rule',
])
const isInline = (type: string, field: string) =>
  INLINE.has(field) || INLINE.has(`${type.slice(type.lastIndexOf('.') + 1)}.${field}`)

/** What JSON calls a field. */
function jsonName(message: string, field: string): string {
  // Some .proto files write names as Go does.
  if (/^[A-Z]/.test(field)) return field[0]!.toLowerCase() + field.slice(1)
  if (!message.endsWith('.JSONSchemaProps')) return field
  if (field === 'ref' || field === 'schema') return `$${field}`
  // xKubernetesListType is x-kubernetes-list-type.
  return field.startsWith('xKubernetes') ? field.replace(/[A-Z]/g, (c) => `-${c.toLowerCase()}`) : field
}

const SCHEMA = 'k8s.io.api.apiextensions.v1.JSONSchemaProps'

/** Messages that are one list in JSON. */
const LISTS = new Set([
  `${META}.Verbs`,
  'k8s.io.api.authentication.v1.ExtraValue',
  'k8s.io.api.authorization.v1.ExtraValue',
  'k8s.io.api.certificates.v1.ExtraValue',
])

/**
 * Fields in which nothing and zero differ (pointers in Go). Elsewhere a zero is what Go writes for
 * "not set", and is left out, as its JSON does.
 */
const POINTERS = new Set(
  `allowVolumeExpansion attachRequired borrowingLimitPercent count currentCPUUtilizationPercentage lendablePercent
  maxSurge maxUnavailable minAvailable minDomains nominalConcurrencyShares podInfoOnMount port requiresRepublish
  seLinuxMount setHostnameAsFQDN stabilizationWindowSeconds storageCapacity targetCPUUtilizationPercentage
  terminatingReplicas timeoutSeconds tokenExpirationSeconds
  activeDeadlineSeconds allocateLoadBalancerNodePorts allowPrivilegeEscalation automountServiceAccountToken
  averageUtilization backoffLimit backoffLimitPerIndex blockOwnerDeletion completions controller defaultMode
  deletionGracePeriodSeconds enableServiceLinks expirationSeconds failedJobsHistoryLimit fsGroup gracePeriodSeconds
  hostProcess hostUsers immutable leaseDurationSeconds leaseTransitions limitBytes manualSelector maxFailedIndexes
  minReplicas mode optional orphanDependents parallelism partition priority privileged progressDeadlineSeconds
  readOnlyRootFilesystem ready remainingItemCount replicas revisionHistoryLimit runAsGroup runAsNonRoot runAsUser
  serving shareProcessNamespace sinceSeconds startingDeadlineSeconds started storageClassName
  successfulJobsHistoryLimit suspend tailLines terminating terminationGracePeriodSeconds tolerationSeconds
  ttlSecondsAfterFinished
  maximum minimum maxLength minLength maxItems minItems multipleOf maxProperties minProperties
  xKubernetesPreserveUnknownFields served storage insecureSkipTLSVerify bool int allNodes
  perDeviceNodeSelection`.split(/\s+/),
)
/** The same names where they are no pointers: their zeros are left out like Go's omitempty does. */
const VALUES_IN = new Set([
  'Event.count',
  'EventSeries.count',
  'Probe.timeoutSeconds',
  'DeploymentStatus.replicas',
  'ReplicaSetStatus.replicas',
  'StatefulSetStatus.replicas',
  'ContainerStatus.ready',
])

function toJson(value: Message, name: string): Json {
  const result: Json = {}
  const short = name.slice(name.lastIndexOf('.') + 1)
  for (const [field, [, ref, shape]] of Object.entries(table()[name] ?? {})) {
    const item = value[field]
    if (item === undefined) continue
    const key = jsonName(name, field)
    if (shape === 'map')
      result[key] = Object.fromEntries(Object.entries(item as Json).map(([k, v]) => [k, valueToJson(v, ref)]))
    else if (shape === 'many') {
      if (item.length > 0) result[key] = item.map((v: unknown) => valueToJson(v, ref))
    } else if (isInline(name, field)) Object.assign(result, toJson(item, ref))
    else {
      const json = valueToJson(item, ref)
      const nothing = json === '' || json === 0 || json === false
      if (json === undefined || (nothing && (!POINTERS.has(field) || VALUES_IN.has(`${short}.${field}`)))) continue
      result[key] = json
    }
  }
  return result
}

function valueToJson(value: unknown, ref: string): unknown {
  if (value instanceof Uint8Array) return Buffer.from(value).toString('base64')
  if (typeof value !== 'object' || value === null) return value
  const m = value as Message
  switch (ref) {
    case QUANTITY:
      return m.string ?? '0'
    case INT_OR_STRING:
      return m.type ? (m.strVal ?? '') : (m.intVal ?? 0)
    case `${META}.Time`:
      return m.seconds === undefined && m.nanos === undefined
        ? undefined
        : new Date((m.seconds ?? 0) * 1000).toISOString().replace('.000Z', 'Z')
    case `${META}.MicroTime`: {
      if (m.seconds === undefined && m.nanos === undefined) return undefined
      const micros = String(Math.floor((m.nanos ?? 0) / 1000)).padStart(6, '0')
      return new Date((m.seconds ?? 0) * 1000).toISOString().replace('.000Z', `.${micros}Z`)
    }
    case `${META}.FieldsV1`:
      return m.Raw ? JSON.parse(Buffer.from(m.Raw).toString()) : {}
    case 'k8s.io.api.apiextensions.v1.JSON':
      return m.raw ? JSON.parse(Buffer.from(m.raw).toString()) : null
    case `${SCHEMA}OrBool`:
      return m.schema ? toJson(m.schema, SCHEMA) : (m.allows ?? false)
    case `${SCHEMA}OrArray`:
      return m.schema ? toJson(m.schema, SCHEMA) : (m.jSONSchemas ?? []).map((s: Message) => toJson(s, SCHEMA))
    case `${SCHEMA}OrStringArray`:
      return m.schema ? toJson(m.schema, SCHEMA) : (m.property ?? [])
    case RAW:
      return m.raw ? decodeRaw(Buffer.from(m.raw.buffer, m.raw.byteOffset, m.raw.byteLength)) : undefined
  }
  if (LISTS.has(ref)) return m.items ?? []
  return toJson(m, ref)
}

/** Objects within objects (raw extensions) at most. */
const MAX_NESTING = 8
let nesting = 0

function decodeRaw(raw: Buffer): unknown {
  if (!raw.subarray(0, 4).equals(MAGIC)) return JSON.parse(raw.toString())
  if (nesting >= MAX_NESTING)
    throw errors.badRequest(`the request body has objects within objects more than ${MAX_NESTING} deep`)
  nesting++
  try {
    return decodeProtobuf(raw)
  } finally {
    nesting--
  }
}

/** Fields of JSON that a message can carry, those of messages written into it included. */
const carried = new Map<string, ReadonlySet<string>>()

function carriedBy(name: string): ReadonlySet<string> {
  let keys = carried.get(name)
  if (!keys) {
    keys = new Set(
      Object.entries(table()[name] ?? {}).flatMap(([field, [, ref]]) =>
        isInline(name, field) ? [...carriedBy(ref)] : [jsonName(name, field)],
      ),
    )
    carried.set(name, keys)
  }
  return keys
}

/** Thrown for an object with a field that its message does not have: it goes out as JSON. */
class NotCarried extends Error {}

/** Set while an object is encoded for a stream that has begun as protobuf: what is not carried is left out. */
let partly = false

function fromJson(object: Json, name: string, inline = false): Message {
  const result: Message = {}
  if (!inline && !partly) {
    const keys = carriedBy(name)
    for (const key in object)
      if (!keys.has(key) && key !== 'apiVersion' && key !== 'kind' && object[key] !== undefined)
        throw new NotCarried(`${name} has no field ${key}`)
  }
  for (const [field, [, ref, shape]] of Object.entries(table()[name] ?? {})) {
    if (isInline(name, field)) {
      const inner = fromJson(object, ref, true)
      if (Object.keys(inner).length > 0) result[field] = inner
      continue
    }
    const item = object[jsonName(name, field)]
    if (item === undefined || item === null) continue
    if (shape === 'map')
      result[field] = Object.fromEntries(Object.entries(item as Json).map(([k, v]) => [k, valueFromJson(v, ref)]))
    else result[field] = shape === 'many' ? item.map((v: unknown) => valueFromJson(v, ref)) : valueFromJson(item, ref)
  }
  return result
}

function valueFromJson(value: unknown, ref: string): unknown {
  switch (ref) {
    case 'bytes':
      return Buffer.from(String(value), 'base64')
    case QUANTITY:
      return { string: String(value) }
    case INT_OR_STRING:
      return typeof value === 'number' ? { type: 0, intVal: value } : { type: 1, strVal: String(value) }
    case `${META}.Time`:
    case `${META}.MicroTime`: {
      const ms = Date.parse(String(value))
      const micros = /\.(\d+)/.exec(String(value))?.[1]?.padEnd(9, '0').slice(0, 9)
      return { seconds: Math.floor(ms / 1000), nanos: ref.endsWith('MicroTime') ? Number(micros ?? 0) : 0 }
    }
    case `${META}.FieldsV1`:
      return { Raw: Buffer.from(JSON.stringify(value)) }
    case RAW:
    case 'k8s.io.api.apiextensions.v1.JSON':
      return { raw: Buffer.from(JSON.stringify(value)) }
    case `${SCHEMA}OrBool`:
      return typeof value === 'boolean' ? { allows: value } : { allows: true, schema: fromJson(value as Json, SCHEMA) }
    case `${SCHEMA}OrArray`:
      return Array.isArray(value)
        ? { jSONSchemas: value.map((s) => fromJson(s, SCHEMA)) }
        : { schema: fromJson(value as Json, SCHEMA) }
    case `${SCHEMA}OrStringArray`:
      return Array.isArray(value) ? { property: value } : { schema: fromJson(value as Json, SCHEMA) }
  }
  if (LISTS.has(ref)) return { items: value }
  return ref.includes('.') ? fromJson(value as Json, ref) : value
}

const TypeMeta = message('TypeMeta', { apiVersion: [1, 'string'], kind: [2, 'string'] })
const Unknown = message('runtime.Unknown', {
  typeMeta: [1, TypeMeta],
  raw: [2, 'bytes'],
  contentEncoding: [3, 'string'],
  contentType: [4, 'string'],
})

/** An object or list as bytes with its envelope; undefined for what has no message, or more than it carries. */
export function encodeProtobuf(object: Json): Buffer | undefined {
  const name = messageOf(object.apiVersion ?? '', object.kind ?? '')
  if (!name) return undefined
  let fields: Message
  try {
    fields = fromJson(object, name)
  } catch (error) {
    if (error instanceof NotCarried) return undefined
    throw error
  }
  const raw = typeOf(name).encode(fields)
  return Buffer.concat([
    MAGIC,
    Unknown.encode({
      typeMeta: { apiVersion: object.apiVersion, kind: object.kind },
      raw,
      contentEncoding: '',
      contentType: '',
    }),
  ])
}

const WatchEvent = message('WatchEvent', {
  type: [1, 'string'],
  object: [2, message('RawExtension', { raw: [1, 'bytes'] })],
})

/** A watch event as a frame: its length in four bytes, then the event. */
export function encodeWatchFrame(type: string, object: Json): Buffer | undefined {
  partly = true
  let raw: Buffer | undefined
  try {
    raw = encodeProtobuf(object)
  } finally {
    partly = false
  }
  if (!raw) return undefined
  const event = WatchEvent.encode({ type, object: { raw } })
  const length = Buffer.alloc(4)
  length.writeUInt32BE(event.length)
  return Buffer.concat([length, event])
}

/** Decodes a body. Fails with UnsupportedMediaType for what is only read as JSON, with BadRequest for bad bytes. */
export function decodeProtobuf(body: Buffer): Json {
  if (!body.subarray(0, 4).equals(MAGIC))
    throw errors.badRequest('the request body is not Kubernetes protobuf: it does not begin with "k8s"')
  let envelope: Message
  try {
    envelope = Unknown.decode(body.subarray(4))
  } catch (error) {
    throw errors.badRequest(`couldn't parse the request body: ${(error as Error).message}`)
  }
  const { apiVersion = '', kind = '' } = (envelope.typeMeta ?? {}) as { apiVersion?: string; kind?: string }
  const name = messageOf(apiVersion, kind)
  if (!name)
    throw errors.unsupportedMediaType(
      `${kind} in version "${apiVersion}" is not read as protobuf by this server: send application/json`,
    )
  let object: Message
  try {
    object = typeOf(name).decode(envelope.raw ?? new Uint8Array())
  } catch (error) {
    const { code, message: text } = error as { code?: string; message: string }
    if (code === 'UnknownField') throw errors.unsupportedMediaType(`${text}: send application/json`)
    throw errors.badRequest(`couldn't parse the request body: ${text}`)
  }
  return { apiVersion, kind, ...toJson(object, name) }
}
