// Validation of volumes, claims, classes and attachments.

import { immutable, oneOf, quantity } from './checks.ts'
import { checkSubdomain } from './names.ts'
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
