// Injection: who gets a sidecar, and what the pod looks like then.

import assert from 'node:assert/strict'
import { test } from 'node:test'
import type { Json, KubeObject } from '#api'
import { DEFAULT_MESH } from '../model/mesh-config.ts'
import { injectSidecar } from './inject.ts'
import { wantsSidecar } from './policy.ts'
import { webhookConfiguration } from './webhook-configuration.ts'
import { injectObject } from './workload-files.ts'

const CONFIG = { proxyImage: 'proxy:1', excludeCidrs: ['10.0.0.1/32'], mesh: DEFAULT_MESH }
const namespace = (labels: Record<string, string>, name = 'default'): KubeObject => ({
  apiVersion: 'v1',
  kind: 'Namespace',
  metadata: { name, uid: '', resourceVersion: '', creationTimestamp: '', labels },
})
const pod = (labels: Record<string, string> = {}, more: Json = {}): Json => ({
  metadata: { name: 'p', labels, ...more.metadata },
  spec: { containers: [{ name: 'app', image: 'app', ports: [{ name: 'web', containerPort: 8080 }] }], ...more.spec },
})
const injected = (p: Json): Json => {
  injectSidecar(p, 'default', CONFIG)
  return p
}
const named = (list: Json[] | undefined, name: string): Json => list?.find((c) => c.name === name) ?? {}

test('who is injected: the matrix of Istio’s four webhooks', () => {
  const inject = 'sidecar.istio.io/inject'
  const rows: [Record<string, string>, Record<string, string>, boolean][] = [
    [{}, {}, false],
    [{}, { [inject]: 'true' }, true],
    [{}, { [inject]: 'false' }, false],
    [{}, { 'istio.io/rev': 'default' }, true],
    [{}, { 'istio.io/rev': 'canary' }, false],
    [{ 'istio-injection': 'enabled' }, {}, true],
    [{ 'istio-injection': 'enabled' }, { [inject]: 'false' }, false],
    [{ 'istio-injection': 'disabled' }, { [inject]: 'true' }, false],
    [{ 'istio-injection': 'other' }, { [inject]: 'true' }, false],
    [{ 'istio.io/rev': 'default' }, {}, true],
    [{ 'istio.io/rev': 'default' }, { [inject]: 'false' }, false],
    [{ 'istio.io/rev': 'canary' }, { [inject]: 'true' }, false],
    [{ 'istio-injection': 'enabled', 'istio.io/rev': 'canary' }, {}, true],
  ]
  for (const [of, labels, wanted] of rows)
    assert.equal(wantsSidecar(namespace(of), pod(labels)), wanted, JSON.stringify([of, labels]))
  const enabled = { 'istio-injection': 'enabled' }
  assert.equal(wantsSidecar(namespace(enabled, 'kube-system'), pod()), false)
  assert.equal(wantsSidecar(namespace(enabled), pod({}, { spec: { hostNetwork: true } })), false)
  assert.equal(wantsSidecar(namespace({}), pod({}, { metadata: { annotations: { [inject]: 'true' } } })), false)
  assert.equal(wantsSidecar(namespace(enabled), pod({}, { metadata: { annotations: { [inject]: 'false' } } })), false)
})

test('a sidecar is a restartable init container, the first after istio-init; by annotation a container', () => {
  const native = injected(pod({}, { spec: { initContainers: [{ name: 'setup' }] } }))
  assert.deepEqual(
    native.spec.initContainers.map((c: Json) => c.name),
    ['istio-init', 'istio-proxy', 'setup'],
  )
  assert.equal(named(native.spec.initContainers, 'istio-proxy').restartPolicy, 'Always')
  assert.deepEqual(
    native.spec.containers.map((c: Json) => c.name),
    ['app'],
  )
  const beside = injected(
    pod(
      {},
      {
        metadata: { annotations: { 'sidecar.istio.io/nativeSidecar': 'false' } },
        spec: { initContainers: [{ name: 'setup' }] },
      },
    ),
  )
  // Before the redirection: nobody would take what it sends.
  assert.deepEqual(
    beside.spec.initContainers.map((c: Json) => c.name),
    ['setup', 'istio-init'],
  )
  assert.deepEqual(
    beside.spec.containers.map((c: Json) => c.name),
    ['istio-proxy', 'app'],
  )
  assert.equal(named(beside.spec.containers, 'istio-proxy').restartPolicy, undefined)
  // What is injected is not injected again.
  const once = structuredClone(native)
  assert.deepEqual(injected(native), once)
})

