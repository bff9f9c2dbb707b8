// Istio's documented traffic tasks on a real cluster: bookinfo, httpbin, tcp-echo and fortio in real containers.

import assert from 'node:assert/strict'
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { after, before, test } from 'node:test'
import { eventually, ok, ROOT, testCluster } from '#kit'
import { createAuthority, issue } from '#wire'

const cluster = testCluster('tasks')
const { sampan, kubectl } = cluster
const bookinfo = (name: string) => readFileSync(join(ROOT, 'examples/bookinfo', name), 'utf8')
const apply = (text: string) => ok(kubectl('apply -f -', text))
const remove = (text: string) => ok(kubectl('delete --ignore-not-found -f -', text))

/** A command in the container from which requests are sent; what it prints. */
const shell = async (script: string): Promise<string> => {
  const r = await cluster.exec('kubectl', ['exec', 'deploy/curl', '-c', 'curl', '--', 'sh', '-c', script])
  return r.stdout.trim()
}
const curl = (args: string) => shell(`curl -s -m 10 ${args}`)
const code = (args: string) => curl(`-o /dev/null -w '%{http_code}' ${args}`)
const repeat = (n: number, args: string) => shell(`for i in $(seq ${n}); do curl -s -m 10 ${args}; echo; done`)

const workload = (
  name: string,
  image: string,
  port: number,
  more: { version?: string; args?: string; replicas?: number } = {},
) => `
apiVersion: apps/v1
kind: Deployment
metadata: {name: ${name}${more.version ? `-${more.version}` : ''}}
spec:
  replicas: ${more.replicas ?? 1}
  selector: {matchLabels: {app: ${name}, version: ${more.version ?? 'v1'}}}
  template:
    metadata: {labels: {app: ${name}, version: ${more.version ?? 'v1'}}}
    spec:
      containers: [{name: ${name}, image: "${image}", ${more.args ? `args: ${more.args}, ` : ''}ports: [{containerPort: ${port}}]}]
---`
const service = (name: string, port: number, target: number, portName: string) => `
apiVersion: v1
kind: Service
metadata: {name: ${name}}
spec: {selector: {app: ${name}}, ports: [{name: ${portName}, port: ${port}, targetPort: ${target}}]}
---`
const subsets = (host: string) => `
apiVersion: networking.istio.io/v1
kind: DestinationRule
metadata: {name: ${host}}
spec: {host: ${host}, subsets: [{name: v1, labels: {version: v1}}, {name: v2, labels: {version: v2}}]}
---`
const rule = (name: string, spec: string) => `
apiVersion: networking.istio.io/v1
kind: VirtualService
metadata: {name: ${name}}
spec: ${spec}
---`

const CURL = `
apiVersion: apps/v1
kind: Deployment
metadata: {name: curl}
spec:
  selector: {matchLabels: {app: curl}}
  template:
    metadata: {labels: {app: curl}}
    spec: {terminationGracePeriodSeconds: 0, containers: [{name: curl, image: curlimages/curl, command: ["/bin/sleep", "infinity"]}]}
---`
const HTTPBIN = ['v1', 'v2']
  .map((version) => workload('httpbin', 'docker.io/mccutchen/go-httpbin:v2.15.0', 8080, { version }))
  .join('')

before(async () => {
  await ok(sampan('up'))
  await ok(kubectl('label namespace default istio-injection=enabled'))
  await apply(
    [
      bookinfo('bookinfo.yaml'),
      CURL,
      HTTPBIN,
      service('httpbin', 8000, 8080, 'http'),
      ...['v1', 'v2'].map((v, i) =>
        workload('tcp-echo', 'docker.io/istio/tcp-echo-server:1.3', 9000, {
          version: v,
          args: `["9000", "${i ? 'two' : 'one'}"]`,
        }),
      ),
      service('tcp-echo', 9000, 9000, 'tcp'),
      workload('fortio', 'fortio/fortio:latest_release', 8080),
    ].join('\n---\n'),
  )
  for (const name of [
    'productpage-v1',
    'reviews-v3',
    'curl',
    'httpbin-v1',
    'httpbin-v2',
    'tcp-echo-v1',
    'tcp-echo-v2',
    'fortio',
  ])
    await ok(kubectl(`rollout status deploy/${name} --timeout=60s`))
})
after(() => cluster[Symbol.asyncDispose]())

