// Subresources that are not plain reads and writes of their object: scale, binding, eviction, token, log, finalize.

import {
  errors,
  field,
  formatSelector,
  type Json,
  jsonPath,
  type KubeInput,
  type KubeObject,
  type ResourceKind,
} from '#api'
import { rfc3339 } from '#base'
import type { Tokens } from './authentication.ts'
import { evict } from './eviction.ts'
import { isGone, parseBody, readBody, sendJson } from './http-io.ts'
import type { NodeAccess } from './node-access.ts'
import { flag } from './request-info.ts'
import { patched, type WriteCall } from './write-verbs.ts'

/** What subresources need besides the verbs. */
export interface SubresourceDeps {
  tokens: Tokens
  node: NodeAccess
}

/** Handles a request on such a subresource; false when the plain verbs should. */
export async function subresourceVerb(call: WriteCall, deps: SubresourceDeps, signal: AbortSignal): Promise<boolean> {
  const { request } = call
  switch (request.subresource) {
    case 'scale':
      await scale(call)
      return true
    case 'binding':
      await bind(call)
      return true
    case 'eviction':
      await evict(call)
      return true
    case 'token':
      await token(call, deps.tokens)
      return true
    case 'log':
      await log(call, deps.node, signal)
      return true
    default:
      return false
  }
}

interface ScalePaths {
  replicas: string
  statusReplicas: string
  selector: string
}

function scalePaths(kind: ResourceKind): ScalePaths {
  const custom = kind.custom?.subresources?.scale
  return custom
    ? {
        replicas: custom.specReplicasPath,
        statusReplicas: custom.statusReplicasPath,
        selector: custom.labelSelectorPath ?? '',
      }
    : { replicas: '.spec.replicas', statusReplicas: '.status.replicas', selector: '' }
}

function scaleOf(kind: ResourceKind, object: KubeObject): Json {
  const paths = scalePaths(kind)
  const own = object.spec?.selector
  // A ReplicationController selects by a plain map.
  const labels = own ? formatSelector(kind.plural === 'replicationcontrollers' ? { matchLabels: own } : own) : ''
  const selector = paths.selector ? String(jsonPath(object, paths.selector)[0] ?? '') : labels
  const { name, namespace, uid, resourceVersion, creationTimestamp } = object.metadata
  return {
    kind: 'Scale',
    apiVersion: 'autoscaling/v1',
    metadata: { name, namespace, uid, resourceVersion, creationTimestamp },
    spec: { replicas: Number(jsonPath(object, paths.replicas)[0] ?? 0) },
    status: { replicas: Number(jsonPath(object, paths.statusReplicas)[0] ?? 0), ...(selector ? { selector } : {}) },
  }
}

async function scale(call: WriteCall): Promise<void> {
  const { resources, request, context, http, response } = call
  const { kind, namespace, name, verb } = request
  if (verb === 'get') return sendJson(response, 200, scaleOf(kind, await resources.get(kind, namespace, name)))
  const type = (http.headers['content-type'] ?? '').split(';')[0]!.trim()
  const body = parseBody(await readBody(http), verb === 'patch' ? 'application/json' : type)
  const path = scalePaths(kind).replicas.split('.').filter(Boolean)
  const { object } = await resources.modify(kind, namespace, name, context, (current) => {
    const wanted =
      verb === 'patch'
        ? patched(
            { ...kind, model: 'io.k8s.api.autoscaling.v1.Scale' },
            scaleOf(kind, current) as KubeObject,
            body,
            type,
          )
        : (body as KubeInput)
    const replicas = wanted.spec?.replicas ?? 0
    if (!Number.isInteger(replicas) || replicas < 0)
      throw errors.invalid('Scale', 'autoscaling', name, [
        {
          path: 'spec.replicas',
          reason: 'FieldValueInvalid',
          message: `Invalid value: ${JSON.stringify(replicas)}: must be greater than or equal to 0`,
        },
      ])
    const next: Json = structuredClone(current)
    if (wanted.metadata?.resourceVersion && verb === 'update')
      next.metadata.resourceVersion = wanted.metadata.resourceVersion
    let at = next
    for (const step of path.slice(0, -1)) at = at[step] ??= {}
    at[path[path.length - 1]!] = replicas
    return next as KubeInput
  })
  sendJson(response, 200, scaleOf(kind, object), context.warnings)
}

async function bind(call: WriteCall): Promise<void> {
  const { resources, request, context, http, response } = call
  const body = parseBody(await readBody(http), http.headers['content-type'])
  await bindPod(call.resources, request.kind, request.namespace, request.name, body, context, resources.clock.now())
  sendJson(response, 201, { kind: 'Status', apiVersion: 'v1', metadata: {}, status: 'Success', code: 201 })
}