test('probes go through the agent, named ports as numbers; the agent is told what to do', () => {
  const p = pod()
  Object.assign(p.spec.containers[0], {
    readinessProbe: { httpGet: { path: '/ready', port: 'web' }, timeoutSeconds: 3, periodSeconds: 7 },
    livenessProbe: { tcpSocket: { port: 8080 } },
    startupProbe: { exec: { command: ['true'] } },
    lifecycle: { preStop: { httpGet: { path: '/bye', port: 8080 } } },
  })
  const [app] = injected(p).spec.containers
  assert.deepEqual(app.readinessProbe, {
    timeoutSeconds: 3,
    periodSeconds: 7,
    httpGet: { path: '/app-health/app/readyz', port: 15020 },
  })
  assert.deepEqual(app.livenessProbe, { httpGet: { path: '/app-health/app/livez', port: 15020 } })
  assert.deepEqual(app.startupProbe, { exec: { command: ['true'] } })
  assert.equal(app.lifecycle.preStop.httpGet.path, '/app-lifecycle/app/prestopz')
  const env = named(p.spec.initContainers, 'istio-proxy').env
  assert.deepEqual(JSON.parse(named(env, 'ISTIO_KUBE_APP_PROBERS').value), {
    '/app-health/app/readyz': { httpGet: { path: '/ready', port: 8080 }, timeoutSeconds: 3 },
    '/app-health/app/livez': { tcpSocket: { port: 8080 } },
    '/app-lifecycle/app/prestopz': { httpGet: { path: '/bye', port: 8080 } },
  })
  const rpc = pod()
  rpc.spec.containers[0].livenessProbe = { grpc: { port: 9090, service: 'shop' } }
  const [served] = injected(rpc).spec.containers
  assert.deepEqual(served.livenessProbe, { httpGet: { path: '/app-health/app/livez', port: 15020 } })
  const told = named(named(rpc.spec.initContainers, 'istio-proxy').env, 'ISTIO_KUBE_APP_PROBERS').value
  assert.deepEqual(JSON.parse(told), { '/app-health/app/livez': { grpc: { port: 9090, service: 'shop' } } })
  const kept = pod({}, { metadata: { annotations: { 'sidecar.istio.io/rewriteAppHTTPProbers': 'false' } } })
  kept.spec.containers[0].readinessProbe = { httpGet: { path: '/', port: 8080 } }
  assert.equal(injected(kept).spec.containers[0].readinessProbe.httpGet.port, 8080)
})

test('annotations say what is redirected, what the proxy may use, and what it is started with', () => {
  const p = injected(
    pod(
      {},
      {
        metadata: {
          annotations: {
            'traffic.sidecar.istio.io/includeOutboundIPRanges': '10.0.0.0/8',
            'traffic.sidecar.istio.io/excludeOutboundIPRanges': '10.9.0.0/16, 10.8.0.0/16',
            'traffic.sidecar.istio.io/includeInboundPorts': '80,81',
            'traffic.sidecar.istio.io/excludeInboundPorts': '22',
            'traffic.sidecar.istio.io/excludeOutboundPorts': '3306,25',
            'traffic.sidecar.istio.io/includeOutboundPorts': '443',
            'sidecar.istio.io/proxyCPU': '100m',
            'sidecar.istio.io/proxyMemoryLimit': '256Mi',
            'sidecar.istio.io/proxyImage': 'other:2',
            'status.sidecar.istio.io/port': '0',
            'proxy.istio.io/config': 'terminationDrainDuration: 9s\nconcurrency: 4\nproxyMetadata: {A: "1"}\n',
            'prometheus.io/scrape': 'true',
            'prometheus.io/port': '9102',
          },
        },
      },
    ),
  )
  const args: string[] = named(p.spec.initContainers, 'istio-init').args
  const option = (name: string) => args[args.indexOf(name) + 1]
  assert.equal(option('-i'), '10.0.0.0/8')
  assert.equal(option('-x'), '10.0.0.1/32,10.9.0.0/16,10.8.0.0/16')
  assert.equal(option('-b'), '80,81')
  assert.equal(option('-d'), '15090,15021,15020,22')
  assert.equal(option('-o'), '3306,25')
  assert.equal(option('-q'), '443')
  const proxy = named(p.spec.initContainers, 'istio-proxy')
  assert.deepEqual(proxy.resources, { limits: { memory: '256Mi' }, requests: { cpu: '100m' } })
  assert.equal(proxy.image, 'other:2')
  assert.equal(proxy.readinessProbe, undefined)
  assert.deepEqual(proxy.args.slice(-2), ['--concurrency', '4'])
  assert.equal(named(proxy.env, 'TERMINATION_DRAIN_DURATION').value, '9s')
  assert.equal(named(proxy.env, 'A').value, '1')
  assert.deepEqual(JSON.parse(named(proxy.env, 'ISTIO_PROMETHEUS_ANNOTATIONS').value), {
    scrape: 'true',
    path: '',
    port: '9102',
  })
  assert.equal(p.metadata.annotations['prometheus.io/port'], '15020')
})

