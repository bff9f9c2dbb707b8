// `npm start`: brings a cluster up, plays the gray-release tutorial in it, shows how the traffic split.

import { homedir } from 'node:os'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'
import { exec, execOk, messageOf, SampanError } from '#base'
import { DEFAULT_NAME, defaultDataDir } from './cluster.ts'
import { up } from './lifecycle.ts'
import { progress, say } from './terminal.ts'

const DEMO = fileURLToPath(new URL('../../examples/gray-release', import.meta.url))
const CALLS = 200

async function main(): Promise<void> {
  const kubeconfig = process.env.KUBECONFIG?.split(':')[0] ?? join(homedir(), '.kube', 'config')
  const env = { ...process.env, KUBECONFIG: kubeconfig } as Record<string, string>
  const kubectl = (...args: string[]) => execOk('kubectl', args, { env })
  await progress('starting the cluster', () =>
    up({ name: DEFAULT_NAME, dataDir: defaultDataDir(DEFAULT_NAME), kubeconfig, progress: () => {} }),
  )
  await progress('applying the gray-release demo', async () => {
    await kubectl('label', 'namespace', 'default', 'istio-injection=enabled', '--overwrite')
    await kubectl('apply', '-f', DEMO)
  })
  await progress('waiting for its pods', async () => {
    for (const v of ['v1', 'v2'])
      await kubectl('rollout', 'status', `deployment/k8s-combat-service-${v}`, '--timeout=120s')
  })
  const pod = (
    await kubectl(
      'get',
      'pods',
      '-l',
      'app=k8s-combat-service-v1',
      '--field-selector=status.phase=Running',
      '-o',
      'jsonpath={.items[0].metadata.name}',
    )
  ).trim()
  const url = 'http://127.0.0.1:8081/grpc_client?name=k8s-combat-service-istio-mesh&version=200'
  const loop = `i=0; while [ $i -lt ${CALLS} ]; do curl -s -m 5 '${url}'; echo; i=$((i+1)); done`
  const answers = await progress(`sending ${CALLS} requests`, async () => {
    const { stdout, stderr, code } = await exec('kubectl', ['exec', pod, '-c', 'istio-proxy', '--', 'sh', '-c', loop], {
      env,
    })
    if (code !== 0) throw new SampanError('DemoFailed', `Cannot send requests from pod ${pod}: ${stderr.trim()}`)
    return stdout
  })
  const count = (version: string) => answers.split(`hostname:k8s-combat-service-${version}`).length - 1
  const bar = (n: number) => '█'.repeat(Math.round((n / CALLS) * 40))
  process.stdout.write(`\nThe VirtualService asks for 10% on v1 and 90% on v2. ${CALLS} gRPC requests went:\n`)
  for (const v of ['v1', 'v2']) process.stdout.write(`  ${v}  ${String(count(v)).padStart(4)}  ${bar(count(v))}\n`)
  process.stdout.write(`
The cluster keeps running; kubectl uses it (${kubeconfig}). Try:
  kubectl get pods
  kubectl edit virtualservice k8s-combat-service-vs      # shift the weights, then run npm start again
  kubectl logs deploy/k8s-combat-service-v1 -c istio-proxy
  npx sampan status
  npx sampan down --purge                                # remove everything
`)
}

try {
  await main()
} catch (error) {
  say(messageOf(error))
  process.exitCode = 1
}
