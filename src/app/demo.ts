// `sampan demo bookinfo`: the bookinfo tutorial in one go, and where to look.

import { join } from 'node:path'
import { fileURLToPath } from 'node:url'
import { execOk, SampanError } from '#base'
import { DEFAULT_NAME } from './cluster.ts'
import { up } from './lifecycle.ts'
import { progress } from './terminal.ts'

const FOLDER = fileURLToPath(new URL('../../examples/bookinfo', import.meta.url))
const DEPLOYMENTS = ['details-v1', 'productpage-v1', 'ratings-v1', 'reviews-v1', 'reviews-v2', 'reviews-v3']

export interface DemoOptions {
  name: string
  dataDir: string
  kubeconfig: string
}

/** Brings bookinfo up in a cluster, which is started when it does not run. Returns the page's address. */
export async function demoBookinfo(options: DemoOptions): Promise<string> {
  const env = { ...process.env, KUBECONFIG: options.kubeconfig } as Record<string, string>
  const kubectl = async (...args: string[]) => (await execOk('kubectl', args, { env })).trim()
  await progress('starting the cluster', () => up({ ...options, progress: () => {} }))
  await progress('applying bookinfo', async () => {
    await kubectl('label', 'namespace', 'default', 'istio-injection=enabled', '--overwrite')
    for (const file of ['bookinfo.yaml', 'gateway.yaml', 'subsets.yaml'])
      await kubectl('apply', '-f', join(FOLDER, file))
  })
  await progress('waiting for its six pods', () =>
    Promise.all(DEPLOYMENTS.map((d) => kubectl('rollout', 'status', `deployment/${d}`, '--timeout=180s'))),
  )
  return progress('asking for the page', async () => {
    await kubectl('rollout', 'status', '-n', 'istio-system', 'deployment/istio-ingressgateway', '--timeout=60s')
    const ip = await gateway(kubectl, '{.status.loadBalancer.ingress[0].ip}')
    // Somebody else may have port 80 of this machine.
    const port = ip ? '' : `:${await gateway(kubectl, '{.spec.ports[?(@.name=="http2")].nodePort}')}`
    const url = `http://localhost${port}/productpage`
    for (let i = 0; i < 50; i++) {
      const page = await fetch(url, { signal: AbortSignal.timeout(5000) }).then(
        (r) => r.text(),
        () => '',
      )
      if (page.includes('Simple Bookstore App')) return url
      await new Promise((resolve) => setTimeout(resolve, 100))
    }
    throw new SampanError(
      'DemoFailed',
      `Cannot show the page: ${url} does not answer with it; see "kubectl get pods -A"`,
    )
  })
}

const gateway = (kubectl: (...args: string[]) => Promise<string>, path: string) =>
  kubectl('get', 'svc', '-n', 'istio-system', 'istio-ingressgateway', '-o', `jsonpath=${path}`)

/** What to do next, for the terminal. */
export function nextSteps(url: string, kubeconfig: string, name: string): string {
  const purge = `npx sampan down --purge${name === DEFAULT_NAME ? '' : ` --name ${name}`}`
  return `
bookinfo is there: ${url}
Reload it: no stars, black stars, red stars, in turn. kubectl uses the cluster (${kubeconfig}). Then:
  kubectl apply -f ${join(FOLDER, 'reviews-by-user.yaml')}
                                   # sign in as jason: black stars; sign out: red ones or none
  kubectl get gw,vs,dr
  kubectl logs deploy/productpage-v1 -c productpage
  kubectl top pods --containers
  ${purge.padEnd(32)} # remove everything
`
}