const reviewsOf = async (user = ''): Promise<string[]> => {
  const text = await repeat(12, `${user ? `-H 'end-user: ${user}'` : ''} http://reviews:9080/reviews/1`)
  return text
    .split('\n')
    .filter(Boolean)
    .map((line) =>
      line.includes('"red"') ? 'v3' : line.includes('"black"') ? 'v2' : line.includes('reviewer') ? 'v1' : line,
    )
}
const onlyFrom = async (wanted: string, user?: string) =>
  assert.deepEqual([...new Set(await reviewsOf(user))], [wanted])

const REVIEWS = `
apiVersion: networking.istio.io/v1
kind: DestinationRule
metadata: {name: reviews}
spec: {host: reviews, subsets: [{name: v1, labels: {version: v1}}, {name: v2, labels: {version: v2}}, {name: v3, labels: {version: v3}}]}
---`

test('request routing: everybody to v1, jason to v2', async () => {
  await apply(
    REVIEWS +
      rule(
        'reviews',
        '{hosts: [reviews], http: [{match: [{headers: {end-user: {exact: jason}}}], route: [{destination: {host: reviews, subset: v2}}]}, {route: [{destination: {host: reviews, subset: v1}}]}]}',
      ),
  )
  await eventually(() => onlyFrom('v1'))
  await onlyFrom('v2', 'jason')
})

test('traffic shifting: half to v3, then all', async () => {
  await apply(
    rule(
      'reviews',
      '{hosts: [reviews], http: [{route: [{destination: {host: reviews, subset: v1}, weight: 50}, {destination: {host: reviews, subset: v3}, weight: 50}]}]}',
    ),
  )
  await eventually(async () => assert.deepEqual([...new Set(await reviewsOf())].sort(), ['v1', 'v3']))
  await apply(rule('reviews', '{hosts: [reviews], http: [{route: [{destination: {host: reviews, subset: v3}}]}]}'))
  await eventually(() => onlyFrom('v3'))
})

test('fault injection: a delay and an abort for jason only', async () => {
  const fault = (f: string) =>
    rule(
      'ratings',
      `{hosts: [ratings], http: [{match: [{headers: {end-user: {exact: jason}}}], fault: ${f}, route: [{destination: {host: ratings}}]}, {route: [{destination: {host: ratings}}]}]}`,
    )
  await apply(fault('{delay: {percentage: {value: 100}, fixedDelay: 700ms}}'))
  const seconds = async (user: string) =>
    Number(await curl(`-o /dev/null -w '%{time_total}' -H 'end-user: ${user}' http://ratings:9080/ratings/0`))
  await eventually(async () => assert.ok((await seconds('jason')) > 0.65))
  assert.ok((await seconds('mary')) < 0.6)
  await apply(fault('{abort: {percentage: {value: 100}, httpStatus: 500}}'))
  await eventually(async () => assert.equal(await code("-H 'end-user: jason' http://ratings:9080/ratings/0"), '500'))
  assert.equal(await curl("-H 'end-user: jason' http://ratings:9080/ratings/0"), 'fault filter abort')
  assert.equal(await code('http://ratings:9080/ratings/0'), '200')
})

test('request timeouts: the callee is slow, the caller is told in time', async () => {
  await apply(
    rule(
      'ratings',
      '{hosts: [ratings], http: [{fault: {delay: {percentage: {value: 100}, fixedDelay: 3s}}, route: [{destination: {host: ratings}}]}]}',
    ),
  )
  await apply(
    rule('reviews', '{hosts: [reviews], http: [{timeout: 0.5s, route: [{destination: {host: reviews, subset: v2}}]}]}'),
  )
  await eventually(async () => assert.equal(await code('http://reviews:9080/reviews/1'), '504'))
  assert.equal(await curl('http://reviews:9080/reviews/1'), 'upstream request timeout')
  // A rule that was deleted stayed in force until something else changed.
  await remove(rule('ratings', '{}') + rule('reviews', '{}') + REVIEWS)
  await eventually(async () => assert.equal(await code('http://reviews:9080/reviews/1'), '200'), 5)
})

