// Real clients against a real cluster: every kubectl to be found, Node's client, Python's client.

import assert from 'node:assert/strict'
import { existsSync, globSync, mkdirSync, readdirSync, renameSync, rmSync } from 'node:fs'
import { connect } from 'node:net'
import { join } from 'node:path'
import { PassThrough, Writable } from 'node:stream'
import { after, before, test } from 'node:test'
import * as k8s from '@kubernetes/client-node'
import { exec } from '#base'
import { eventually, ok, ROOT, testCluster } from '#kit'

const cluster = testCluster('clients')
const config = new k8s.KubeConfig()

before(async () => {
  await ok(cluster.sampan('up'))
  config.loadFromFile(cluster.kubeconfig)
})
after(() => cluster[Symbol.asyncDispose]())

/** kubectl 1.20, as Debian packages it; fetched once. */
async function debianKubectl(): Promise<string> {
  const folder = join(ROOT, '.cache', 'kubectl-debian')
  const program = join(folder, 'kubectl')
  if (existsSync(program)) return program
  rmSync(folder, { recursive: true, force: true })
  mkdirSync(folder, { recursive: true })
  const fetched = ['-c', 'apt-get -q -o APT::Sandbox::User=root download kubernetes-client && dpkg-deb -x *.deb .']
  await ok(exec('sh', fetched, { cwd: folder }))
  renameSync(join(folder, 'usr', 'bin', 'kubectl'), program)
  for (const file of readdirSync(folder)) if (file !== 'kubectl') rmSync(join(folder, file), { recursive: true })
  return program
}

const MANIFEST = `apiVersion: apps/v1
kind: Deployment
metadata: {name: web, labels: {app: web}}
spec:
  replicas: 1
  selector: {matchLabels: {app: web}}
  template:
    metadata: {labels: {app: web}}
    spec: {containers: [{name: c, image: "busybox:1", command: [sh, -c, "echo started; sleep 1000"]}]}
---
apiVersion: v1
kind: ConfigMap
metadata: {name: c}
data: {a: "1"}
`

test('every kubectl to be found does what people do with it', { timeout: 300_000 }, async () => {
  const found = globSync(['/usr/bin/kubectl', '/usr/local/bin/kubectl*', '/opt/kubectl*'])
  const seen = new Set<string>()
  for (const program of [...found, await debianKubectl()]) {
    const about = JSON.parse(await ok(exec(program, ['version', '--client', '-o', 'json'])))
    const version: string = about.clientVersion.gitVersion
    if (seen.has(version)) continue
    seen.add(version)
    const namespace = `k${seen.size}`
    const k = (args: string, stdin?: string) =>
      ok(
        exec(program, ['-n', namespace, ...args.split(' ')], {
          env: cluster.env,
          ...(stdin ? { stdin } : {}),
        }),
      )
    await k(`create namespace ${namespace}`)
    await k('apply -f -', MANIFEST)
    await k('rollout status deployment/web --timeout=60s')
    assert.match(await k('get pods -o wide'), /web-\S+ +1\/1 +Running/)
    assert.match(await k('get deploy/web -o yaml'), /^kind: Deployment$/m)
    assert.match(await k('get cm c -o jsonpath={.data.a}'), /^1$/)
    assert.match(await k('describe deployment web'), /^Replicas: +1 desired/m)
    assert.match(await k('explain deployment.spec.strategy.rollingUpdate'), /maxSurge/)
    await k('label cm c tier=x')
    await k('annotate cm c note=y')
    await k('patch cm c -p {"data":{"b":"2"}}')
    assert.match(await k('diff -f -', MANIFEST), /^$/)
    await k('apply --server-side --force-conflicts -f -', MANIFEST)
    // Older ones cannot, or send a kind of debugging containers that no server takes any more.
    if (Number(/^v1\.(\d+)/.exec(version)?.[1]) >= 25) {
      await k('wait --for=jsonpath={.status.readyReplicas}=1 deployment/web --timeout=20s')
      assert.match(await k('create token default'), /^[\w-]+\.[\w-]+\.[\w-]+\s*$/)
      const pod = (await k('get pods -o jsonpath={.items[0].metadata.name}')).trim()
      await k(`debug ${pod} --image=busybox:1 --target=c --container=look -- ps`)
      await eventually(async () => assert.match(await k(`logs ${pod} -c look`), /sleep 1000/), 15)
    }
    assert.match(await k('logs deployment/web'), /started/)
    const pod = (await k('get pods -o name')).trim()
    assert.match(await k(`exec ${pod.replace('pod/', '')} -- echo inside`), /^inside$/m)
    await k('scale deployment web --replicas=2')
    await k('rollout status deployment/web --timeout=60s')
    assert.match(await k('auth can-i create pods'), /yes/)
    assert.match(await k('api-resources --api-group=apps'), /deployments +deploy/)
    await k('create secret generic s --from-literal=k=v')
    await k('create job j --image=busybox:1 -- true')
    assert.match(await k('get events'), /Scheduled/)
    await k('delete deployment web --wait=true')
    await k(`delete namespace ${namespace} --wait=false`)
    process.stdout.write(`kubectl ${version}: ok\n`)
  }
  assert.ok(seen.size > 0)
})

