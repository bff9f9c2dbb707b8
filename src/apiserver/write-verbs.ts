// POST, PUT, PATCH and DELETE on resources.

import type { IncomingMessage, ServerResponse } from 'node:http'
import {
  type ApplyConflict,
  applyConfig,
  errors,
  type FieldManager,
  field,
  groupResource,
  groupVersion,
  isAlreadyExists,
  isNotFound,
  type Json,
  jsonPatch,
  type KubeInput,
  type KubeObject,
  mergePatch,
  type ResourceKind,
  StatusError,
  storedKind,
  strategicMerge,
} from '#api'
import { rfc3339 } from '#base'
import type { CacheEntry } from './cache-entry.ts'
import { readDeleteOptions } from './deletion.ts'
import { parseBody, readBody, sendBytes, sendJson } from './http-io.ts'
import type { RequestContext } from './identity.ts'
import { represent, type Wanted } from './negotiate.ts'
import { entryBytes, selectAll, selectionOf } from './read-verbs.ts'
import { flag, type ResourceRequest } from './request-info.ts'
import type { Resources } from './resources.ts'
import { checkIdentity } from './strategy.ts'
import { asVersion, versionViews } from './versions.ts'

/** Everything a write needs besides the resource. */
export interface WriteCall {
  resources: Resources
  request: ResourceRequest
  context: RequestContext
  wanted: Wanted
  http: IncomingMessage
  response: ServerResponse
  /** Fails with Forbidden unless the user may also create such an object: an apply may have to. */
  mayCreate(): void
}

function answer(call: WriteCall, code: number, entry: CacheEntry): void {
  const { request, wanted, resources, response, context } = call
  if (wanted.representation === 'object' && !wanted.protobuf)
    return sendBytes(response, code, 'application/json', entryBytes(request.kind, entry), context.warnings)
  sendJson(response, code, represent(request.kind, entry.object, wanted, resources.clock.now()), context.warnings)
}

export async function createVerb(call: WriteCall): Promise<void> {
  const { resources, request, context, http } = call
  const body = parseBody(await readBody(http), http.headers['content-type']) as KubeInput
  answer(call, 201, await resources.create(request.kind, request.namespace, body, context))
}

export async function updateVerb(call: WriteCall): Promise<void> {
  const { resources, request, context, http } = call
  const body = parseBody(await readBody(http), http.headers['content-type']) as KubeInput
  const { kind, namespace, name, subresource } = request
  if (!body.metadata?.name) throw errors.badRequest('name must be provided')
  try {
    return answer(call, 200, await resources.update(kind, namespace, name, body, context, subresource))
  } catch (error) {
    if (!isNotFound(error) || subresource || !PUT_CREATES.has(groupResource(kind)) || body.metadata.uid) throw error
  }
  call.mayCreate()
  const { resourceVersion: _, ...metadata } = body.metadata
  answer(call, 201, await resources.create(kind, namespace, { ...body, metadata }, context))
}

/** Kinds that a PUT creates when they are not there (AllowCreateOnUpdate upstream). */
const PUT_CREATES = new Set([
  'endpoints',
  'events',
  'leases.coordination.k8s.io',
  'limitranges',
  'services',
  'roles.rbac.authorization.k8s.io',
  'rolebindings.rbac.authorization.k8s.io',
  'clusterroles.rbac.authorization.k8s.io',
  'clusterrolebindings.rbac.authorization.k8s.io',
])

export async function patchVerb(call: WriteCall): Promise<void> {
  const { resources, request, context, http } = call
  const { kind, namespace, name, subresource } = request
  const type = (http.headers['content-type'] ?? '').split(';')[0]!.trim()
  const patch = parseBody(
    await readBody(http),
    type === 'application/apply-patch+yaml' ? 'application/yaml' : 'application/json',
  )
  if (type === 'application/apply-patch+yaml') return applyVerb(call, patch as KubeInput)
  // What a merge patch leaves alone was looked at when it was written.
  const merges = type === 'application/merge-patch+json' && !kind.custom && !Array.isArray(patch)
  let known: Json | undefined
  const entry = await resources.modify(
    kind,
    namespace,
    name,
    context,
    (current) => {
      const view = asVersion(kind, current) as KubeObject
      if (merges) {
        known ??= resources.checkFields(kind, patch, context)
        return patched(kind, view, known, type)
      }
      return resources.checkFields(kind, patched(kind, view, patch, type), context, patch)
    },
    subresource,
  )
  answer(call, 200, entry)
}