test('TCP traffic shifting: one version, then a share of both', async () => {
  const to = (one: number, two: number) =>
    rule(
      'tcp-echo',
      `{hosts: [tcp-echo], tcp: [{match: [{port: 9000}], route: [{destination: {host: tcp-echo, subset: v1}, weight: ${one}}, {destination: {host: tcp-echo, subset: v2}, weight: ${two}}]}]}`,
    )
  const said = async () =>
    (await shell('for i in $(seq 20); do (echo world; sleep 0.1) | nc -w 1 tcp-echo 9000; done')).split('\n').sort()
  await apply(subsets('tcp-echo') + to(100, 0))
  await eventually(async () => assert.deepEqual([...new Set(await said())], ['one world']))
  await apply(to(50, 50))
  await eventually(async () => assert.deepEqual([...new Set(await said())], ['one world', 'two world']))
})

test('mirroring: the copy arrives at v2, the answer is v1’s', async () => {
  await apply(
    subsets('httpbin') +
      rule(
        'httpbin',
        '{hosts: [httpbin], http: [{route: [{destination: {host: httpbin, subset: v1}}], mirror: {host: httpbin, subset: v2}, mirrorPercentage: {value: 100}}]}',
      ),
  )
  const logged = async (version: string, path: string) =>
    (await ok(kubectl(`logs deploy/httpbin-${version} -c httpbin`))).includes(path)
  await eventually(async () => {
    const path = `/anything/${Date.now()}`
    assert.equal(await code(`http://httpbin:8000${path}`), '200')
    await eventually(async () => assert.ok((await logged('v1', path)) && (await logged('v2', path))), 2)
  })
})

test('circuit breaking: what is too much at once is turned away', async () => {
  await apply(`
apiVersion: networking.istio.io/v1
kind: DestinationRule
metadata: {name: httpbin}
spec:
  host: httpbin
  trafficPolicy:
    connectionPool: {tcp: {maxConnections: 1}, http: {http1MaxPendingRequests: 1, maxRequestsPerConnection: 1}}
    outlierDetection: {consecutive5xxErrors: 1, interval: 1s, baseEjectionTime: 3m, maxEjectionPercent: 100}
---${rule('httpbin', '{hosts: [httpbin], http: [{route: [{destination: {host: httpbin}}]}]}')}`)
  const load = async (c: number) =>
    (
      await cluster.exec('kubectl', [
        'exec',
        'deploy/fortio',
        '-c',
        'fortio',
        '--',
        '/usr/bin/fortio',
        'load',
        '-c',
        String(c),
        '-qps',
        '0',
        '-n',
        '30',
        '-loglevel',
        'Warning',
        'http://httpbin:8000/delay/0.05',
      ])
    ).stdout
  await eventually(async () => {
    const text = await load(6)
    assert.match(text, /Code 200 : \d+/)
    assert.match(text, /Code 503 : \d+/)
  })
  const stats = await ok(kubectl('exec deploy/fortio -c istio-proxy -- pilot-agent request GET stats'))
  assert.match(stats, /httpbin.*upstream_rq_pending_overflow: [1-9]/)
  assert.match(await load(1), /Code 200 : 30 \(100\.0 %\)/)
  await remove(subsets('httpbin') + rule('httpbin', '{}'))
})

/** Writes the certificate of a host, of an authority of its own, to a folder. */
async function writeKeys(folder: string, host: string) {
  const ca = await createAuthority(`authority of ${host}`)
  const { cert, key } = await issue(ca, { commonName: host, usage: 'server', dnsNames: [host] })
  const file = (name: string, text: string) => {
    writeFileSync(join(folder, `${host}.${name}`), text)
    return join(folder, `${host}.${name}`)
  }
  return { ca: file('ca', ca.cert), crt: file('crt', cert), key: file('key', key) }
}

