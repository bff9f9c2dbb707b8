// POST, PUT, PATCH and DELETE on resources.

import type { IncomingMessage, ServerResponse } from 'node:http'
import {
  errors,
  groupResource,
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
import { readDeleteOptions } from './deletion.ts'
import { parseBody, readBody, sendJson } from './http-io.ts'
import type { RequestContext } from './identity.ts'
import { represent, type Wanted } from './negotiate.ts'
import { asVersion } from './object-store.ts'
import { listPage, selectionOf } from './read-verbs.ts'
import type { ResourceRequest } from './request-info.ts'
import type { Resources } from './resources.ts'

/** Everything a write needs besides the resource. */
export interface WriteCall {
  resources: Resources
  request: ResourceRequest
  context: RequestContext
  wanted: Wanted
  http: IncomingMessage
  response: ServerResponse
}

function answer(call: WriteCall, code: number, object: Json): void {
  const { request, wanted, resources, response, context } = call
  sendJson(response, code, represent(request.kind, object, wanted, resources.clock.now()), context.warnings)
}

export async function createVerb(call: WriteCall): Promise<void> {
  const { resources, request, context, http } = call
  const body = parseBody(await readBody(http), http.headers['content-type']) as KubeInput
  answer(call, 201, await resources.create(request.kind, request.namespace, body, context))
}

export async function updateVerb(call: WriteCall): Promise<void> {
  const { resources, request, context, http } = call
  const body = parseBody(await readBody(http), http.headers['content-type']) as KubeInput
  answer(
    call,
    200,
    await resources.update(request.kind, request.namespace, request.name, body, context, request.subresource),
  )
}

export async function patchVerb(call: WriteCall): Promise<void> {
  const { resources, request, context, http } = call
  const { kind, namespace, name, subresource } = request
  const type = (http.headers['content-type'] ?? '').split(';')[0]!.trim()
  const patch = parseBody(
    await readBody(http),
    type === 'application/apply-patch+yaml' ? 'application/yaml' : 'application/json',
  )
  if (type === 'application/apply-patch+yaml') return applyVerb(call, patch as KubeInput)
  const object = await resources.modify(
    kind,
    namespace,
    name,
    context,
    (current) => patched(kind, asVersion(kind, current) as KubeObject, patch, type),
    subresource,
  )
  answer(call, 200, object)
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
        throw new StatusError(422, 'Invalid', `The request is invalid: ${message}`)
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

/** Server-side apply: for now the fields are merged without tracking their owners. */
async function applyVerb(call: WriteCall, body: KubeInput): Promise<void> {
  const { resources, request, context } = call
  const { kind, namespace, name, subresource } = request
  body.metadata ??= {}
  body.metadata.name ??= name
  const exists = (await resources.store.cache(storedKind(kind))).entry(kind.namespaced ? `${namespace}/${name}` : name)
  if (!exists) return answer(call, 201, await resources.create(kind, namespace, body, context))
  const object = await resources.modify(
    kind,
    namespace,
    name,
    context,
    (current) => {
      const view = asVersion(kind, current) as KubeObject
      return (kind.model ? strategicMerge(view, body, kind.model) : mergePatch(view, body)) as KubeInput
    },
    subresource,
  )
  answer(call, 200, object)
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
  const { object, removed } = await resources.delete(kind, namespace, name, options, context)
  // Pods and objects that still wait are returned; a removed object is reported by a Status.
  if (!removed || groupResource(kind) === 'pods') return answer(call, 200, object)
  sendJson(
    call.response,
    200,
    {
      kind: 'Status',
      apiVersion: 'v1',
      metadata: {},
      status: 'Success',
      details: { name, ...(kind.group ? { group: kind.group } : {}), kind: kind.plural, uid: object.metadata.uid },
    },
    context.warnings,
  )
}

export async function deleteCollectionVerb(call: WriteCall): Promise<void> {
  const { resources, request } = call
  const { kind } = request
  const { options, context } = await deleteOptions(call)
  const cache = await resources.store.cache(storedKind(kind))
  const page = listPage(cache, selectionOf(request), 0, '', '', '')
  const items: Json[] = []
  for (const { object } of page.entries) {
    try {
      items.push(
        (await resources.delete(kind, object.metadata.namespace ?? '', object.metadata.name, options, context)).object,
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
