// The nftables transaction between two states of Services.

import assert from 'node:assert/strict'
import { test } from 'node:test'
import fc from 'fast-check'
import type { Json, KubeObject } from '#api'
import { exec } from '#base'
import { randomRuns } from '#kit'
import { renderRuleset, servicePorts, type Table, transaction } from '#netproxy'

const options = {
  table: 't',
  podCidr: '10.244.0.0/22',
  serviceCidr: '10.96.0.0/22',
  bridge: 'b',
  gatewayIp: '10.244.0.1',
  ownPorts: [6443],
}
const service = (spec: object): KubeObject => ({
  apiVersion: 'v1',
  kind: 'Service',
  metadata: { name: 's', namespace: 'd', uid: 'u', resourceVersion: '1', creationTimestamp: '' },
  spec: { clusterIP: '10.96.0.5', ports: [{ port: 80, protocol: 'TCP', nodePort: 30080 }], ...spec },
})
const slice = (...ips: string[]) =>
  ({
    ports: [{ port: 8080, protocol: 'TCP' }],
    endpoints: ips.map((ip) => ({ addresses: [ip], conditions: { ready: true } })),
  }) as unknown as KubeObject
const ruleset = (spec: object, ...ips: string[]) =>
  renderRuleset(
    servicePorts([service(spec)], () => [slice(...ips)]),
    options,
  )

const fresh = (table: Table) => transaction(undefined, table)

/** What the kernel holds after these scripts, one after the other, in a network namespace of their own. */
async function held(scripts: readonly string[]): Promise<string[]> {
  const run = scripts.map((script) => `nft -f - <<'END'\n${script}END\n`).join('')
  const { code, stdout, stderr } = await exec('unshare', ['-n', 'sh', '-ec', `${run}nft -j list table ip t`])
  assert.equal(code, 0, stderr)
  const sorted = (value: Json): Json => {
    if (Array.isArray(value)) return value.map(sorted).sort((a, b) => (JSON.stringify(a) < JSON.stringify(b) ? -1 : 1))
    if (value === null || typeof value !== 'object') return value
    return Object.fromEntries(
      Object.entries(value)
        .filter(([k]) => k !== 'handle')
        .map(([k, v]) => [k, sorted(v)]),
    )
  }
  const things: Json[] = JSON.parse(stdout).nftables.slice(1)
  // Rules keep their order within a chain; everything else has none.
  const rules = things.filter((t) => t.rule).map((t, i) => JSON.stringify([t.rule.chain, i, t.rule.expr]))
  const byChain = new Map<string, string[]>()
  for (const rule of rules) {
    const [chain, , expr] = JSON.parse(rule)
    byChain.set(chain, [...(byChain.get(chain) ?? []), JSON.stringify(expr)])
  }
  return [
    ...things.filter((t) => !t.rule).map((t) => JSON.stringify(sorted(t))),
    ...[...byChain].map(([chain, exprs]) => `${chain} ${exprs.join(' ')}`),
  ].sort()
}

// A table made anew at each change was found empty by the packets that passed at that moment: one request in
// thousands left the machine by its default route in a rolling update.
test('a change of endpoints touches the Service’s chain and nothing that others look into', () => {
  const script = transaction(ruleset({}, '10.244.0.7'), ruleset({}, '10.244.0.7', '10.244.0.8'))
  const lines = script.trim().split('\n')
  assert.match(lines[0]!, /^add element ip t hairpin \{ 10\.244\.0\.8 \. 10\.244\.0\.8 \}$/)
  assert.match(lines[1]!, /^flush chain ip t svc-\w+$/)
  assert.ok(
    lines.slice(2).every((line) => /^add rule ip t svc-\w+ /.test(line)),
    script,
  )
  assert.equal(transaction(ruleset({}, '10.244.0.7'), ruleset({}, '10.244.0.7')), '')
})

const address = (prefix: string) => fc.integer({ min: 1, max: 9 }).map((n) => `${prefix}${n}`)
const someService = fc.record({
  type: fc.constantFrom('LoadBalancer', 'ClusterIP'),
  nodePort: fc.boolean(),
  sessionAffinity: fc.constantFrom('ClientIP', 'None'),
  externalIPs: fc.array(address('192.0.2.'), { maxLength: 2 }),
  ranges: fc.boolean(),
  endpoints: fc.uniqueArray(address('10.244.0.'), { maxLength: 4 }),
})

