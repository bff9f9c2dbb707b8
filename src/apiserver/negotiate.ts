// What form a client wants its answer in.

import {
  errors,
  groupVersion,
  type IncludeObject,
  type Json,
  partialMetadata,
  type ResourceKind,
  storedKind,
  type TableOptions,
  table,
} from '#api'
import { messageOf, PROTOBUF } from './protobuf-codec.ts'
import { asVersion } from './versions.ts'

/** The form of objects in an answer. */
export type Representation = 'object' | 'table' | 'partial'

export interface Wanted {
  representation: Representation
  includeObject: IncludeObject
  /** Whether objects should be protobuf rather than JSON. */
  protobuf?: true
  /** apidiscovery.k8s.io version, when asked for aggregated discovery. */
  discovery?: string
}

/** Reads an Accept header. Fails with NotAcceptable when nothing in it can be served. */
export function negotiate(accept: string | undefined, query: URLSearchParams, kind?: ResourceKind): Wanted {
  const includeObject = (query.get('includeObject') as IncludeObject | null) ?? 'Metadata'
  for (const part of (accept || '*/*').split(',')) {
    const [type = '', ...parameters] = part.split(';').map((p) => p.trim())
    const parameter = (name: string) => parameters.find((p) => p.startsWith(`${name}=`))?.slice(name.length + 1)
    const as = parameter('as')
    if (type === PROTOBUF && as === undefined && kind && messageOf(groupVersion(kind), kind.kind))
      return { representation: 'object', includeObject, protobuf: true }
    if (!['application/json', '*/*', 'application/*'].includes(type)) continue
    if (as === undefined) return { representation: 'object', includeObject }
    const version = parameter('v') ?? ''
    if (as === 'Table' && (version === 'v1' || version === 'v1beta1')) return { representation: 'table', includeObject }
    if (
      (as === 'PartialObjectMetadata' || as === 'PartialObjectMetadataList') &&
      (version === 'v1' || version === 'v1beta1')
    )
      return { representation: 'partial', includeObject }
    if (as === 'APIGroupDiscoveryList') return { representation: 'object', includeObject, discovery: version }
  }
  if (/application\/(yaml|vnd\.kubernetes\.protobuf)|text\/plain/.test(accept ?? '') && !accept?.includes('protobuf'))
    return { representation: 'object', includeObject }
  throw errors.notAcceptable('only the following media types are accepted: application/json')
}

/** Stored objects as a Table. Columns are those of the stored version. */
export function tableOf(kind: ResourceKind, objects: readonly Json[], metadata: Json, options: TableOptions): Json {
  const stored = storedKind(kind)
  const whole = options.includeObject === 'Object' && stored !== kind
  const result = table(
    stored,
    objects.map((o) => (stored === kind ? asVersion(kind, o) : o)),
    metadata,
    options,
  )
  if (whole) for (const [i, row] of result.rows.entries()) row.object = asVersion(kind, objects[i]!)
  return result
}

/** One stored object in the wanted form and in the kind's version. */
export function represent(kind: ResourceKind, object: Json, wanted: Wanted, now: number): Json {
  if (wanted.representation === 'table')
    return tableOf(
      kind,
      [object],
      { resourceVersion: object.metadata?.resourceVersion ?? '' },
      { now, includeObject: wanted.includeObject },
    )
  if (wanted.representation === 'partial') return partialMetadata(object)
  return asVersion(kind, object)
}