test('a container named istio-proxy says what is another; a gateway’s pod is nothing but that', () => {
  const own = injected(
    pod(
      {},
      {
        spec: {
          containers: [
            {
              name: 'istio-proxy',
              image: 'auto',
              resources: { requests: { cpu: '1' } },
              env: [
                { name: 'X', value: 'y' },
                { name: 'TRUST_DOMAIN', value: 'other' },
              ],
              lifecycle: { preStop: { exec: { command: ['true'] } } },
            },
            { name: 'app' },
          ],
        },
      },
    ),
  )
  const proxy = named(own.spec.initContainers, 'istio-proxy')
  assert.equal(proxy.image, 'proxy:1')
  assert.deepEqual(proxy.resources, {
    limits: { cpu: '2', memory: '1Gi' },
    requests: { cpu: '1', memory: '40Mi' },
  })
  assert.equal(named(proxy.env, 'X').value, 'y')
  assert.equal(named(proxy.env, 'CA_ADDR').value, 'istiod.istio-system.svc:15012')
  assert.equal(proxy.env.filter((e: Json) => e.name === 'TRUST_DOMAIN').length, 1)
  assert.ok(proxy.lifecycle.postStart && proxy.lifecycle.preStop, 'what is not named stays')
  const inits = injected(
    pod(
      {},
      { spec: { initContainers: [{ name: 'first' }, { name: 'istio-init', resources: { limits: { cpu: '1' } } }] } },
    ),
  ).spec.initContainers as Json[]
  assert.deepEqual(
    inits.map((c) => c.name),
    ['istio-init', 'istio-proxy', 'first'],
  )
  assert.deepEqual(inits[0]!.resources.limits, { cpu: '1', memory: '1Gi' })
  const gateway = injected({
    metadata: { annotations: { 'inject.istio.io/templates': 'gateway' } },
    spec: { containers: [{ name: 'istio-proxy', image: 'auto' }] },
  })
  assert.equal(gateway.spec.initContainers, undefined)
  assert.deepEqual(
    gateway.spec.containers.map((c: Json) => [c.name, c.image, c.args[1]]),
    [['istio-proxy', 'proxy:1', 'router']],
  )
})

test('an Envoy that is asked for is started with a bootstrap for this control plane', () => {
  const p = injected(pod({}, { metadata: { annotations: { 'sampan.dev/envoy': 'envoy:9' } } }))
  const proxy = named(p.spec.initContainers, 'istio-proxy')
  assert.equal(proxy.image, 'envoy:9')
  assert.deepEqual(proxy.command, ['envoy'])
  const bootstrap = JSON.parse(proxy.args.at(-1))
  assert.equal(bootstrap.dynamic_resources.ads_config.api_type, 'DELTA_GRPC')
  assert.match(proxy.args[1], /^sidecar~\$\(INSTANCE_IP\)~\$\(POD_NAME\)\.\$\(POD_NAMESPACE\)~/)
})

