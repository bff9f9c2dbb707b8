// kill -9 of the server under writes, again and again: what was acknowledged is there. CRASHES sets how often.

import assert from 'node:assert/strict'
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import { request } from 'node:https'
import { join } from 'node:path'
import { after, before, test } from 'node:test'
import { fileURLToPath } from 'node:url'
import { parse } from 'yaml'
import { exec } from '#base'
import { commandLines } from '#kit'

const ROOT = fileURLToPath(new URL('../../', import.meta.url))
const CRASHES = Number(process.env.CRASHES ?? 5)
const folder = mkdtempSync('/tmp/sampan-crash-')
const kubeconfig = join(folder, 'kubeconfig')
const common = ['--name', `crash-${process.pid}`, '--data-dir', join(folder, 'data'), '--kubeconfig', kubeconfig]
const sampan = async (...args: string[]) => {
  const r = await exec(join(ROOT, 'bin/sampan'), [...args, ...common])
  assert.equal(r.code, 0, r.stderr)
  return r.stdout
}

function client() {
  const config = parse(readFileSync(kubeconfig, 'utf8'))
  const { cluster } = config.clusters[0]
  const { user } = config.users[0]
  const bytes = (text: string) => Buffer.from(text, 'base64')
  const tls = {
    ca: bytes(cluster['certificate-authority-data']),
    cert: bytes(user['client-certificate-data']),
    key: bytes(user['client-key-data']),
    agent: false as const,
  }
  return (method: string, path: string, body?: object) =>
    new Promise<{ status: number; text: string }>((resolve, reject) => {
      const call = request(
        `${cluster.server}${path}`,
        { ...tls, method, headers: { 'content-type': 'application/json' } },
        (response) => {
          let text = ''
          response.setEncoding('utf8').on('data', (d: string) => (text += d))
          response.on('end', () => resolve({ status: response.statusCode ?? 0, text }))
          response.on('error', reject)
        },
      )
      call.on('error', reject)
      call.end(body && JSON.stringify(body))
    })
}

before(() => sampan('up'))
after(async () => {
  await sampan('down', '--purge')
  assert.doesNotMatch(
    commandLines(),
    new RegExp(`/run/sampan/crash-${process.pid}/|${folder}`),
    'a process is left behind',
  )
  rmSync(folder, { recursive: true, force: true })
})

test(`${CRASHES} times kill -9 under writes: every acknowledged object is there, pods run on`, async () => {
  const maps = '/api/v1/namespaces/default/configmaps'
  const acknowledged = new Set<string>()
  const kubectl = async (...args: string[]) => {
    const r = await exec('kubectl', ['--kubeconfig', kubeconfig, ...args])
    assert.equal(r.code, 0, r.stderr)
    return r.stdout
  }
  const file = join(folder, 'web.yaml')
  writeFileSync(
    file,
    `---\n{apiVersion: apps/v1, kind: Deployment, metadata: {name: web}, spec: {replicas: 2, selector: {matchLabels: {app: web}}, template: {metadata: {labels: {app: web}}, spec: {containers: [{name: web, image: "oliwave/kubia:v1", readinessProbe: {tcpSocket: {port: 8080}, periodSeconds: 1}, startupProbe: {tcpSocket: {port: 8080}, periodSeconds: 1}}]}}}}`,
  )
  await kubectl('apply', '-f', file)
  await kubectl('rollout', 'status', 'deployment/web', '--timeout=60s')
  const containers = () => kubectl('get', 'pods', '-o', 'jsonpath={.items[*].status.containerStatuses[*].containerID}')
  const before = await containers()
  // Pods with probes were not ready for a moment after each restart, until their first probe: their traffic was lost.
  const readySince = () =>
    kubectl('get', 'pods', '-o', 'jsonpath={.items[*].status.conditions[?(@.type=="Ready")].lastTransitionTime}')
  const ready = await readySince()
  let revision = 0
  for (let crash = 0; crash < CRASHES; crash++) {
    const call = client()
    const { pid } = JSON.parse(await sampan('status', '-o', 'json'))
    let stop = false
    const writers = Array.from({ length: 8 }, async (_, w) => {
      for (let i = 0; !stop; i++) {
        const name = `c${crash}-${w}-${i}`
        try {
          const { status, text } = await call('POST', maps, { metadata: { name } })
          if (status !== 201) continue
          acknowledged.add(name)
          revision = Math.max(revision, Number(JSON.parse(text).metadata.resourceVersion))
        } catch {
          return
        }
      }
    })
    await new Promise((resolve) => setTimeout(resolve, 100 + ((crash * 37) % 200)))
    process.kill(pid, 'SIGKILL')
    await Promise.all(writers)
    stop = true
    await sampan('up')
    const list = JSON.parse((await client()('GET', maps)).text)
    const there = new Set(list.items.map((i: { metadata: { name: string } }) => i.metadata.name))
    for (const name of acknowledged) assert.ok(there.has(name), `crash ${crash}: ${name} was acknowledged and is lost`)
    assert.ok(Number(list.metadata.resourceVersion) >= revision, 'the resourceVersion went back')
  }
  assert.equal(await containers(), before, 'containers were started again')
  assert.equal(await readySince(), ready, 'pods were not ready for a while')
  console.log(`${acknowledged.size} objects acknowledged, all there`)
})
