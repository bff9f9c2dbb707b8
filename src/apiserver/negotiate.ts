// What form a client wants its answer in.

import { errors, type IncludeObject, type Json, partialMetadata, type ResourceKind, table } from '#api'

/** The form of objects in an answer. */
export type Representation = 'object' | 'table' | 'partial'

export interface Wanted {
  representation: Representation
  includeObject: IncludeObject
  /** apidiscovery.k8s.io version, when asked for aggregated discovery. */
  discovery?: string
}

/** Reads an Accept header. Fails with NotAcceptable when nothing in it can be served. */
export function negotiate(accept: string | undefined, query: URLSearchParams): Wanted {
  const includeObject = (query.get('includeObject') as IncludeObject | null) ?? 'Metadata'
  for (const part of (accept || '*/*').split(',')) {
    const [type = '', ...parameters] = part.split(';').map((p) => p.trim())
    const parameter = (name: string) => parameters.find((p) => p.startsWith(`${name}=`))?.slice(name.length + 1)
    if (!['application/json', '*/*', 'application/*'].includes(type)) continue
    const as = parameter('as')
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

/** One object in the wanted form. */
export function represent(kind: ResourceKind, object: Json, wanted: Wanted, now: number): Json {
  if (wanted.representation === 'table')
    return table(
      kind,
      [object],
      { resourceVersion: object.metadata?.resourceVersion ?? '' },
      { now, includeObject: wanted.includeObject },
    )
  if (wanted.representation === 'partial') return partialMetadata(object)
  return object
}