test('ingress, plain and with TLS told apart by name', async (t) => {
  const folder = mkdtempSync('/tmp/sampan-keys-')
  t.after(() => rmSync(folder, { recursive: true, force: true }))
  for (const host of ['one.example.com', 'two.example.com']) {
    const { crt, key } = await writeKeys(folder, host)
    await ok(kubectl(`create -n istio-system secret tls ${host.split('.')[0]}-credential --key=${key} --cert=${crt}`))
  }
  const https = (host: string) =>
    `{port: {number: 443, name: https-${host}, protocol: HTTPS}, tls: {mode: SIMPLE, credentialName: ${host}-credential}, hosts: [${host}.example.com]}`
  await apply(`
apiVersion: networking.istio.io/v1
kind: Gateway
metadata: {name: edge}
spec:
  selector: {istio: ingressgateway}
  servers:
  - {port: {number: 80, name: http, protocol: HTTP}, hosts: ["httpbin.example.com"]}
  - ${https('one')}
  - ${https('two')}
---${rule('edge', '{hosts: [httpbin.example.com, one.example.com], gateways: [edge], http: [{match: [{uri: {prefix: /status}}, {uri: {prefix: /headers}}], route: [{destination: {host: httpbin, port: {number: 8000}}}]}]}')}
${rule('edge-two', '{hosts: [two.example.com], gateways: [edge], http: [{directResponse: {status: 418, body: {string: two}}}]}')}`)
  const ip = (await ok(kubectl('get svc istio-ingressgateway -n istio-system -o jsonpath={.spec.clusterIP}'))).trim()
  const outside = async (args: string[]) =>
    (await cluster.exec('curl', ['-s', '-m', '5', '-o', '/dev/null', '-w', '%{http_code}', ...args])).stdout
  await eventually(async () =>
    assert.equal(await outside(['-H', 'Host: httpbin.example.com', `http://${ip}/status/200`]), '200'),
  )
  assert.equal(await outside(['-H', 'Host: httpbin.example.com', `http://${ip}/delay/1`]), '404')
  assert.equal(await outside(['-H', 'Host: other.example.com', `http://${ip}/status/200`]), '404')
  const secure = (host: string, path: string) =>
    outside(['--cacert', join(folder, `${host}.ca`), '--resolve', `${host}:443:${ip}`, `https://${host}${path}`])
  await eventually(async () => assert.equal(await secure('one.example.com', '/status/200'), '200'))
  assert.equal(await secure('two.example.com', '/any'), '418')
})

const httpbinIp = async () => (await ok(kubectl('get pod -l app=httpbin -o jsonpath={.items[0].status.podIP}'))).trim()

test('egress: what is registered is reached under its name, what is not is refused when only that is allowed', async () => {
  const ip = await httpbinIp()
  const entry = `
apiVersion: networking.istio.io/v1
kind: ServiceEntry
metadata: {name: ext}
spec: {hosts: [ext.example.com], ports: [{number: 80, name: http, protocol: HTTP}], resolution: STATIC, location: MESH_EXTERNAL, endpoints: [{address: ${ip}, ports: {http: 8080}}]}
---`
  await apply(entry)
  // The address does not matter: the name decides.
  await eventually(async () =>
    assert.equal(await code('-H "Host: ext.example.com" http://192.0.2.1/status/204'), '204'),
  )
  await apply(`
apiVersion: v1
kind: ConfigMap
metadata: {name: istio, namespace: istio-system}
data: {mesh: "outboundTrafficPolicy: {mode: REGISTRY_ONLY}\\naccessLogFile: /dev/stdout\\n"}`)
  await eventually(async () => assert.equal(await code('-H "Host: unknown.example.com" http://192.0.2.1/'), '502'))
  assert.equal(await code('-H "Host: ext.example.com" http://192.0.2.1/status/204'), '204')
  const log = await ok(kubectl('logs deploy/curl -c istio-proxy --tail=20'))
  assert.match(log, /"GET \/status\/204 HTTP\/1\.1" 204 - via_upstream - "-" .* outbound\|80\|\|ext\.example\.com /)
  await ok(kubectl('delete configmap istio -n istio-system'))
  await remove(entry)
})