/** Applies a patch of the given media type. Fails with UnsupportedMediaType. */
export function patched(kind: ResourceKind, current: KubeObject, patch: Json, type: string): KubeInput {
  switch (type) {
    case 'application/merge-patch+json':
      return mergePatch(current, patch) as KubeInput
    case 'application/json-patch+json':
      try {
        return jsonPatch(current, patch) as KubeInput
      } catch (error) {
        if (!(error instanceof StatusError) || error.code !== 'Invalid') throw error
        const message = error.status.details.causes[0].message as string
        throw new StatusError(422, 'Invalid', message)
      }
    case 'application/strategic-merge-patch+json':
      if (!kind.model)
        throw errors.unsupportedMediaType(
          'the body of the request was in an unknown format - accepted media types include: application/json-patch+json, application/merge-patch+json, application/apply-patch+yaml',
        )
      return strategicMerge(current, patch, kind.model) as KubeInput
    default:
      throw errors.unsupportedMediaType(
        'the body of the request was in an unknown format - accepted media types include: application/json-patch+json, application/merge-patch+json, application/strategic-merge-patch+json, application/apply-patch+yaml',
      )
  }
}

/** Server-side apply: fields are merged and owned; another manager's fields are a conflict unless forced. */
async function applyVerb(call: WriteCall, body: KubeInput): Promise<void> {
  const { resources, request } = call
  const { kind, namespace, name, subresource, query } = request
  if (!query.get('fieldManager'))
    throw errors.invalid('PatchOptions', 'meta.k8s.io', '', [
      field.required('fieldManager', 'is required for apply patch'),
    ])
  if (typeof body !== 'object' || body === null) throw errors.badRequest('the body of an apply must be an object')
  if (!body.apiVersion || !body.kind)
    throw errors.badRequest("Object 'Kind' is missing: apiVersion and kind must be set in an apply")
  body.metadata ??= {}
  body.metadata.name ??= name
  if (body.metadata.managedFields) throw errors.badRequest('metadata.managedFields must be nil')
  checkIdentity(kind, body, namespace, name)
  const context: RequestContext = { ...call.context, operation: 'Apply' }
  const unknown = resources.unknownFields(kind, body)
  if (unknown.length > 0)
    throw errors.badRequest(
      `failed to create typed patch object (${namespace ? `${namespace}/` : ''}${name}; ${groupVersion(kind)}, Kind=${kind.kind}): ${unknown.map((path) => `.${path}: field not declared in schema`).join(', ')}`,
    )
  const known = resources.checkFields(kind, body, context)
  const manager: FieldManager = {
    name: context.fieldManager,
    operation: 'Apply',
    apiVersion: groupVersion(kind),
    subresource,
    time: rfc3339(resources.clock.now()),
  }
  const views = versionViews(kind, resources.registry)
  const force = flag(query, 'force') === true
  const apply = (live: KubeObject): KubeInput => {
    const { object, conflicts } = applyConfig(live, known, manager, views, force)
    if (conflicts.length > 0) throw applyConflict(conflicts)
    return object
  }
  const key = kind.namespaced ? `${namespace}/${name}` : name
  const exists = (await resources.store.cache(storedKind(kind))).entry(key)
  if (!exists && !subresource && !body.metadata.uid) {
    call.mayCreate()
    const empty = { apiVersion: body.apiVersion, kind: body.kind, metadata: {} } as KubeObject
    try {
      return answer(call, 201, await resources.create(kind, namespace, apply(empty), context))
    } catch (error) {
      // Somebody else has just created it: it is applied to that.
      if (!isAlreadyExists(error)) throw error
    }
  }
  if (!exists && body.metadata.uid)
    throw errors.conflict(
      kind,
      name,
      `uid mismatch: the provided object specified uid ${body.metadata.uid}, and no existing object was found`,
    )
  const change = (current: KubeObject) => {
    const view = asVersion(kind, current) as KubeObject
    const next = apply(view)
    // A resourceVersion in the body is a precondition.
    const wanted = body.metadata.resourceVersion
    return wanted ? { ...next, metadata: { ...next.metadata, resourceVersion: wanted } } : next
  }
  answer(call, 200, await resources.modify(kind, namespace, name, context, change, subresource))
}