test('changes one after the other leave what the last state made anew would be', async () => {
  await fc.assert(
    fc.asyncProperty(
      fc.array(fc.array(someService, { maxLength: 5 }), { minLength: 2, maxLength: 12 }),
      async (states) => {
        const tables = states.map((services) => {
          const slices = new Map<KubeObject, KubeObject[]>()
          for (const [i, { nodePort, ranges, endpoints, ...spec }] of services.entries()) {
            const object = service({
              ...spec,
              clusterIP: `10.96.0.${10 + i}`,
              ports: [{ port: 80 + i, protocol: 'TCP', ...(nodePort ? { nodePort: 30080 + i } : {}) }],
              ...(ranges ? { loadBalancerSourceRanges: ['192.0.2.0/24'] } : {}),
            })
            slices.set({ ...object, metadata: { ...object.metadata, name: `s${i}` } }, [slice(...endpoints)])
          }
          return renderRuleset(
            servicePorts([...slices.keys()], (s) => slices.get(s)!),
            options,
          )
        })
        const steps = tables.map((next, i) => transaction(tables[i - 1], next))
        assert.deepEqual(await held(steps), await held([fresh(tables.at(-1)!)]))
      },
    ),
    randomRuns(10),
  )
})

test('clients with affinity stay known when another endpoint comes', () => {
  const spec = { sessionAffinity: 'ClientIP' }
  const before = ruleset(spec, '10.244.0.7')
  const after = ruleset(spec, '10.244.0.7', '10.244.0.8')
  assert.doesNotMatch(transaction(before, after), /(add|delete) set ip t aff-\S*-10-244-0-7-8080/)
  assert.match(transaction(after, before), /delete set ip t aff-\S*-10-244-0-8-8080/)
})

test('without a known state the table is made anew', () => {
  assert.match(fresh(ruleset({})), /^table ip t\ndelete table ip t\n/)
})

test('a load balancer has its port on the host, and keeps clients’ addresses when asked to', () => {
  const lb = fresh(ruleset({ type: 'LoadBalancer' }, '10.244.0.7'))
  assert.match(lb, /tcp \. 80 : goto ext-svc-/)
  assert.match(lb, /tcp \. 30080 : goto ext-svc-/)
  assert.match(lb, /add rule ip t ext-svc-\w+ meta mark set meta mark or 0x4000/)
  const local = fresh(
    ruleset(
      { type: 'LoadBalancer', externalTrafficPolicy: 'Local', loadBalancerSourceRanges: ['192.0.2.0/24'] },
      '10.244.0.7',
    ),
  )
  assert.match(local, /ext-svc-\w+ ip saddr 192\.0\.2\.0\/24 goto in-svc-\w+\nadd rule ip t ext-svc-\w+ drop/)
  assert.doesNotMatch(local, /0x4000$/m)
})

// Source ranges, external addresses and endpoints went into nft's script as they were: a Service could add
// tables of its own, and one odd object stopped the rules of all.
test('only addresses, ranges and ports reach the script, and nothing stands in it twice', async () => {
  const evil = '10.0.0.0/8 } drop\n }\n}\ntable inet pwned {\n chain x {\n'
  const odd = service({
    type: 'LoadBalancer',
    externalIPs: ['10.96.0.5', '192.0.2.1', '192.0.2.1', '2001:db8::1', evil],
    loadBalancerSourceRanges: [evil, '10.0.0.0/8', '10.1.0.0/16', '::/0'],
    sessionAffinity: 'ClientIP',
    sessionAffinityConfig: { clientIP: { timeoutSeconds: -5 } },
  })
  const twin = {
    ...service({ clusterIP: '10.96.0.6', type: 'LoadBalancer', externalIPs: ['192.0.2.1', '10.96.0.5'] }),
    metadata: { ...odd.metadata, name: 'twin' },
  }
  const endpoints = [
    slice('10.244.0.7', evil, 'fd00::1'),
    { ports: [{ port: 8080, protocol: 'TCP' }], endpoints: [{}, null] } as unknown as KubeObject,
  ]
  const rules = fresh(
    renderRuleset(
      servicePorts([odd, twin], () => endpoints),
      options,
    ),
  )
  assert.doesNotMatch(rules, /pwned|::/)
  assert.equal(rules.match(/192\.0\.2\.1 \. tcp \. 80 :/g)?.length, 1)
  assert.equal(rules.match(/10\.96\.0\.5 \. tcp \. 80 :/g)?.length, 1)
  assert.match(rules, /ip saddr 10\.1\.0\.0\/16 goto in-svc-/)
  const { code, stderr } = await exec('unshare', ['-n', 'nft', '-f', '-'], { stdin: rules })
  assert.equal(code, 0, stderr)
})