test('a name that only the mesh knows is answered where DNS is captured, and reached by its automatic address', async () => {
  const ip = await httpbinIp()
  const objects = `
apiVersion: networking.istio.io/v1
kind: ServiceEntry
metadata: {name: db}
spec: {hosts: [db.internal, "*.db.internal"], ports: [{number: 5000, name: tcp, protocol: TCP}], resolution: STATIC, endpoints: [{address: ${ip}, ports: {tcp: 8080}}]}
---
apiVersion: networking.istio.io/v1
kind: ServiceEntry
metadata: {name: hidden, namespace: kube-system}
spec: {hosts: [hidden.internal], exportTo: ["."], ports: [{number: 5000, name: tcp, protocol: TCP}], resolution: STATIC, endpoints: [{address: ${ip}, ports: {tcp: 8080}}]}
---
apiVersion: v1
kind: Pod
metadata:
  name: captures
  annotations: {proxy.istio.io/config: '{"proxyMetadata": {"ISTIO_META_DNS_CAPTURE": "true"}}'}
spec: {terminationGracePeriodSeconds: 0, containers: [{name: curl, image: curlimages/curl, command: ["/bin/sleep", "infinity"]}]}
---`
  await apply(objects)
  await ok(kubectl('wait pod/captures --for=condition=Ready --timeout=60s'))
  const from = async (target: string, url: string) =>
    (
      await cluster.exec('kubectl', [
        'exec',
        target,
        '-c',
        'curl',
        '--',
        'curl',
        '-s',
        '-m',
        '5',
        '-o',
        '/dev/null',
        '-w',
        '%{http_code} %{remote_ip}',
        url,
      ])
    ).stdout
  await eventually(async () =>
    assert.match(await from('captures', 'http://db.internal:5000/status/204'), /^204 240\.240\./),
  )
  assert.match(await from('captures', 'http://hidden.internal:5000/'), /^000/)
  // Without it nobody is told.
  assert.match(await from('deploy/curl', 'http://db.internal:5000/status/204'), /^000/)
  await remove(objects)
})

test('local rate limits by EnvoyFilter; what such a filter may not do is said on it', async () => {
  await apply(`
apiVersion: networking.istio.io/v1alpha3
kind: EnvoyFilter
metadata: {name: limit}
spec:
  workloadSelector: {labels: {app: httpbin, version: v1}}
  configPatches:
  - applyTo: HTTP_FILTER
    match: {context: SIDECAR_INBOUND, listener: {filterChain: {filter: {name: envoy.filters.network.http_connection_manager}}}}
    patch:
      operation: INSERT_BEFORE
      value:
        name: envoy.filters.http.local_ratelimit
        typed_config:
          "@type": type.googleapis.com/udpa.type.v1.TypedStruct
          type_url: type.googleapis.com/envoy.extensions.filters.http.local_ratelimit.v3.LocalRateLimit
          value:
            stat_prefix: limiter
            token_bucket: {max_tokens: 2, tokens_per_fill: 2, fill_interval: 600s}
            filter_enabled: {default_value: {numerator: 100, denominator: HUNDRED}}
            filter_enforced: {default_value: {numerator: 100, denominator: HUNDRED}}
  - {applyTo: BOOTSTRAP, patch: {operation: MERGE, value: {}}}`)
  const ip = (await ok(kubectl('get pod -l app=httpbin,version=v1 -o jsonpath={.items[0].status.podIP}'))).trim()
  await eventually(async () => assert.equal(await code(`http://${ip}:8080/status/200`), '429'))
  await eventually(async () =>
    assert.match(
      await ok(kubectl('get envoyfilter limit -o jsonpath={.status.validationMessages}')),
      /applyTo BOOTSTRAP is not supported/,
    ),
  )
  await ok(kubectl('delete envoyfilter limit'))
  await eventually(async () => assert.equal(await code(`http://${ip}:8080/status/200`), '200'), 5)
})

