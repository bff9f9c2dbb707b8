// exec over WebSocket in every subprotocol, against a node that echoes.

import assert from 'node:assert/strict'
import { once } from 'node:events'
import { test } from 'node:test'
import WebSocket from 'ws'
import type { ExecSession } from '#apiserver'
import { call, noNode, startApi } from '#kit'

/** Echoes what it gets; exits when its input ends. */
function echo(): ExecSession {
  const session: ExecSession = {
    onStdout: () => {},
    onStderr: () => {},
    onExit: () => {},
    stdin: (data) => {
      if (data.toString() === 'exit') session.onExit(Buffer.from('{"status":"Success"}'))
      else session.onStdout(data)
    },
    endStdin: () => session.onExit(Buffer.from('{"status":"Success"}')),
    resize: () => {},
    close: () => {},
  }
  return session
}

const PROTOCOLS = [
  'v5.channel.k8s.io',
  'v4.channel.k8s.io',
  'channel.k8s.io',
  'v4.base64.channel.k8s.io',
  'base64.channel.k8s.io',
]

for (const protocol of PROTOCOLS)
  test(`exec speaks ${protocol}`, async () => {
    await using api = await startApi({ node: { ...noNode, exec: async () => echo() } })
    const spec = { nodeName: 'n', containers: [{ name: 'c', image: 'i:v1' }] }
    await call(api, 'POST', '/api/v1/namespaces/default/pods', { metadata: { name: 'p' }, spec })
    const socket = new WebSocket(
      `wss://127.0.0.1:${api.port}/api/v1/namespaces/default/pods/p/exec?command=cat&stdin=1&stdout=1&stderr=1`,
      [protocol],
      { ca: api.ca.cert, cert: api.admin.cert, key: api.admin.key },
    )
    await once(socket, 'open')
    assert.equal(socket.protocol, protocol)
    const base64 = protocol.includes('base64')
    const frame = (channel: number, text: string) =>
      base64
        ? `${channel}${Buffer.from(text).toString('base64')}`
        : Buffer.concat([Buffer.from([channel]), Buffer.from(text)])
    const seen: [number, string][] = []
    socket.on('message', (data: Buffer, binary) => {
      assert.equal(binary, !base64)
      seen.push(
        base64
          ? [data[0]! - 0x30, Buffer.from(data.subarray(1).toString(), 'base64').toString()]
          : [data[0]!, data.subarray(1).toString()],
      )
      if (seen.length === 1) socket.send(protocol.startsWith('v5') ? Buffer.from([255, 0]) : frame(0, 'exit'))
    })
    socket.send(frame(0, 'héllo'))
    await once(socket, 'close')
    assert.deepEqual(seen, [
      [1, 'héllo'],
      [3, '{"status":"Success"}'],
    ])
  })
