// Validation of volumes, claims, classes and attachments.

import { immutable, oneOf, quantity, selectorProblems } from './checks.ts'
import { checkQualifiedName, checkSubdomain } from './names.ts'
import { parseQuantity } from './quantity.ts'
import { type FieldError, field } from './status.ts'
import { type Json, sameJson } from './types.ts'

const ACCESS = ['ReadOnlyMany', 'ReadWriteMany', 'ReadWriteOnce', 'ReadWriteOncePod']
const SOURCES = [
  'hostPath',
  'local',
  'nfs',
  'csi',
  'iscsi',
  'fc',
  'cephfs',
  'rbd',
  'glusterfs',
  'awsElasticBlockStore',
  'gcePersistentDisk',
  'azureDisk',
  'azureFile',
  'cinder',
  'flexVolume',
  'flocker',
  'photonPersistentDisk',
  'portworxVolume',
  'quobyte',
  'scaleIO',
  'storageos',
  'vsphereVolume',
]

function accessModes(modes: string[] | undefined, at: string): FieldError[] {
  const problems: FieldError[] = []
  if (!modes?.length) problems.push(field.required(at, 'at least 1 access mode is required'))
  for (const mode of modes ?? []) if (!ACCESS.includes(mode)) problems.push(field.notSupported(at, mode, ACCESS))
  if (modes?.includes('ReadWriteOncePod') && modes.length > 1)
    problems.push(field.forbidden(at, 'may not use ReadWriteOncePod with other access modes'))
  return problems
}

export function volume(o: Json, old?: Json): FieldError[] {
  const spec = o.spec ?? {}
  const problems = accessModes(spec.accessModes, 'spec.accessModes')
  if (!spec.capacity || Object.keys(spec.capacity).length === 0) problems.push(field.required('spec.capacity'))
  else if (spec.capacity.storage === undefined)
    problems.push(field.notSupported('spec.capacity', Object.keys(spec.capacity)[0], ['storage']))
  for (const [name, value] of Object.entries(spec.capacity ?? {}))
    problems.push(...quantity(value, `spec.capacity[${name}]`))
  const sources = SOURCES.filter((s) => spec[s])
  if (sources.length === 0) problems.push(field.required('spec', 'must specify a volume type'))
  for (const extra of sources.slice(1))
    problems.push(field.forbidden(`spec.${extra}`, 'may not specify more than 1 volume type'))
  if (spec.hostPath && !spec.hostPath.path) problems.push(field.required('spec.hostPath.path'))
  if (spec.local && !spec.nodeAffinity)
    problems.push(field.required('spec.nodeAffinity', 'Local volume requires node affinity'))
  problems.push(
    ...oneOf(spec.persistentVolumeReclaimPolicy, 'spec.persistentVolumeReclaimPolicy', ['Delete', 'Recycle', 'Retain']),
  )
  problems.push(...oneOf(spec.volumeMode, 'spec.volumeMode', ['Block', 'Filesystem']))
  if (!old) return problems
  const source = (s: Json) => Object.fromEntries(SOURCES.filter((k) => s?.[k]).map((k) => [k, s[k]]))
  if (!sameJson(source(spec), source(old.spec)))
    problems.push(
      field.forbidden('spec.persistentvolumesource', 'spec.persistentvolumesource is immutable after creation'),
    )
  problems.push(...immutable(spec.volumeMode, old.spec?.volumeMode, 'spec.volumeMode'))
  return problems
}

