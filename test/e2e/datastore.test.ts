// Where a cluster's state is kept: in etcd, over a restart; in the data directory, back from a backup.

import assert from 'node:assert/strict'
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { test } from 'node:test'
import { fileURLToPath } from 'node:url'
import { exec } from '#base'
import { startEtcd } from '#kit'

const ROOT = fileURLToPath(new URL('../../', import.meta.url))

/** Commands on a cluster of its own, which is gone at the end. */
async function withCluster(
  name: string,
  body: (tools: {
    folder: string
    sampan: (...args: string[]) => ReturnType<typeof exec>
    kubectl: (...args: string[]) => Promise<string>
  }) => Promise<void>,
): Promise<void> {
  const folder = mkdtempSync(`/tmp/sampan-${name}-`)
  const kubeconfig = join(folder, 'kubeconfig')
  const common = ['--name', `${name}-${process.pid}`, '--data-dir', join(folder, 'data'), '--kubeconfig', kubeconfig]
  const env = { ...process.env, KUBECONFIG: kubeconfig } as Record<string, string>
  const sampan = (...args: string[]) => exec(join(ROOT, 'bin/sampan'), [...args, ...common], { env })
  const kubectl = async (...args: string[]) => {
    const r = await exec('kubectl', args, { env })
    assert.equal(r.code, 0, `kubectl ${args.join(' ')}: ${r.stderr}`)
    return r.stdout
  }
  try {
    await body({ folder, sampan, kubectl })
  } finally {
    await sampan('down', '--purge')
    rmSync(folder, { recursive: true, force: true })
  }
}

const ok = (r: { code: number; stdout: string; stderr: string }) => {
  assert.equal(r.code, 0, r.stderr)
  return r.stdout + r.stderr
}

test('a cluster keeps its state in an etcd with TLS, and finds it there again', async () => {
  await using etcd = await startEtcd({ tls: true })
  await withCluster('etcd', async ({ folder, sampan, kubectl }) => {
    const { ca = '', cert = '', key = '' } = etcd.target.tls ?? {}
    for (const [file, text] of Object.entries({ 'ca.crt': ca, 'client.crt': cert, 'client.key': key }))
      writeFileSync(join(folder, file), text, { mode: 0o600 })
    const flags = [
      '--datastore-endpoints',
      etcd.target.endpoints.join(','),
      '--datastore-cafile',
      join(folder, 'ca.crt'),
      '--datastore-certfile',
      join(folder, 'client.crt'),
      '--datastore-keyfile',
      join(folder, 'client.key'),
    ]
    const bad = await sampan('up', '--datastore-endpoints', 'http://10.1.2.3:2379')
    assert.equal(bad.code, 1)
    assert.match(bad.stderr, /is not encrypted; use https/)
    ok(await sampan('up', ...flags))
    await kubectl('create', 'configmap', 'kept', '--from-literal=a=b')
    await kubectl('create', 'secret', 'generic', 'sealed', '--from-literal=p=hidden-word')
    await kubectl('create', 'deployment', 'web', '--image=oliwave/kubia:v1', '--replicas=2')
    await kubectl('rollout', 'status', 'deployment/web', '--timeout=30s')
    const holder = await kubectl(
      '-n',
      'kube-system',
      'get',
      'lease',
      'kube-scheduler',
      '-o',
      'jsonpath={.spec.holderIdentity}',
    )
    assert.match(holder, /_[0-9a-f-]{36}$/)
    ok(await sampan('down'))
    // It remembers where its state is.
    ok(await sampan('up'))
    assert.equal(await kubectl('get', 'configmap', 'kept', '-o', 'jsonpath={.data.a}'), 'b')
    assert.equal(
      Buffer.from(await kubectl('get', 'secret', 'sealed', '-o', 'jsonpath={.data.p}'), 'base64').toString(),
      'hidden-word',
    )
    await kubectl('rollout', 'status', 'deployment/web', '--timeout=30s')
    await kubectl('scale', 'deployment/web', '--replicas=3')
    await kubectl('rollout', 'status', 'deployment/web', '--timeout=30s')
    const refused = await sampan('backup', join(folder, 'backup'))
    assert.equal(refused.code, 1)
    assert.match(refused.stderr, /its state is in etcd .*use etcdctl snapshot/)
    const moved = await sampan('up', '--datastore-endpoints', 'https://127.0.0.1:1')
    assert.match(moved.stderr, /Cannot move the cluster .* to another datastore/)
  })
})

test('a backup of a running cluster brings it back: objects, secrets, keys and pods', async () => {
  await withCluster('backup', async ({ folder, sampan, kubectl }) => {
    ok(await sampan('up'))
    await kubectl('create', 'configmap', 'before', '--from-literal=a=b')
    await kubectl('create', 'secret', 'generic', 'sealed', '--from-literal=p=word')
    await kubectl('create', 'deployment', 'web', '--image=oliwave/kubia:v1')
    await kubectl('rollout', 'status', 'deployment/web', '--timeout=30s')
    const file = join(folder, 'backup')
    assert.match(ok(await sampan('backup', file)), /SHA-256 [0-9a-f]{64}/)
    await kubectl('delete', 'configmap', 'before')
    await kubectl('create', 'configmap', 'after')
    const running = await sampan('restore', file)
    assert.equal(running.code, 1)
    assert.match(running.stderr, /it is running; stop it with "sampan down" first/)
    // The machine is lost: everything but the backup.
    ok(await sampan('down', '--purge'))
    ok(await sampan('restore', file))
    ok(await sampan('up'))
    assert.equal(await kubectl('get', 'configmap', 'before', '-o', 'jsonpath={.data.a}'), 'b')
    assert.match((await kubectl('get', 'configmap', 'after', '--ignore-not-found')) || 'none', /none/)
    assert.equal(await kubectl('get', 'secret', 'sealed', '-o', 'jsonpath={.data.p}'), 'd29yZA==')
    // The pod's status is of then; its containers are made again.
    const end = Date.now() + 60_000
    while (!(await kubectl('exec', 'deploy/web', '--', 'echo', 'runs').catch(() => '')).includes('runs')) {
      assert.ok(Date.now() < end, 'the pod does not run again')
      await new Promise((resolve) => setTimeout(resolve, 500))
    }
  })
})
