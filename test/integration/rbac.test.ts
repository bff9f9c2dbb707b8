// Who may do what: roles, aggregation, escalation, impersonation, as clients see it.

import assert from 'node:assert/strict'
import { test } from 'node:test'
import type { Json } from '#api'
import { call, startApi, type TestApi } from '#kit'
import { createDefaults } from '../../src/app/bootstrap.ts'
import type { Cluster } from '../../src/app/cluster.ts'

const addresses = { gatewayIp: '10.244.0.1', kubernetesIp: '10.96.0.1', dnsIp: '10.96.0.10', apiPort: 6443 }

async function start(): Promise<TestApi> {
  const api = await startApi({ controllers: true })
  await createDefaults(api.client, addresses as Cluster)
  return api
}

const as = (user: string, ...groups: string[]): Record<string, string | string[]> => ({
  'Impersonate-User': user,
  ...(groups.length > 0 ? { 'Impersonate-Group': groups } : {}),
})
const RBAC = '/apis/rbac.authorization.k8s.io/v1'
const role = (name: string, verbs: string[], resources: string[]): Json => ({
  metadata: { name },
  rules: [{ apiGroups: [''], resources, verbs }],
})
const bind = (name: string, kind: string, to: string, user: string): Json => ({
  metadata: { name },
  roleRef: { apiGroup: 'rbac.authorization.k8s.io', kind, name: to },
  subjects: [{ kind: 'User', name: user }],
})

test('a stranger may read nothing, and is told what and where', async () => {
  await using api = await start()
  const answer = await call(api, 'GET', '/api/v1/namespaces/default/secrets', undefined, { headers: as('somebody') })
  assert.equal(answer.status, 403)
  assert.equal(
    answer.body.message,
    'secrets is forbidden: User "somebody" cannot list resource "secrets" in API group "" in the namespace "default"',
  )
})

test('view, edit and admin are gathered by label, with what a new role adds', async () => {
  await using api = await start()
  const labels = { 'rbac.authorization.k8s.io/aggregate-to-view': 'true' }
  const rules = [{ apiGroups: ['stable.example.com'], resources: ['crontabs'], verbs: ['get'] }]
  await call(api, 'POST', `${RBAC}/clusterroles`, { metadata: { name: 'crontabs-view', labels }, rules })
  await api.clock.advance(1000)
  const view = (await call(api, 'GET', `${RBAC}/clusterroles/view`)).body
  assert.ok(view.rules.some((r: Json) => r.apiGroups[0] === 'stable.example.com'))
  assert.ok(!view.rules.some((r: Json) => r.resources?.includes('secrets')), 'view does not read Secrets')
  const edit = (await call(api, 'GET', `${RBAC}/clusterroles/edit`)).body
  assert.ok(edit.rules.some((r: Json) => r.resources?.includes('secrets')))
  assert.ok(
    edit.rules.some((r: Json) => r.apiGroups[0] === 'stable.example.com'),
    'edit has what view has',
  )
})

test('nobody grants what they do not have', async () => {
  await using api = await start()
  const path = `${RBAC}/namespaces/default`
  await call(api, 'POST', `${path}/roles`, {
    metadata: { name: 'rbac-editor' },
    rules: [
      { apiGroups: ['rbac.authorization.k8s.io'], resources: ['roles', 'rolebindings'], verbs: ['*'] },
      { apiGroups: [''], resources: ['pods'], verbs: ['get', 'list'] },
    ],
  })
  // "*" holds escalate and bind as well: name the verbs.
  await call(
    api,
    'PATCH',
    `${path}/roles/rbac-editor`,
    {
      rules: [
        {
          apiGroups: ['rbac.authorization.k8s.io'],
          resources: ['roles', 'rolebindings'],
          verbs: ['get', 'create', 'update', 'patch'],
        },
        { apiGroups: [''], resources: ['pods'], verbs: ['get', 'list'] },
      ],
    },
    { type: 'application/merge-patch+json' },
  )
  await call(api, 'POST', `${path}/rolebindings`, bind('alice', 'Role', 'rbac-editor', 'alice'))
  const headers = as('alice')
  const mine = await call(api, 'POST', `${path}/roles`, role('mine', ['get'], ['pods']), { headers })
  assert.equal(mine.status, 201, JSON.stringify(mine.body))
  const more = await call(api, 'POST', `${path}/roles`, role('more', ['get'], ['pods', 'secrets']), { headers })
  assert.equal(more.status, 403)
  assert.match(
    more.body.message,
    /user "alice" \(groups=\["system:authenticated"\]\) is attempting to grant RBAC permissions not currently held:\n\{APIGroups:\[""\], Resources:\["secrets"\], Verbs:\["get"\]\}/,
  )
  const admin = await call(api, 'POST', `${path}/rolebindings`, bind('x', 'ClusterRole', 'cluster-admin', 'alice'), {
    headers,
  })
  assert.equal(admin.status, 403)
  const own = await call(api, 'POST', `${path}/rolebindings`, bind('y', 'Role', 'mine', 'bob'), { headers })
  assert.equal(own.status, 201, JSON.stringify(own.body))
})

test('impersonation needs the right to it, for users, groups and service accounts alike', async () => {
  await using api = await start()
  const review = { kind: 'SelfSubjectReview', apiVersion: 'authentication.k8s.io/v1', metadata: {} }
  const who = async (headers: Record<string, string | string[]>) =>
    call(api, 'POST', '/apis/authentication.k8s.io/v1/selfsubjectreviews', review, { headers })
  const info = (await who(as('system:serviceaccount:default:default'))).body.status.userInfo
  assert.deepEqual(info.groups, ['system:serviceaccounts', 'system:serviceaccounts:default', 'system:authenticated'])
  assert.equal((await who({ 'Impersonate-Group': 'x' })).status, 400)
  // The impersonated user cannot go on to impersonate: only one step is taken, and it must be allowed.
  await call(api, 'POST', `${RBAC}/clusterroles`, {
    metadata: { name: 'imp' },
    rules: [{ apiGroups: [''], resources: ['users'], verbs: ['impersonate'], resourceNames: ['bob'] }],
  })
  await call(api, 'POST', `${RBAC}/clusterrolebindings`, {
    metadata: { name: 'imp' },
    roleRef: { kind: 'ClusterRole', name: 'imp', apiGroup: 'rbac.authorization.k8s.io' },
    subjects: [{ kind: 'ServiceAccount', name: 'default', namespace: 'default' }],
  })
  const { token } = await api.client.createToken('default', 'default', { expirationSeconds: 3600 })
  const bearer = { Authorization: `Bearer ${token}` }
  const bob = await call(api, 'POST', '/apis/authentication.k8s.io/v1/selfsubjectreviews', review, {
    anonymous: true,
    headers: { ...bearer, ...as('bob') },
  })
  assert.equal(bob.body.status.userInfo.username, 'bob')
  const root = await call(api, 'POST', '/apis/authentication.k8s.io/v1/selfsubjectreviews', review, {
    anonymous: true,
    headers: { ...bearer, ...as('bob', 'system:masters') },
  })
  assert.equal(root.status, 403)
  assert.match(root.body.message, /cannot impersonate resource "groups"/)
})