export function claim(o: Json, old?: Json): FieldError[] {
  const spec = o.spec ?? {}
  const problems = accessModes(spec.accessModes, 'spec.accessModes')
  const size = spec.resources?.requests?.storage
  if (size === undefined) problems.push(field.required('spec.resources[storage]'))
  else {
    const wrong = quantity(size, 'spec.resources[storage]')
    problems.push(...wrong)
    if (wrong.length === 0 && !(parseQuantity(size)! > 0))
      problems.push(field.invalid('spec.resources[storage]', size, 'must be greater than zero'))
  }
  if (spec.storageClassName)
    for (const p of checkSubdomain(spec.storageClassName))
      problems.push(field.invalid('spec.storageClassName', spec.storageClassName, p))
  problems.push(...oneOf(spec.volumeMode, 'spec.volumeMode', ['Block', 'Filesystem']))
  if (!old) return problems
  const fixed = ({ resources: _r, volumeName: _v, volumeAttributesClassName: _c, ...rest }: Json) => rest
  const before = old.spec ?? {}
  const bound = old.status?.phase === 'Bound'
  const moved = before.volumeName && spec.volumeName !== before.volumeName
  if (!sameJson(fixed(spec), fixed(before)) || moved || (!bound && !sameJson(spec.resources, before.resources)))
    problems.push(
      field.forbidden(
        'spec',
        'spec is immutable after creation except resources.requests and volumeAttributesClassName for bound claims',
      ),
    )
  else if (parseQuantity(size)! < parseQuantity(before.resources?.requests?.storage ?? '0')!)
    problems.push(field.forbidden('spec.resources.requests.storage', 'field can not be less than status.capacity'))
  return problems
}

export function storageClass(o: Json, old?: Json): FieldError[] {
  const problems: FieldError[] = []
  if (!o.provisioner) problems.push(field.required('provisioner'))
  problems.push(...oneOf(o.reclaimPolicy, 'reclaimPolicy', ['Delete', 'Retain']))
  problems.push(...oneOf(o.volumeBindingMode, 'volumeBindingMode', ['Immediate', 'WaitForFirstConsumer'], true))
  if (!old) return problems
  for (const key of ['parameters', 'provisioner', 'reclaimPolicy'])
    if (!sameJson(o[key] ?? null, old[key] ?? null))
      problems.push(field.forbidden(key, `updates to ${key} are forbidden.`))
  problems.push(...immutable(o.volumeBindingMode, old.volumeBindingMode, 'volumeBindingMode'))
  return problems
}

export function volumeAttachment(o: Json, old?: Json): FieldError[] {
  const spec = o.spec ?? {}
  const problems: FieldError[] = []
  if (!spec.attacher) problems.push(field.required('spec.attacher'))
  if (!spec.nodeName) problems.push(field.required('spec.nodeName'))
  if (!spec.source?.persistentVolumeName && !spec.source?.inlineVolumeSpec)
    problems.push(field.required('spec.source', 'must specify one of inlineVolumeSpec and persistentVolumeName'))
  if (old) problems.push(...immutable(spec, old.spec, 'spec'))
  return problems
}

/** A driver's name: a domain of 63 characters at most. */
function driverName(name: unknown, at: string): FieldError[] {
  if (!name) return [field.required(at)]
  return [
    ...(String(name).length > 63 ? [field.tooLong(at, 63)] : []),
    ...checkSubdomain(String(name).toLowerCase()).map((p) => field.invalid(at, name, p)),
  ]
}

export function csiDriver(o: Json, old?: Json): FieldError[] {
  const spec = o.spec ?? {}
  const problems: FieldError[] = []
  for (const key of ['attachRequired', 'podInfoOnMount', 'storageCapacity', 'seLinuxMount'])
    if (typeof spec[key] !== 'boolean') problems.push(field.required(`spec.${key}`))
  problems.push(...oneOf(spec.fsGroupPolicy, 'spec.fsGroupPolicy', ['File', 'None', 'ReadWriteOnceWithFSType'], true))
  const seen = new Set<string>()
  for (const [i, t] of ((spec.tokenRequests ?? []) as Json[]).entries()) {
    const at = `spec.tokenRequests[${i}]`
    if (seen.has(t.audience ?? '')) problems.push(field.duplicate(`${at}.audience`, t.audience ?? ''))
    seen.add(t.audience ?? '')
    if (t.expirationSeconds !== undefined && t.expirationSeconds < 600)
      problems.push(
        field.invalid(
          `${at}.expirationSeconds`,
          t.expirationSeconds,
          'may not specify a duration less than 10 minutes',
        ),
      )
    if (t.expirationSeconds > 2 ** 32)
      problems.push(
        field.invalid(
          `${at}.expirationSeconds`,
          t.expirationSeconds,
          'may not specify a duration larger than 2^32 seconds',
        ),
      )
  }
  for (const [i, mode] of ((spec.volumeLifecycleModes ?? []) as string[]).entries())
    problems.push(...oneOf(mode, `spec.volumeLifecycleModes[${i}]`, ['Ephemeral', 'Persistent'], true))
  if (!old) return problems
  return [
    ...problems,
    ...immutable(spec.attachRequired, old.spec?.attachRequired, 'spec.attachedRequired'),
    ...immutable(spec.volumeLifecycleModes, old.spec?.volumeLifecycleModes, 'spec.volumeLifecycleModes'),
  ]
}