/** Assigns a pod to the node of a Binding. Fails with Conflict when it has one. */
export async function bindPod(
  resources: WriteCall['resources'],
  kind: ResourceKind,
  namespace: string,
  name: string,
  binding: Json,
  context: WriteCall['context'],
  now: number,
): Promise<void> {
  const node = binding.target?.name
  if (!node)
    throw errors.invalid('Binding', '', name, [
      { path: 'target.name', reason: 'FieldValueRequired', message: 'Required value' },
    ])
  await resources.store.modify(kind, namespace, name, (current) => {
    if (current.spec?.nodeName)
      throw errors.conflict(kind, name, `pod ${name} is already assigned to node "${current.spec.nodeName}"`)
    if (current.metadata.deletionTimestamp)
      throw errors.conflict(kind, name, `pod ${name} is being deleted, cannot be assigned to a host`)
    if (context.dryRun) return current
    const conditions = (current.status?.conditions ?? []).filter((c: Json) => c.type !== 'PodScheduled')
    return {
      ...current,
      spec: { ...current.spec, nodeName: node },
      status: {
        ...current.status,
        conditions: [
          ...conditions,
          { type: 'PodScheduled', status: 'True', lastProbeTime: null, lastTransitionTime: rfc3339(now) },
        ],
      },
    }
  })
}

async function token(call: WriteCall, tokens: Tokens): Promise<void> {
  const { resources, request, http, response } = call
  const { kind, namespace, name } = request
  const account = await resources.get(kind, namespace, name)
  const body = parseBody(await readBody(http), http.headers['content-type'])
  const wanted = body.spec?.expirationSeconds ?? 3600
  if (!Number.isInteger(wanted) || wanted < 600 || wanted > 2 ** 32)
    throw errors.invalid('TokenRequest', 'authentication.k8s.io', '', [
      field.invalid(
        'spec.expirationSeconds',
        wanted,
        wanted < 600
          ? 'may not specify a duration less than 10 minutes'
          : 'may not specify a duration larger than 2^32 seconds',
      ),
    ])
  const expirationSeconds: number = wanted
  const bound = body.spec?.boundObjectRef
  const { token: text, expiration } = await tokens.issue({
    namespace,
    serviceAccount: name,
    serviceAccountUid: account.metadata.uid,
    audiences: body.spec?.audiences,
    expirationSeconds,
    ...(bound?.kind === 'Pod' ? { pod: { name: bound.name, uid: bound.uid } } : {}),
  })
  sendJson(response, 201, {
    kind: 'TokenRequest',
    apiVersion: 'authentication.k8s.io/v1',
    metadata: { name, namespace, creationTimestamp: null },
    spec: {
      audiences: body.spec?.audiences ?? [tokens.issuer],
      expirationSeconds,
      ...(bound ? { boundObjectRef: bound } : {}),
    },
    status: { token: text, expirationTimestamp: rfc3339(expiration) },
  })
}

/** The container a log or exec means: the named one, the annotated default, or the only one. */
export function containerOf(pod: KubeObject, named: string | null): string {
  const containers: Json[] = [
    ...(pod.spec.containers ?? []),
    ...(pod.spec.initContainers ?? []),
    ...(pod.spec.ephemeralContainers ?? []),
  ]
  if (named) {
    if (!containers.some((c) => c.name === named))
      throw errors.badRequest(`container ${named} is not valid for pod ${pod.metadata.name}`)
    return named
  }
  const main: Json[] = pod.spec.containers ?? []
  if (main.length === 1) return main[0]!.name
  const fallback = pod.metadata.annotations?.['kubectl.kubernetes.io/default-container']
  if (fallback && main.some((c) => c.name === fallback)) return fallback
  throw errors.badRequest(
    `a container name must be specified for pod ${pod.metadata.name}, choose one of: [${main.map((c) => c.name).join(' ')}]${pod.spec.initContainers?.length ? ` or one of the init containers: [${pod.spec.initContainers.map((c: Json) => c.name).join(' ')}]` : ''}`,
  )
}

async function log(call: WriteCall, node: NodeAccess, signal: AbortSignal): Promise<void> {
  const { resources, request, response } = call
  const { kind, namespace, name, query } = request
  const pod = await resources.get(kind, namespace, name)
  const container = containerOf(pod, query.get('container'))
  if (!pod.spec.nodeName)
    throw errors.badRequest(`container "${container}" in pod "${name}" is waiting to start: PodScheduled`)
  const number = (key: string) => (query.get(key) === null ? undefined : Number(query.get(key)))
  if (isGone(response)) return
  const ended = new AbortController()
  response.on('close', () => ended.abort())
  signal.addEventListener('abort', () => ended.abort(), { once: true })
  const start = () => {
    if (!response.headersSent) {
      response.writeHead(200, { 'Content-Type': 'text/plain', 'Cache-Control': 'no-cache, private' })
      response.flushHeaders()
    }
  }
  const follow = flag(query, 'follow') === true
  await node.logs(
    pod,
    {
      container,
      follow,
      previous: flag(query, 'previous') === true,
      timestamps: flag(query, 'timestamps') === true,
      tailLines: number('tailLines'),
      limitBytes: number('limitBytes'),
      sinceSeconds: number('sinceSeconds'),
      sinceTime: query.get('sinceTime') ?? undefined,
    },
    (data) => {
      start()
      response.write(data)
      if (response.writableLength > 16 * 1024 * 1024) ended.abort()
    },
    ended.signal,
  )
  start()
  response.end()
}
