// A real cluster: containers, nftables, kubectl. Uses its own name, folder and kubeconfig, and leaves nothing behind.

import assert from 'node:assert/strict'
import { spawn } from 'node:child_process'
import { existsSync, readdirSync, readFileSync } from 'node:fs'
import { join } from 'node:path'
import { after, before, test } from 'node:test'
import { exec } from '#base'
import { commandLines, eventually, ok, ROOT, testCluster } from '#kit'

const cluster = testCluster('e2e')
const { name: NAME, folder, env, sampan, kubectl } = cluster

const web = (version: string) => `
apiVersion: apps/v1
kind: Deployment
metadata: {name: web}
spec:
  replicas: 2
  selector: {matchLabels: {app: web}}
  template:
    metadata: {labels: {app: web}}
    spec:
      containers: [{name: web, image: "oliwave/kubia:${version}", ports: [{containerPort: 8080}]}]
---
apiVersion: v1
kind: Service
metadata: {name: web}
spec: {type: NodePort, selector: {app: web}, ports: [{port: 80, targetPort: 8080}]}
`

/** What a new connection is answered with. */
const page = (url: string) => ok(exec('curl', ['-sf', '-m', '10', url]))

before(async () => {
  await ok(sampan('up'))
})

after(() => cluster[Symbol.asyncDispose]())

test('up twice is harmless, status tells the truth', async () => {
  await ok(sampan('up'))
  const status = JSON.parse(await ok(sampan('status', '-o', 'json')))
  assert.equal(status.ready, true)
  assert.match(await ok(kubectl('get nodes --no-headers')), / Ready /)
})

test('a Deployment answers on its cluster address, its node port and its name', async () => {
  await ok(kubectl('apply -f -', web('v1')))
  await ok(kubectl('rollout status deployment/web --timeout=60s'))
  const [ip, port] = (
    await ok(kubectl('get service web -o jsonpath={.spec.clusterIP},{.spec.ports[0].nodePort}'))
  ).split(',')
  for (const url of [`http://${ip}`, `http://127.0.0.1:${port}`])
    await eventually(
      async () => assert.match(await ok(exec('curl', ['-sf', '-m', '2', url])), /This is v1 running in pod web-/),
      10,
    )
  const pod = (await ok(kubectl('get pods -l app=web -o jsonpath={.items[0].metadata.name}'))).trim()
  assert.match(await ok(kubectl(`exec ${pod} -- wget -qO- http://web.default.svc.cluster.local`)), /This is v1/)
  // A port that the Service has not is refused at once, from the host and from a pod: a client must not wait.
  assert.equal((await exec('curl', ['-s', '-m', '5', `http://${ip}:81`])).code, 7)
  const refused = await exec('kubectl', ['exec', pod, '--', 'wget', '-qO-', '-T', '5', `http://${ip}:81`], { env })
  assert.match(refused.stderr, /refused/)
})

// A resolver asks once: the CNAME alone left it without an address.
test('a Service of type ExternalName leads to what it names', async () => {
  await ok(kubectl('create service externalname other --external-name=web.default.svc.cluster.local'))
  const pod = (await ok(kubectl('get pods -l app=web -o jsonpath={.items[0].metadata.name}'))).trim()
  assert.match(await ok(kubectl(`exec ${pod} -- wget -qO- http://other.default.svc.cluster.local`)), /This is v1/)
  await ok(kubectl('delete svc other'))
})

test('exec carries output, errors and the exit code; logs and cp work', async () => {
  const pod = (await ok(kubectl('get pods -l app=web -o jsonpath={.items[0].metadata.name}'))).trim()
  const r = await exec('kubectl', ['exec', pod, '--', 'sh', '-c', 'echo out; echo err >&2; exit 3'], { env })
  assert.equal(r.code, 3)
  assert.equal(r.stdout, 'out\n')
  assert.match(r.stderr, /^err\n/)
  assert.equal(await ok(kubectl(`exec -i ${pod} -- cat`, 'through stdin')), 'through stdin')
  assert.match(await ok(kubectl(`logs ${pod}`)), /Kubia server v1 starting/)
  await ok(kubectl(`cp ${join(ROOT, 'package.json')} ${pod}:/tmp/copied`))
  assert.equal(await ok(kubectl(`exec ${pod} -- cat /tmp/copied`)), readFileSync(join(ROOT, 'package.json'), 'utf8'))
})