test('files: every kind with pods is injected, the others and those that refuse are as they were', () => {
  const template = { metadata: { labels: { app: 'a' } }, spec: { containers: [{ name: 'a', image: 'a' }] } }
  for (const kind of ['Deployment', 'StatefulSet', 'DaemonSet', 'Job', 'ReplicaSet'])
    assert.equal(
      injectObject({ kind, metadata: { name: 'x' }, spec: { template } }, 'default', CONFIG).spec.template.spec
        .initContainers.length,
      2,
      kind,
    )
  const cron = { kind: 'CronJob', metadata: { name: 'x' }, spec: { jobTemplate: { spec: { template } } } }
  const made = injectObject(cron, 'default', CONFIG).spec.jobTemplate.spec.template
  assert.equal(made.spec.initContainers.length, 2)
  assert.equal(named(made.spec.initContainers[1].env, 'ISTIO_META_WORKLOAD_NAME').value, 'x')
  assert.equal(made.metadata.ownerReferences, undefined)
  const service = { kind: 'Service', metadata: { name: 'x' } }
  assert.equal(injectObject(service, 'default', CONFIG), service)
  const refusing = {
    kind: 'Deployment',
    metadata: { name: 'x' },
    spec: { template: { ...template, metadata: { labels: { 'sidecar.istio.io/inject': 'false' } } } },
  }
  assert.equal(injectObject(refusing, 'default', CONFIG), refusing)
})

test('ProxyConfig: the nearer says more, and the environment is joined', () => {
  const config = (name: string, ns: string, environmentVariables: Json, app?: string): KubeObject => ({
    apiVersion: 'networking.istio.io/v1beta1',
    kind: 'ProxyConfig',
    metadata: { name, namespace: ns, uid: name, resourceVersion: '', creationTimestamp: '2026-01-01T00:00:00Z' },
    spec: { environmentVariables, ...(app ? { selector: { matchLabels: { app } } } : {}) },
  })
  const pods = pod(
    { app: 'web' },
    { metadata: { annotations: { 'proxy.istio.io/config': 'proxyMetadata: {D: pod}' } } },
  )
  injectSidecar(pods, 'default', {
    ...CONFIG,
    mesh: { ...DEFAULT_MESH, defaultConfig: { proxyMetadata: { A: 'mesh', B: 'mesh' } } },
    proxyConfigs: [
      config('root', 'istio-system', { B: 'root', C: 'root', D: 'root' }),
      config('space', 'default', { C: 'space' }),
      config('web', 'default', { E: 'web' }, 'web'),
      config('other', 'default', { E: 'other' }, 'other'),
      config('far', 'elsewhere', { E: 'far' }),
    ],
  })
  const { env } = named(pods.spec.initContainers, 'istio-proxy')
  const told = Object.fromEntries(env.filter((e: Json) => e.name.length === 1).map((e: Json) => [e.name, e.value]))
  assert.deepEqual(told, { A: 'mesh', B: 'root', C: 'space', D: 'pod', E: 'web' })
})

test('annotations that cannot be followed refuse the pod, in Istio’s words', () => {
  const cases: Record<string, [value: string, problem: RegExp]> = {
    'traffic.sidecar.istio.io/excludeInboundPorts': ['bad', /excludeInboundPorts invalid: failed parsing port 'bad'/],
    'traffic.sidecar.istio.io/excludeOutboundPorts': ['80,70000', /failed parsing port '70000'.*out of range/],
    'traffic.sidecar.istio.io/includeInboundPorts': ['1,*', /includeInboundPorts invalid: failed parsing port '\*'/],
    'traffic.sidecar.istio.io/includeOutboundIPRanges': ['10.0.0.1', /includeIPRanges invalid: .* no '\/'/],
    'traffic.sidecar.istio.io/excludeOutboundIPRanges': [
      '10.0.0.300/8',
      /excludeIPRanges invalid: failed parsing cidr/,
    ],
    'readiness.status.sidecar.istio.io/periodSeconds': ['-1', /parsing "-1": invalid syntax/],
    'sidecar.istio.io/interceptionMode': ['ALL', /use REDIRECT,TPROXY,NONE: ALL/],
    'sidecar.istio.io/proxyCPU': ['much', /quantities must match/],
  }
  for (const [name, [value, problem]] of Object.entries(cases)) {
    const inject = () => injected(pod({}, { metadata: { annotations: { [name]: value } } }))
    assert.throws(inject, (error: Error) => {
      assert.match(error.message, /^admission webhook "namespace.sidecar-injector.istio.io" denied the request: /)
      assert.ok(error.message.includes(`invalid value '${value}' for annotation '${name}': `), error.message)
      assert.match(error.message, problem)
      return true
    })
  }
  const good = {
    'traffic.sidecar.istio.io/excludeInboundPorts': '',
    'traffic.sidecar.istio.io/includeInboundPorts': '*',
    'traffic.sidecar.istio.io/includeOutboundIPRanges': '10.0.0.0/8,fd00::/8',
    'traffic.sidecar.istio.io/excludeOutboundPorts': '80, 443',
  }
  injected(pod({}, { metadata: { annotations: good } }))
})

