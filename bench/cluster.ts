// A real cluster: start, idle cost, pods to Ready, a routing change to the first request that obeys it.

import { mkdtempSync, readdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import { Agent, request } from 'node:https'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'
import { parse } from 'yaml'
import { execOk } from '#base'
import { median, type report as Report } from './report.ts'

const ROOT = fileURLToPath(new URL('../', import.meta.url))
const sleep = (ms: number) => new Promise((resolve) => setTimeout(resolve, ms))
const TICKS = 100

const deployment = (name: string) => `apiVersion: apps/v1
kind: Deployment
metadata: {name: ${name}}
spec:
  replicas: 3
  selector: {matchLabels: {app: ${name}}}
  template:
    metadata: {labels: {app: ${name}}}
    spec: {containers: [{name: c, image: "oliwave/kubia:v1", ports: [{containerPort: 8080}]}]}
`

function cpuSeconds(pid: number): number {
  const fields = readFileSync(`/proc/${pid}/stat`, 'utf8').split(') ')[1]!.split(' ')
  return (Number(fields[11]) + Number(fields[12])) / TICKS
}

/** Sends JSON patches as the cluster's administrator. */
function apiClient(kubeconfig: string) {
  const config = parse(readFileSync(kubeconfig, 'utf8'))
  const bytes = (text: string) => Buffer.from(text, 'base64')
  const { cluster } = config.clusters[0]
  const { user } = config.users[0]
  const agent = new Agent({
    keepAlive: true,
    ca: bytes(cluster['certificate-authority-data']),
    cert: bytes(user['client-certificate-data']),
    key: bytes(user['client-key-data']),
  })
  return (method: string, path: string, body: string) =>
    new Promise<void>((resolve, reject) => {
      const headers = { 'content-type': 'application/json-patch+json' }
      const call = request(`${cluster.server}${path}`, { method, agent, headers }, (response) => {
        response.resume()
        response.on('end', () =>
          response.statusCode === 200 ? resolve() : reject(new Error(`${method} ${path}: ${response.statusCode}`)),
        )
      })
      call.on('error', reject)
      call.end(body)
    })
}

/** The proxies of a role in pods of these names. */
function proxies(role: string, pods: ReadonlySet<string>): string[] {
  return readdirSync('/proc').filter((pid) => {
    try {
      const command = readFileSync(`/proc/${pid}/cmdline`, 'utf8').split('\0')
      if (!command.includes('proxy.mjs') || !command.includes(role)) return false
      const name = /(?:^|\0)POD_NAME=([^\0]*)/.exec(readFileSync(`/proc/${pid}/environ`, 'utf8'))?.[1]
      return name !== undefined && pods.has(name)
    } catch {
      return false
    }
  })
}

/** Bytes of a process in memory: all of them, or those that are its own, without the pages of Node's file. */
const residentBytes = (pid: string, field: 'VmRSS' | 'RssAnon'): number =>
  Number(new RegExp(`^${field}:\\s+(\\d+)`, 'm').exec(readFileSync(`/proc/${pid}/status`, 'utf8'))![1]) * 1024

export async function run(report: typeof Report): Promise<void> {
  const folder = mkdtempSync('/tmp/sampan-bench-')
  const kubeconfig = join(folder, 'kubeconfig')
  const common = ['--name', `bench-${process.pid}`, '--data-dir', join(folder, 'data'), '--kubeconfig', kubeconfig]
  const env = { ...process.env, KUBECONFIG: kubeconfig } as Record<string, string>
  const sampan = (...args: string[]) => execOk(join(ROOT, 'bin/sampan'), [...args, ...common], { env })
  const kubectl = (...args: string[]) => execOk('kubectl', args, { env })
  const timed = async (work: () => Promise<unknown>) => {
    const begin = performance.now()
    await work()
    return performance.now() - begin
  }
  try {
    await sampan('up')
    await sleep(4000)
    const starts: number[] = []
    for (let i = 0; i < 3; i++) {
      await sampan('down')
      starts.push(await timed(() => sampan('up')))
    }
    report({ metric: 'sampan up, images present, to Ready', unit: 's', ours: median(starts) / 1000, budget: '2' })
    await sleep(10_000)
    const { pid, memoryBytes } = JSON.parse(await sampan('status', '-o', 'json'))
    const before = cpuSeconds(pid)
    await sleep(10_000)
    report({ metric: 'server, idle, resident memory', unit: 'MB', ours: memoryBytes / 1e6, budget: '150' })
    report({
      metric: 'server, idle, CPU',
      unit: '% of a core',
      ours: ((cpuSeconds(pid) - before) / 10) * 100,
      budget: '1',
    })

    const rollout = async (name: string) => {
      const file = join(folder, `${name}.yaml`)
      writeFileSync(file, deployment(name))
      const ms = await timed(async () => {
        await kubectl('apply', '-f', file)
        await kubectl('rollout', 'status', `deployment/${name}`, '--timeout=60s')
      })
      await kubectl('delete', '-f', file, '--wait=true')
      await sleep(2000)
      return ms / 1000
    }
    report({
      metric: 'apply of 3 replicas to Ready, no mesh',
      unit: 's',
      ours: median([await rollout('a1'), await rollout('a2'), await rollout('a3')]),
      budget: '1.2',
    })
    await kubectl('label', 'namespace', 'default', 'istio-injection=enabled')
    report({
      metric: 'apply of 3 replicas to Ready, mesh',
      unit: 's',
      ours: median([await rollout('m1'), await rollout('m2'), await rollout('m3')]),
      budget: '2.5',
    })

    await kubectl('apply', '-f', join(ROOT, 'examples/gray-release'))
    for (const v of ['v1', 'v2'])
      await kubectl('rollout', 'status', `deployment/k8s-combat-service-${v}`, '--timeout=60s')
    const pod = (
      await kubectl('get', 'pods', '-l', 'app=k8s-combat-service-v1', '-o', 'jsonpath={.items[0].metadata.name}')
    ).trim()
    const ip = (await kubectl('get', 'pod', pod, '-o', 'jsonpath={.status.podIP}')).trim()
    const url = `http://${ip}:8081/grpc_client?name=k8s-combat-service-istio-mesh`
    const shift = async (v1: number) => {
      const patch = JSON.stringify(
        [0, 1].map((i) => ({ op: 'replace', path: `/spec/http/0/route/${i}/weight`, value: i === 0 ? v1 : 100 - v1 })),
      )
      await send(
        'PATCH',
        '/apis/networking.istio.io/v1/namespaces/default/virtualservices/k8s-combat-service-vs',
        patch,
      )
    }
    const send = apiClient(kubeconfig)
    const delays: number[] = []
    for (let i = 0; i < 5; i++) {
      const target = i % 2 === 0 ? 100 : 0
      const want = target === 100 ? 'service-v1' : 'service-v2'
      await shift(100 - target)
      await sleep(1000)
      // The clock starts with the write itself; kubectl's own start is not in it.
      const begin = performance.now()
      await shift(target)
      let first = 0
      for (let good = 0; good < 5; ) {
        const text = await (await fetch(url)).text()
        if (!text.includes(want)) good = 0
        else if (++good === 1) first = performance.now()
      }
      delays.push(first - begin)
    }
    report({
      metric: 'VirtualService written to first request that obeys it',
      unit: 'ms',
      ours: median(delays),
      budget: '100',
    })

    const names = new Set((await kubectl('get', 'pods', '-A', '-o', 'jsonpath={.items[*].metadata.name}')).split(' '))
    const largest = (role: string, field: 'VmRSS' | 'RssAnon') =>
      Math.max(...proxies(role, names).map((pid) => residentBytes(pid, field))) / 1e6
    report({ metric: 'gateway, idle, resident memory', unit: 'MB', ours: largest('router', 'VmRSS'), budget: '55' })
    report({ metric: 'of that its own', unit: 'MB', ours: largest('router', 'RssAnon') })
    for (let i = 0; i < 5000; i += 20)
      await Promise.all(Array.from({ length: 20 }, () => fetch(url).then((r) => r.text())))
    const busy = largest('sidecar', 'VmRSS')
    await sleep(25_000)
    report({
      metric: 'sidecar, at rest after 5,000 gRPC calls, resident',
      unit: 'MB',
      ours: largest('sidecar', 'VmRSS'),
      budget: '55',
    })
    report({ metric: 'of that its own', unit: 'MB', ours: largest('sidecar', 'RssAnon') })
    report({ metric: 'sidecar, in the midst of them, resident', unit: 'MB', ours: busy, budget: '' })
  } finally {
    await sampan('down', '--purge').catch(() => {})
    rmSync(folder, { recursive: true, force: true })
  }
}
