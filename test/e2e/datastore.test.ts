// Where a cluster's state is kept: in etcd, over a restart; in the data directory, back from a backup.

import assert from 'node:assert/strict'
import { writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { test } from 'node:test'
import { eventually, ok, startEtcd, type TestCluster, testCluster } from '#kit'

/** A command that must succeed; its arguments are split at spaces. */
const kubectlOf = (cluster: TestCluster) => (args: string) => ok(cluster.kubectl(args))

test('a cluster keeps its state in an etcd with TLS, and finds it there again', async () => {
  await using etcd = await startEtcd({ tls: true })
  await using cluster = testCluster('etcd')
  const { folder, sampan } = cluster
  const kubectl = kubectlOf(cluster)
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
  await ok(sampan('up', ...flags))
  await kubectl('create configmap kept --from-literal=a=b')
  await kubectl('create secret generic sealed --from-literal=p=hidden-word')
  await kubectl('create deployment web --image=oliwave/kubia:v1 --replicas=2')
  await kubectl('rollout status deployment/web --timeout=30s')
  const holder = await kubectl('-n kube-system get lease kube-scheduler -o jsonpath={.spec.holderIdentity}')
  assert.match(holder, /_[0-9a-f-]{36}$/)
  await ok(sampan('down'))
  // It remembers where its state is.
  await ok(sampan('up'))
  assert.equal(await kubectl('get configmap kept -o jsonpath={.data.a}'), 'b')
  assert.equal(
    Buffer.from(await kubectl('get secret sealed -o jsonpath={.data.p}'), 'base64').toString(),
    'hidden-word',
  )
  await kubectl('rollout status deployment/web --timeout=30s')
  await kubectl('scale deployment/web --replicas=3')
  await kubectl('rollout status deployment/web --timeout=30s')
  const refused = await sampan('backup', join(folder, 'backup'))
  assert.equal(refused.code, 1)
  assert.match(refused.stderr, /its state is in etcd .*use etcdctl snapshot/)
  const moved = await sampan('up', '--datastore-endpoints', 'https://127.0.0.1:1')
  assert.match(moved.stderr, /Cannot move the cluster .* to another datastore/)
})

test('a backup of a running cluster brings it back: objects, secrets, keys and pods', async () => {
  await using cluster = testCluster('backup')
  const { folder, sampan } = cluster
  const kubectl = kubectlOf(cluster)
  await ok(sampan('up'))
  await kubectl('create configmap before --from-literal=a=b')
  await kubectl('create secret generic sealed --from-literal=p=word')
  await kubectl('create deployment web --image=oliwave/kubia:v1')
  await kubectl('rollout status deployment/web --timeout=30s')
  const file = join(folder, 'backup')
  const backup = await sampan('backup', file)
  assert.equal(backup.code, 0, backup.stderr)
  assert.match(backup.stderr, /SHA-256 [0-9a-f]{64}/)
  await kubectl('delete configmap before')
  await kubectl('create configmap after')
  const running = await sampan('restore', file)
  assert.equal(running.code, 1)
  assert.match(running.stderr, /it is running; stop it with "sampan down" first/)
  // The machine is lost: everything but the backup.
  await ok(sampan('down', '--purge'))
  await ok(sampan('restore', file))
  await ok(sampan('up'))
  assert.equal(await kubectl('get configmap before -o jsonpath={.data.a}'), 'b')
  assert.match((await kubectl('get configmap after --ignore-not-found')) || 'none', /none/)
  assert.equal(await kubectl('get secret sealed -o jsonpath={.data.p}'), 'd29yZA==')
  // The pod's status is of then; its containers are made again.
  await eventually(async () => assert.match(await kubectl('exec deploy/web -- echo runs'), /runs/), 60)
})