export function csiNode(o: Json, old?: Json): FieldError[] {
  const problems: FieldError[] = []
  const seen = new Set<string>()
  for (const [i, d] of ((o.spec?.drivers ?? []) as Json[]).entries()) {
    const at = `spec.drivers[${i}]`
    problems.push(...driverName(d.name, `${at}.name`))
    if (seen.has(d.name)) problems.push(field.duplicate(`${at}.name`, d.name))
    seen.add(d.name)
    if (!d.nodeID) problems.push(field.required(`${at}.nodeID`))
    else if (d.nodeID.length > 256)
      problems.push(field.invalid(`${at}.nodeID`, d.nodeID, 'must be 256 characters or less'))
    if (d.allocatable?.count !== undefined && !(d.allocatable.count >= 0))
      problems.push(field.invalid(`${at}.allocatable.count`, d.allocatable.count, 'must be greater than or equal to 0'))
    const keys = new Set<string>()
    for (const key of (d.topologyKeys ?? []) as string[]) {
      if (!key) problems.push(field.required(`${at}.topologyKeys`))
      else for (const p of checkQualifiedName(key)) problems.push(field.invalid(`${at}.topologyKeys`, key, p))
      if (keys.has(key)) problems.push(field.duplicate(`${at}.topologyKeys`, key))
      keys.add(key)
    }
  }
  // A driver that stays keeps what it said.
  for (const before of (old?.spec?.drivers ?? []) as Json[]) {
    const now = ((o.spec?.drivers ?? []) as Json[]).find((d) => d.name === before.name)
    if (now && !sameJson({ ...now, allocatable: null }, { ...before, allocatable: null }))
      problems.push(field.invalid('spec.drivers[CSINodeDriver.Name]', now, 'field is immutable'))
  }
  return problems
}

export function csiCapacity(o: Json, old?: Json): FieldError[] {
  const problems = selectorProblems(o.nodeTopology, 'nodeTopology')
  if (!o.storageClassName) problems.push(field.required('storageClassName'))
  else
    for (const p of checkSubdomain(o.storageClassName))
      problems.push(field.invalid('storageClassName', o.storageClassName, p))
  for (const key of ['capacity', 'maximumVolumeSize']) if (o[key] !== undefined) problems.push(...quantity(o[key], key))
  if (!old) return problems
  return [
    ...problems,
    ...immutable(o.nodeTopology, old.nodeTopology, 'nodeTopology'),
    ...immutable(o.storageClassName, old.storageClassName, 'storageClassName'),
  ]
}

export function attributesClass(o: Json, old?: Json): FieldError[] {
  const problems = driverName(o.driverName, 'driverName')
  if (!o.parameters || Object.keys(o.parameters).length === 0)
    problems.push(field.required('parameters', 'must contain at least one key/value pair'))
  if (!old) return problems
  return [
    ...problems,
    ...immutable(o.driverName, old.driverName, 'driverName'),
    ...immutable(o.parameters, old.parameters, 'parameters'),
  ]
}
