// When the control plane may say that the proxies follow: after they have acknowledged what it knows now.

import assert from 'node:assert/strict'
import { test } from 'node:test'
import { setImmediate as nextTurn } from 'node:timers/promises'
import { TYPE } from '#api/xds'
import { silentLog } from '#base'
import { emptyResources } from '#mesh'
import type { Message, ServerCall } from '#wire'
import { AdsServer } from './ads-server.ts'
import { type EncodedLayer, encodeLayer } from './resource-set.ts'

const NODE = { id: 'sidecar~10.0.0.9~client.default~default.svc.cluster.local' }
const assignment = (...ips: string[]): Message => ({
  cluster_name: 'web',
  endpoints: [
    {
      lb_endpoints: ips.map((address) => ({
        endpoint: { address: { socket_address: { address, port_value: 80 } } },
      })),
    },
  ],
})

// Deleting a Deployment took five seconds: it waited for the proxies to forget its pods, which they keep as a last resort.
test('settled waits for an acknowledgement of now, not for an address to be gone', async () => {
  let layer: EncodedLayer | undefined
  let ips = ['10.0.0.1', '10.0.0.11']
  const ads = new AdsServer({
    log: silentLog,
    layers: () => {
      layer = encodeLayer({ ...emptyResources(), endpoints: new Map([['web', assignment(...ips)]]) }, layer)
      return [layer]
    },
    authenticate: async () => ({ name: 'system:serviceaccount:default:default', groups: [] }),
    onAnswer: () => {},
  })
  const sent: Message[] = []
  const call: ServerCall = {
    headers: {},
    peer: '',
    secure: true,
    backlog: 0,
    send: (m) => void sent.push(m),
    end: (_code, message) => assert.fail(message),
    onMessage: () => {},
    onEnd: () => {},
    onClose: () => {},
  }
  const acknowledge = () =>
    call.onMessage({ type_url: TYPE.endpoint, response_nonce: sent.at(-1)!.nonce, resource_names: [] })
  ads.methods[0]!.handle(call)
  await nextTurn()
  call.onMessage({ node: NODE, type_url: TYPE.endpoint, resource_names: [] })
  await nextTurn()
  assert.equal(sent.length, 1)
  acknowledge()
  await ads.settled()

  ips = ['10.0.0.11']
  let settled = false
  const waiting = ads.settled().then(() => {
    settled = true
  })
  await nextTurn()
  assert.equal(sent.length, 2)
  assert.equal(settled, false)
  acknowledge()
  await waiting

  // A proxy that leaves is not waited for.
  ips = ['10.0.0.12']
  const last = ads.settled()
  await nextTurn()
  call.onClose()
  await last
})