test('the Gateway API: a gateway of its own, a route, its status', async () => {
  await apply(`
apiVersion: gateway.networking.k8s.io/v1
kind: Gateway
metadata: {name: own}
spec: {gatewayClassName: istio, listeners: [{name: http, port: 80, protocol: HTTP, hostname: "*.example.com"}]}
---
apiVersion: gateway.networking.k8s.io/v1
kind: HTTPRoute
metadata: {name: own}
spec:
  parentRefs: [{name: own}]
  hostnames: [web.example.com]
  rules:
  - matches: [{path: {type: PathPrefix, value: /bin}}]
    filters: [{type: URLRewrite, urlRewrite: {path: {type: ReplacePrefixMatch, replacePrefixMatch: /}}}]
    backendRefs: [{name: httpbin, port: 8000}]
  - matches: [{path: {type: PathPrefix, value: /nobody}}]
    backendRefs: [{name: nosuch, port: 1}]`)
  // The Service follows the annotation, whatever the type was before; a Gateway that failed stopped all others.
  await ok(kubectl('annotate gtw own networking.istio.io/service-type=ClusterIP'))
  await eventually(async () =>
    assert.equal(await ok(kubectl('get svc own-istio -o jsonpath={.spec.type}')), 'ClusterIP'),
  )
  await ok(kubectl('wait --timeout=60s --for=condition=programmed gtw own'))
  // Without a load balancer a Gateway is known by its name inside.
  await eventually(async () =>
    assert.equal(
      await ok(kubectl('get gtw own -o jsonpath={.status.addresses[0].type},{.status.addresses[0].value}')),
      'Hostname,own-istio.default.svc.cluster.local',
    ),
  )
  const ip = (await ok(kubectl('get svc own-istio -o jsonpath={.spec.clusterIP}'))).trim()
  const at = async (path: string, host = 'web.example.com') =>
    (
      await cluster.exec('curl', [
        '-s',
        '-m',
        '5',
        '-o',
        '/dev/null',
        '-w',
        '%{http_code}',
        '-H',
        `Host: ${host}`,
        `http://${ip}${path}`,
      ])
    ).stdout
  await eventually(async () => assert.equal(await at('/bin/status/202'), '202'))
  assert.equal(await at('/nobody'), '500')
  // What its parameters say of what it is given, as they are now; without them it cannot be accepted.
  const reference = { group: '', kind: 'ConfigMap', name: 'own-parameters' }
  const patch = JSON.stringify({ spec: { infrastructure: { parametersRef: reference } } })
  await ok(kubectl(`patch gtw own --type=merge -p ${patch}`))
  const accepted = 'get gtw own -o jsonpath={.status.conditions[?(@.type=="Accepted")].reason}'
  await eventually(async () => assert.equal(await ok(kubectl(accepted)), 'InvalidParameters'))
  const parameters = (replicas: number) => `
apiVersion: v1
kind: ConfigMap
metadata: {name: own-parameters}
data:
  deployment: |
    spec:
      replicas: ${replicas}
      template: {spec: {containers: [{name: istio-proxy, resources: {requests: {cpu: 11m}}}]}}
  podDisruptionBudget: |
    spec: {minAvailable: 1}
`
  const made =
    'get deploy own-istio -o jsonpath={.spec.replicas},{.spec.template.spec.containers[*].resources.requests.cpu}'
  for (const replicas of [2, 1]) {
    await apply(parameters(replicas))
    await eventually(async () => assert.equal(await ok(kubectl(made)), `${replicas},11m`))
  }
  await eventually(async () => assert.equal(await ok(kubectl(accepted)), 'Accepted'))
  assert.equal(await ok(kubectl('get pdb own-istio -o jsonpath={.spec.minAvailable}')), '1')
  await ok(kubectl('rollout status deploy/own-istio --timeout=60s'))
  assert.equal(await ok(kubectl('get svc own-istio -o jsonpath={.spec.clusterIP}')), ip)
  await eventually(async () => assert.equal(await at('/bin/status/202'), '202'))
  assert.equal(await at('/binary'), '404')
  assert.equal(await at('/bin/status/202', 'other.org'), '404')
  assert.match(
    await ok(
      kubectl('get httproute own -o jsonpath={.status.parents[0].conditions[?(@.type=="ResolvedRefs")].reason}'),
    ),
    /BackendNotFound/,
  )
  await ok(kubectl('delete gtw own'))
  await eventually(async () => assert.equal((await kubectl('get deploy own-istio')).code, 1))
})