// The end of the data overtook the reason: kubectl said nothing at all.
test('port-forward to a port where nobody listens says so', async () => {
  const forward = spawn('kubectl', ['port-forward', 'deployment/web', ':9999'], { env })
  let said = ''
  forward.stdout.on('data', (d) => (said += d))
  forward.stderr.on('data', (d) => (said += d))
  try {
    await eventually(async () => assert.match(said, /Forwarding from 127\.0\.0\.1:\d+ -> 9999/), 10)
    const port = /127\.0\.0\.1:(\d+)/.exec(said)![1]
    assert.notEqual((await exec('curl', ['-s', '-m', '2', `http://127.0.0.1:${port}/`])).code, 0)
    await eventually(async () => assert.match(said, /error forwarding port 9999 to pod .*onnection refused/), 10)
  } finally {
    forward.kill()
  }
})

test('no request is lost in a rolling update', async () => {
  const ip = await ok(kubectl('get service web -o jsonpath={.spec.clusterIP}'))
  let stop = false
  const lost: string[] = []
  const seen = new Set<string>()
  const load = (async () => {
    while (!stop) {
      const r = await exec('curl', ['-s', '-m', '20', `http://${ip}`])
      if (r.code !== 0) lost.push(`curl exit ${r.code}`)
      seen.add(/This is (v\d)/.exec(r.stdout)?.[1] ?? 'nothing')
    }
  })()
  await ok(kubectl('apply -f -', web('v2')))
  await ok(kubectl('rollout status deployment/web --timeout=60s'))
  await new Promise((resolve) => setTimeout(resolve, 1000))
  stop = true
  await load
  assert.deepEqual(lost, [])
  assert.deepEqual([...seen].sort(), ['v1', 'v2'])
})

test('after kill -9 of the server pods run on and every acknowledged object is there', async () => {
  const restarts = () =>
    ok(kubectl('get pods -l app=web -o jsonpath={.items[*].status.containerStatuses[*].containerID}'))
  const ids = await restarts()
  const { pid } = JSON.parse(await ok(sampan('status', '-o', 'json')))
  const names: string[] = []
  const writer = (async () => {
    for (let i = 0; i < 200; i++) {
      const r = await kubectl(`create configmap written-${i}`)
      if (r.code !== 0) return
      names.push(`written-${i}`)
    }
  })()
  await new Promise((resolve) => setTimeout(resolve, 1500))
  process.kill(pid, 'SIGKILL')
  await writer
  assert.ok(names.length > 0)
  await ok(sampan('up'))
  const there = new Set((await ok(kubectl('get configmaps -o jsonpath={.items[*].metadata.name}'))).split(' '))
  for (const name of names) assert.ok(there.has(name), `${name} was acknowledged and is lost`)
  await eventually(async () => assert.equal(await restarts(), ids, 'containers were started again'), 10)
})

test('an image that does not exist is said so, on the pod and as an event', async () => {
  await ok(kubectl('run broken --image=sampan.invalid/nothing:v1'))
  await eventually(async () => {
    assert.match(
      await ok(kubectl('get pod broken -o jsonpath={.status.containerStatuses[0].state.waiting.reason}')),
      /ErrImagePull|ImagePullBackOff/,
    )
    assert.match(
      await ok(kubectl('get events --field-selector involvedObject.name=broken')),
      /Failed to pull image "sampan.invalid\/nothing:v1"/,
    )
  })
  await ok(kubectl('delete pod broken --now'))
})