test('Node’s client: objects, watch, informer, apply, log, exec, port-forward', { timeout: 120_000 }, async (t) => {
  const core = config.makeApiClient(k8s.CoreV1Api)
  const namespace = 'default'
  const name = 'node-client'
  const informer = k8s.makeInformer(config, `/api/v1/namespaces/${namespace}/configmaps`, () =>
    core.listNamespacedConfigMap({ namespace }),
  )
  const told: string[] = []
  for (const event of ['add', 'update', 'delete'] as const)
    informer.on(event, (o) => void (o.metadata?.name === name && told.push(event)))
  t.after(() => informer.stop())
  await informer.start()
  await core.createNamespacedConfigMap({ namespace, body: { metadata: { name }, data: { a: '1' } } })
  const patched = await core.patchNamespacedConfigMap(
    { namespace, name, body: [{ op: 'add', path: '/data/b', value: '2' }] },
    k8s.setHeaderOptions('Content-Type', k8s.PatchStrategy.JsonPatch),
  )
  assert.deepEqual(patched.data, { a: '1', b: '2' })
  await core.deleteNamespacedConfigMap({ namespace, name })
  await eventually(async () => assert.deepEqual(told, ['add', 'update', 'delete']), 10)

  const objects = k8s.KubernetesObjectApi.makeApiClient(config)
  const command = [
    'sh',
    '-c',
    'echo started; while true; do echo -e "HTTP/1.0 200 OK\\r\\n\\r\\nhello" | nc -l -p 8080; done',
  ]
  const body = {
    apiVersion: 'v1',
    kind: 'Pod',
    metadata: { name, namespace },
    spec: { containers: [{ name: 'c', image: 'busybox:1', command }] },
  }
  const applied = await objects.patch(body, undefined, undefined, 'node', true, k8s.PatchStrategy.ServerSideApply)
  assert.equal((applied as k8s.KubernetesObject).metadata?.managedFields?.[0]?.manager, 'node')
  await eventually(async () => {
    const pod = await core.readNamespacedPod({ namespace, name })
    assert.equal(pod.status?.containerStatuses?.[0]?.ready, true)
  })

  let log = ''
  const lines = new PassThrough().on('data', (d) => (log += d))
  const ended = new Promise((resolve) => lines.on('end', resolve))
  await new k8s.Log(config).log(namespace, name, 'c', lines, { follow: true })
  await eventually(async () => assert.match(log, /started/), 10)

  let output = ''
  const sink = () =>
    new Writable({
      write(chunk, _encoding, done) {
        output += chunk
        done()
      },
    })
  const status = await new Promise<k8s.V1Status>((resolve, reject) => {
    const command = ['sh', '-c', 'cat; echo error >&2; exit 3']
    const stdin = new PassThrough()
    new k8s.Exec(config).exec(namespace, name, 'c', command, sink(), sink(), stdin, false, resolve).catch(reject)
    stdin.end('typed\n')
  })
  assert.match(output, /typed/)
  assert.match(output, /error/)
  assert.equal(status.status, 'Failure')
  assert.equal(status.details?.causes?.[0]?.message, '3')

  const { createServer } = await import('node:net')
  const forward = new k8s.PortForward(config)
  const server = createServer((socket) => void forward.portForward(namespace, name, [8080], socket, null, socket))
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve))
  const { port } = server.address() as { port: number }
  const answer = await new Promise<string>((resolve, reject) => {
    let text = ''
    const socket = connect(port, '127.0.0.1', () => socket.write('GET / HTTP/1.0\r\n\r\n'))
    socket.on('data', (d) => {
      text += d
      if (!text.includes('hello')) return
      resolve(text)
      socket.destroy()
    })
    socket.on('error', reject).on('close', () => resolve(text))
  })
  t.after(() => void server.close())
  assert.match(answer, /hello/)
  await core.deleteNamespacedPod({ namespace, name, gracePeriodSeconds: 1 })
  // A log that is followed ends with its container.
  await ended
})

test('Python’s client as Debian packages it', { timeout: 120_000 }, async () => {
  const script = join(ROOT, 'test/e2e/clients/python_client.py')
  const output = await ok(exec('/usr/bin/python3', [script, cluster.kubeconfig], { env: cluster.env }))
  assert.match(output, /custom resources\ndone\n$/)
})