/** A 409 that names every contested field and its owner, as kubectl shows it. */
function applyConflict(conflicts: readonly ApplyConflict[]): StatusError {
  const owner = (c: ApplyConflict) =>
    `"${c.manager}"${c.subresource ? ` with subresource "${c.subresource}"` : ''} using ${c.apiVersion}${c.operation === 'Update' && c.time ? ` at ${c.time}` : ''}`
  const byOwner = Map.groupBy(conflicts, owner)
  const text =
    conflicts.length === 1
      ? `conflict with ${owner(conflicts[0]!)}: ${conflicts[0]!.path}`
      : [...byOwner]
          .map(([who, list]) => `conflicts with ${who}:\n${list.map((c) => `- ${c.path}`).join('\n')}`)
          .join('\n')
  return new StatusError(
    409,
    'Conflict',
    `Apply failed with ${conflicts.length} conflict${conflicts.length === 1 ? '' : 's'}: ${text}`,
    {
      causes: conflicts.map((c) => ({
        reason: 'FieldManagerConflict',
        message: `conflict with ${owner(c)}`,
        field: c.path,
      })),
    },
  )
}

async function deleteOptions(call: WriteCall) {
  const raw = await readBody(call.http)
  const body = raw.length > 0 ? parseBody(raw, call.http.headers['content-type']) : undefined
  const options = readDeleteOptions(body, call.request.query)
  const dryRun = call.context.dryRun || options.dryRun?.includes('All') === true
  return { options, context: { ...call.context, dryRun } }
}

export async function deleteVerb(call: WriteCall): Promise<void> {
  const { resources, request } = call
  const { kind, namespace, name } = request
  const { options, context } = await deleteOptions(call)
  const { entry, removed } = await resources.delete(kind, namespace, name, options, context)
  // Pods and objects that still wait are returned; a removed object is reported by a Status.
  if (!removed || groupResource(kind) === 'pods') return answer(call, 200, entry)
  sendJson(
    call.response,
    200,
    {
      kind: 'Status',
      apiVersion: 'v1',
      metadata: {},
      status: 'Success',
      details: {
        name,
        ...(kind.group ? { group: kind.group } : {}),
        kind: kind.plural,
        uid: entry.object.metadata.uid,
      },
    },
    context.warnings,
  )
}

export async function deleteCollectionVerb(call: WriteCall): Promise<void> {
  const { resources, request } = call
  const { kind } = request
  const { options, context } = await deleteOptions(call)
  const page = await selectAll(resources.store, kind, selectionOf(request))
  const items: Json[] = []
  for (const { object } of page.entries) {
    try {
      items.push(
        (await resources.delete(kind, object.metadata.namespace ?? '', object.metadata.name, options, context)).entry
          .object,
      )
    } catch (error) {
      if (!(error instanceof StatusError) || error.httpCode !== 404) throw error
    }
  }
  sendJson(call.response, 200, {
    kind: `${kind.kind}List`,
    apiVersion: kind.group ? `${kind.group}/${kind.version}` : kind.version,
    metadata: { resourceVersion: String(page.revision) },
    items: items.map((o) => asVersion(kind, o)),
  })
}
