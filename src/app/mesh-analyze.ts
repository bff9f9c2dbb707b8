// `sampan mesh analyze`: reads a cluster through kubectl's own configuration and reports findings.

import { readFileSync } from 'node:fs'
import { request } from 'node:https'
import { parse } from 'yaml'
import { type KubeObject, type Resource, resources, StatusError } from '#api'
import { SampanError } from '#base'
import { analyze, type Finding } from '#mesh'

interface Access {
  server: string
  ca: Buffer
  cert: Buffer
  key: Buffer
}

function readAccess(file: string): Access {
  const config = parse(readFileSync(file, 'utf8'))
  // biome-ignore lint/suspicious/noExplicitAny: a kubeconfig
  const find = (list: any[], name: string) => list?.find((e) => e.name === name)
  const context = find(config?.contexts, config?.['current-context'])?.context
  const cluster = find(config?.clusters, context?.cluster)?.cluster
  const user = find(config?.users, context?.user)?.user
  if (!cluster?.server || !user?.['client-certificate-data'])
    throw new SampanError(
      'BadKubeconfig',
      `Cannot use ${file}: its current context has no server with a client certificate; name another with --kubeconfig`,
    )
  const bytes = (text: string) => Buffer.from(text, 'base64')
  return {
    server: cluster.server,
    ca: bytes(cluster['certificate-authority-data']),
    cert: bytes(user['client-certificate-data']),
    key: bytes(user['client-key-data']),
  }
}

function list({ server, ...tls }: Access, r: Resource): Promise<KubeObject[]> {
  const url = `${server}/${r.group ? `apis/${r.group}` : 'api'}/${r.version}/${r.plural}`
  return new Promise((resolve, reject) => {
    const call = request(url, tls, (response) => {
      let text = ''
      response.setEncoding('utf8').on('data', (part: string) => {
        text += part
      })
      response.on('end', () => {
        if (response.statusCode !== 200)
          return reject(
            new StatusError(response.statusCode ?? 500, 'ListFailed', `Cannot list ${r.plural}: ${text.slice(0, 200)}`),
          )
        resolve(JSON.parse(text).items)
      })
    })
    call.on('error', (cause) =>
      reject(new SampanError('Unreachable', `Cannot reach ${server}: ${cause.message}`, { cause })),
    )
    call.end()
  })
}

/** Findings about the traffic rules of the cluster a kubeconfig names. */
export async function analyzeCluster(kubeconfig: string): Promise<Finding[]> {
  const access = readAccess(kubeconfig)
  const [services, pods, virtualServices, destinationRules] = await Promise.all([
    list(access, resources.services),
    list(access, resources.pods),
    list(access, resources.virtualServices),
    list(access, resources.destinationRules),
  ])
  return analyze({ services, pods, virtualServices, destinationRules })
}
