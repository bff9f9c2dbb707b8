// Reads a cluster through kubectl's own configuration.

import { readFileSync } from 'node:fs'
import { request } from 'node:https'
import { parse } from 'yaml'
import { type KubeObject, type Resource, StatusError } from '#api'
import { SampanError } from '#base'

export interface KubeAccess {
  readonly server: string
  readonly ca: Buffer
  readonly cert: Buffer
  readonly key: Buffer
  /** The namespace of the current context. */
  readonly namespace: string
}

/** The cluster and user of a kubeconfig's context, the current one where none is named. Fails with SampanError when there is none. */
export function readAccess(file: string, contextName?: string): KubeAccess {
  let text: string
  try {
    text = readFileSync(file, 'utf8')
  } catch {
    throw new SampanError('NoKubeconfig', `Cannot read ${file}; name a kubeconfig with --kubeconfig`)
  }
  const config = parse(text)
  // biome-ignore lint/suspicious/noExplicitAny: a kubeconfig
  const find = (list: any[], name: string) => list?.find((e) => e.name === name)
  const context = find(config?.contexts, contextName ?? config?.['current-context'])?.context
  if (contextName && !context)
    throw new SampanError('NoCluster', `Cannot find the context "${contextName}" in ${file}; is the cluster up?`)
  const cluster = find(config?.clusters, context?.cluster)?.cluster
  const user = find(config?.users, context?.user)?.user
  if (!cluster?.server || !user?.['client-certificate-data'])
    throw new SampanError(
      'BadKubeconfig',
      `Cannot use ${file}: its current context has no server with a client certificate; name another with --kubeconfig`,
    )
  const bytes = (base64: string) => Buffer.from(base64, 'base64')
  return {
    server: cluster.server,
    ca: bytes(cluster['certificate-authority-data']),
    cert: bytes(user['client-certificate-data']),
    key: bytes(user['client-key-data']),
    namespace: context.namespace ?? 'default',
  }
}

/** The JSON at a path of the API server; undefined for 404. Fails with StatusError or SampanError. */
export function getJson({ server, ca, cert, key }: KubeAccess, path: string): Promise<unknown> {
  return new Promise((resolve, reject) => {
    const call = request(`${server}${path}`, { ca, cert, key }, (response) => {
      let text = ''
      response.setEncoding('utf8').on('data', (part: string) => {
        text += part
      })
      response.on('end', () => {
        const { statusCode = 500 } = response
        if (statusCode === 200) resolve(JSON.parse(text))
        else if (statusCode === 404) resolve(undefined)
        else reject(new StatusError(statusCode, 'GetFailed', `Cannot get ${path}: ${text.slice(0, 200)}`))
      })
    })
    call.on('error', (cause) =>
      reject(new SampanError('Unreachable', `Cannot reach ${server}: ${cause.message}`, { cause })),
    )
    call.end()
  })
}

/** All objects of a resource; none when the cluster does not know it. */
export async function listObjects(access: KubeAccess, r: Resource, namespace = ''): Promise<KubeObject[]> {
  const group = r.group ? `apis/${r.group}` : 'api'
  const inside = namespace && r.namespaced ? `namespaces/${namespace}/` : ''
  const list = (await getJson(access, `/${group}/${r.version}/${inside}${r.plural}`)) as
    | { items: KubeObject[] }
    | undefined
  const apiVersion = r.group ? `${r.group}/${r.version}` : r.version
  return (list?.items ?? []).map((o) => ({ ...o, apiVersion, kind: r.kind }))
}