test('what is named in annotations, other sidecars, and who the proxy is', () => {
  const annotations = {
    'sidecar.istio.io/userVolume': '{"one":{"emptyDir":{}},"two":{"configMap":{"name":"c"}}}',
    'sidecar.istio.io/userVolumeMount': '{"one":{"mountPath":"/one","readOnly":true}}',
  }
  const p = pod({}, { metadata: { annotations } })
  p.spec.containers.push({ name: 'istio-proxy', image: 'auto', securityContext: { runAsUser: 1234 } })
  p.spec.initContainers = [
    { name: 'helper', image: 'h', restartPolicy: 'Always', readinessProbe: { httpGet: { path: '/r', port: 3333 } } },
    { name: 'once', image: 'o' },
  ]
  const { spec, metadata } = injected(p)
  assert.deepEqual(
    spec.volumes.filter((v: Json) => ['one', 'two'].includes(v.name)),
    [
      { name: 'one', emptyDir: {} },
      { name: 'two', configMap: { name: 'c' } },
    ],
  )
  const [init, proxy, helper] = spec.initContainers
  assert.deepEqual(proxy.volumeMounts.at(-1), { name: 'one', mountPath: '/one', readOnly: true })
  // Whose own traffic is not redirected is who it runs as; as somebody else it would be sent to itself.
  assert.equal(init.args[init.args.indexOf('-u') + 1], '1234')
  assert.deepEqual(helper.readinessProbe.httpGet, { path: '/app-health/helper/readyz', port: 15020 })
  assert.equal(metadata.annotations['istio.io/rev'], 'default')

  const open = injected(pod({}, { metadata: { annotations: { 'sidecar.istio.io/interceptionMode': 'NONE' } } }))
  assert.deepEqual(
    open.spec.initContainers.map((c: Json) => c.name),
    ['istio-proxy'],
  )
})

test('the webhook configuration says who is injected, as the injector decides it', () => {
  const { webhooks } = webhookConfiguration() as Json
  type Expression = { key: string; operator: string; values?: string[] }
  const holds = ({ matchExpressions }: { matchExpressions: Expression[] }, labels: Record<string, string>) =>
    matchExpressions.every(({ key, operator, values = [] }) => {
      const value = labels[key]
      if (operator === 'DoesNotExist') return value === undefined
      return (value !== undefined && values.includes(value)) === (operator === 'In')
    })
  const values = (key: string, ...all: string[]): Record<string, string>[] => [{}, ...all.map((v) => ({ [key]: v }))]
  const times = (a: Record<string, string>[], b: Record<string, string>[]) =>
    a.flatMap((x) => b.map((y) => ({ ...x, ...y })))
  const revisions = values('istio.io/rev', 'default', 'canary')
  for (const of of times(values('istio-injection', 'enabled', 'disabled'), revisions))
    for (const labels of times(values('sidecar.istio.io/inject', 'true', 'false'), revisions)) {
      const called = (webhooks as Json[]).some((w) => holds(w.namespaceSelector, of) && holds(w.objectSelector, labels))
      assert.equal(wantsSidecar(namespace(of), pod(labels)), called, `${JSON.stringify(of)} ${JSON.stringify(labels)}`)
    }
})