test('a sidecar of two workers outlives one of them, and counts as one', async () => {
  await apply(
    workload('twofold', 'docker.io/mccutchen/go-httpbin:v2.15.0', 8080).replace(
      'labels: {app: twofold, version: v1}}\n    spec',
      "labels: {app: twofold, version: v1}, annotations: {proxy.istio.io/config: 'concurrency: 2'}}\n    spec",
    ) + service('twofold', 8000, 8080, 'http'),
  )
  await ok(kubectl('rollout status deploy/twofold --timeout=60s'))
  const inside = async (script: string) =>
    (
      await cluster.exec('kubectl', ['exec', 'deploy/twofold', '-c', 'istio-proxy', '--', 'sh', '-c', script])
    ).stdout.trim()
  // Children of the first process, by the parent that each names.
  const workers = async () =>
    (await inside("grep -l '^PPid:.1$' /proc/[0-9]*/status | cut -d/ -f3")).split('\n').filter((pid) => pid !== '')
  const two = async () => {
    const pids = (await workers()).filter((pid) => Number(pid) > 1)
    const names = await Promise.all(pids.map((pid) => inside(`tr '\\0' ' ' < /proc/${pid}/cmdline`)))
    return pids.filter((_, i) => names[i]!.includes('proxy.mjs'))
  }
  assert.equal((await two()).length, 2)
  const ask = () => repeat(20, "-o /dev/null -w '%{http_code}' http://twofold:8000/get")
  assert.equal(new Set((await ask()).split('\n')).size, 1)
  const [first] = await two()
  await inside(`kill -9 ${first}`)
  const answers = (await ask()).split('\n')
  // The connection that the other sidecar kept to it may have been the dead one's; it finds another.
  assert.deepEqual(new Set(answers), new Set(['200']))
  await eventually(async () => {
    const now = await two()
    assert.ok(now.length === 2 && !now.includes(first!))
  })
  assert.match(await inside('pilot-agent request GET stats'), /http\.downstream_rq_total: [1-9]/)
  assert.match(await inside('pilot-agent request GET /clusters'), /inbound\|8080\|\|::.*rq_total::[1-9]/)
  await remove(workload('twofold', 'x', 8080) + service('twofold', 8000, 8080, 'http'))
})

test('a pod that ends does so beside its sidecar, and its init containers have the network', async () => {
  await apply(`
apiVersion: v1
kind: Pod
metadata: {name: once}
spec:
  restartPolicy: Never
  initContainers: [{name: first, image: curlimages/curl, command: [sh, -c, "curl -s -m 10 -o /dev/null -w %{http_code} http://httpbin:8000/status/200"]}]
  containers: [{name: main, image: curlimages/curl, command: [sh, -c, "curl -s -m 10 -o /dev/null -w %{http_code} http://httpbin:8000/status/201"]}]`)
  await eventually(
    async () => assert.equal(await ok(kubectl('get pod once -o jsonpath={.status.phase}')), 'Succeeded'),
    40,
  )
  assert.equal(await ok(kubectl('logs once -c first')), '200')
  assert.equal(await ok(kubectl('logs once -c main')), '201')
})

test('the mesh says how it is: status and analysis', async () => {
  const status = await ok(sampan('mesh', 'status'))
  assert.match(status, /^curl-\S+\.default +Kubernetes +SYNCED +SYNCED +SYNCED +SYNCED$/m)
  await apply(rule('broken', '{hosts: [nosuch], http: [{route: [{destination: {host: nosuch}}]}]}'))
  const analysis = await sampan('mesh', 'analyze')
  assert.equal(analysis.code, 79)
  assert.match(
    analysis.stdout,
    /^Error \[IST0101\] \(VirtualService default\/broken\) Referenced host not found: "nosuch"$/m,
  )
  await eventually(async () =>
    assert.match(await ok(kubectl('get vs broken -o jsonpath={.status.validationMessages[0].type.code}')), /IST0101/),
  )
  await apply(`
apiVersion: networking.istio.io/v1
kind: DestinationRule
metadata: {name: mutual}
spec: {host: httpbin, trafficPolicy: {tls: {mode: ISTIO_MUTUAL}}}`)
  await eventually(async () =>
    assert.match(
      await ok(kubectl('get dr mutual -o jsonpath={.status.validationMessages[0].message}')),
      /^spec\.trafficPolicy\.tls\.mode: ISTIO_MUTUAL has no effect yet/,
    ),
  )
})