test('the mesh splits traffic by weight and follows a change', async () => {
  await ok(kubectl('create namespace mesh'))
  await ok(kubectl('label namespace mesh istio-injection=enabled'))
  await ok(kubectl(`apply -n mesh -f ${join(ROOT, 'examples/gray-release')}`))
  for (const v of ['v1', 'v2'])
    await ok(kubectl(`rollout status -n mesh deployment/k8s-combat-service-${v} --timeout=90s`))
  assert.match(await ok(kubectl('get pods -n mesh --no-headers')), /( 2\/2 +Running[\s\S]*){2}/)
  const pod = (
    await ok(kubectl('get pods -n mesh -l app=k8s-combat-service-v1 -o jsonpath={.items[0].metadata.name}'))
  ).trim()
  const ask = async (count: number): Promise<number> => {
    const loop = `i=0; while [ $i -lt ${count} ]; do curl -s -m 20 'http://127.0.0.1:8081/grpc_client?name=k8s-combat-service-istio-mesh'; echo; i=$((i+1)); done`
    const answers = await ok(
      exec('kubectl', ['exec', '-n', 'mesh', pod, '-c', 'istio-proxy', '--', 'sh', '-c', loop], { env }),
    )
    assert.equal(answers.split('hostname:').length - 1, count, answers)
    return answers.split('hostname:k8s-combat-service-v2').length - 1
  }
  const v2 = await ask(200)
  assert.ok(v2 > 150 && v2 < 200, `of 200 at weight 90 v2 took ${v2}`)
  const patch =
    '[{"op":"replace","path":"/spec/http/0/route/0/weight","value":100},{"op":"replace","path":"/spec/http/0/route/1/weight","value":0}]'
  await ok(
    exec('kubectl', ['patch', '-n', 'mesh', 'virtualservice', 'k8s-combat-service-vs', '--type=json', '-p', patch], {
      env,
    }),
  )
  await eventually(async () => assert.equal(await ask(20), 0), 10)
  const refused = await exec(
    'kubectl',
    ['patch', '-n', 'mesh', 'virtualservice', 'k8s-combat-service-vs', '--type=json', '-p', patch.replace('100', '-5')],
    { env },
  )
  assert.match(refused.stderr, /spec\.http\[0\]\.route\[0\]\.weight: weight -5 < 0/)
  assert.match(
    await ok(
      exec(
        'kubectl',
        ['exec', '-n', 'mesh', pod, '-c', 'istio-proxy', '--', 'curl', '-s', 'http://127.0.0.1:15090/stats/prometheus'],
        { env },
      ),
    ),
    /istio_requests_total\{.*destination_workload="k8s-combat-service-v2"/,
  )
})

test('a load balancer answers on localhost at its own port, and a client with affinity stays where it was', async () => {
  const port = 20_000 + (process.pid % 10_000)
  await ok(
    kubectl(
      'apply -f -',
      web('v1')
        .replaceAll('web', 'lb')
        .replace('type: NodePort', 'type: LoadBalancer, sessionAffinity: ClientIP')
        .replace('port: 80', `port: ${port}`),
    ),
  )
  await ok(kubectl('rollout status deploy/lb --timeout=60s'))
  await eventually(async () => {
    const ip = await ok(kubectl('get svc lb -o jsonpath={.status.loadBalancer.ingress[0].ip}'))
    assert.match(ip, /^\d+\.\d+\.\d+\.\d+$/)
  })
  const clusterIp = (await ok(kubectl('get svc lb -o jsonpath={.spec.clusterIP}'))).trim()
  for (const host of ['127.0.0.1', clusterIp]) {
    const seen = new Set<string>()
    for (let i = 0; i < 10; i++) seen.add(await page(`http://${host}:${port}/`))
    assert.equal(seen.size, 1, `${host}: ${[...seen].join(', ')}`)
  }
  const before = await page(`http://${clusterIp}:${port}/`)
  await ok(kubectl('scale deploy/lb --replicas=4'))
  await ok(kubectl('rollout status deploy/lb --timeout=60s'))
  for (let i = 0; i < 10; i++) assert.equal(await page(`http://${clusterIp}:${port}/`), before)
  await ok(kubectl('delete deploy,svc lb'))
})

test('the cluster’s parts are pods: listed, ready, with their logs, and back when deleted', async () => {
  await eventually(async () => {
    const list = await ok(kubectl('get pods -A --no-headers'))
    for (const part of [
      'kube-apiserver',
      'kube-controller-manager',
      'kube-scheduler',
      'kube-proxy',
      'coredns',
      'istiod',
    ])
      assert.match(list, new RegExp(`${part}-\\S+ +1/1 +Running`))
  })
  assert.match(await ok(kubectl('logs -n istio-system deploy/istiod')), /serving xDS/)
  const name = (await ok(kubectl('get pods -n kube-system -l k8s-app=kube-proxy -o name'))).trim()
  await ok(kubectl(`delete -n kube-system ${name}`))
  await eventually(async () => {
    await ok(kubectl(`get -n kube-system ${name}`))
  })
  const refused = await kubectl('exec -n istio-system deploy/istiod -- ls')
  assert.match(refused.stderr, /part of the sampan process/)
})

test('proxies lead to Services, pods and the node’s own paths', async () => {
  const raw = (path: string) => ok(kubectl(`get --raw ${path}`))
  const namespace = '/api/v1/namespaces/default'
  assert.match(await raw(`${namespace}/services/web:80/proxy/`), /This is v\d running in pod/)
  const pod = (await ok(kubectl('get pods -l app=web -o jsonpath={.items[0].metadata.name}'))).trim()
  assert.match(await raw(`${namespace}/pods/${pod}:8080/proxy/`), new RegExp(`running in pod ${pod}`))
  const node = (await ok(kubectl('get nodes -o jsonpath={.items[0].metadata.name}'))).trim()
  assert.equal(await raw(`/api/v1/nodes/${node}/proxy/healthz`), 'ok')
  const summary = JSON.parse(await raw(`/api/v1/nodes/${node}/proxy/stats/summary`))
  assert.ok(summary.pods.some((p: { podRef: { name: string } }) => p.podRef.name === pod))
  assert.match(await raw('/metrics'), /^apiserver_request_total\{/m)
})

// By the API itself: kubectl's "debug" of before 1.23, Debian's among them, sends a kind that no server takes any more.
test('a container added for debugging sees the processes of its target', async () => {
  const pod = (await ok(kubectl('get pods -l app=web -o jsonpath={.items[0].metadata.name}'))).trim()
  const target = (await ok(kubectl(`get pod ${pod} -o jsonpath={.spec.containers[0].name}`))).trim()
  const object = JSON.parse(await ok(kubectl(`get pod ${pod} -o json`)))
  object.spec.ephemeralContainers = [{ name: 'look', image: 'busybox:1', targetContainerName: target, command: ['ps'] }]
  const path = `/api/v1/namespaces/default/pods/${pod}/ephemeralcontainers`
  await ok(kubectl(`replace --raw ${path} -f -`, JSON.stringify(object)))
  await eventually(async () => assert.match(await ok(kubectl(`logs ${pod} -c look`)), /server\.mjs/), 15)
})

test('a Secret is not in the clear on the disk', async () => {
  await ok(kubectl('create secret generic hidden --from-literal=word=correct-horse-battery'))
  assert.equal(
    await ok(kubectl('get secret hidden -o jsonpath={.data.word}')),
    Buffer.from('correct-horse-battery').toString('base64'),
  )
  const files = readdirSync(join(folder, 'data', 'store'))
  const text = files.map((f) => readFileSync(join(folder, 'data', 'store', f), 'latin1')).join('')
  assert.ok(text.includes('/registry/core/secrets/default/hidden'), 'the store is in plain files')
  for (const word of ['correct-horse-battery', Buffer.from('correct-horse-battery').toString('base64')])
    assert.ok(!text.includes(word))
})

test('everything kubectl create makes is taken, by whatever encoding this kubectl sends', async () => {
  const commands = [
    'create ingress i --rule=h.example.com/a*=web:80',
    'create cronjob c --image=busybox:1 --schedule=0,0,1,1,1 -- true',
    'create job j --image=busybox:1 -- true',
    'create quota q --hard=pods=100',
    'create poddisruptionbudget b --selector=app=none --min-available=1',
    'create priorityclass p --value=5',
    'create role r --verb=get --resource=pods',
    'create rolebinding rb --role=r --user=u',
    'create clusterrole cr --verb=get --resource=nodes',
    'create clusterrolebinding crb --clusterrole=cr --user=u',
    'create configmap cm --from-literal=a=b',
    'create serviceaccount sa',
    'create service clusterip s --tcp=80:80',
    'create namespace ns',
  ]
  for (const command of commands) await ok(kubectl(command.replace('0,0,1,1,1', '@yearly')))
  // What "create token" sends, which not every kubectl has.
  const request = { apiVersion: 'authentication.k8s.io/v1', kind: 'TokenRequest', spec: {} }
  const path = '/api/v1/namespaces/default/serviceaccounts/sa/token'
  const token = JSON.parse(await ok(kubectl(`create --raw ${path} -f -`, JSON.stringify(request))))
  assert.match(token.status.token, /^[\w-]+\.[\w-]+\.[\w-]+$/)
})

test('down --purge leaves nothing', async () => {
  await ok(sampan('down', '--purge'))
  assert.equal(existsSync(join(folder, 'data')), false)
  assert.equal(existsSync(`/run/sampan/${NAME}`), false)
  assert.doesNotMatch(await ok(exec('nft', ['list', 'tables'])), new RegExp(NAME))
  assert.doesNotMatch(readFileSync('/proc/self/mountinfo', 'utf8'), new RegExp(folder))
  assert.doesNotMatch(commandLines(), new RegExp(`${folder}/data|/run/sampan/${NAME}`))
  for (const root of ['/sys/fs/cgroup', '/sys/fs/cgroup/memory'])
    if (existsSync(root)) assert.ok(!readdirSync(root).includes(`sampan-${NAME}`), root)
  const missing = await sampan('status')
  assert.equal(missing.code, 3)
  assert.match(missing.stderr, /Cannot find the cluster/)
})
