// Bytes from strangers: whatever they are, a parser ends, says no with a reason, and keeps to its memory.

import assert from 'node:assert/strict'
import { PassThrough } from 'node:stream'
import { test } from 'node:test'
import fc from 'fast-check'
import { jsonPatch, mergePatch, parseFieldSelector, parseLabelSelector, StatusError, strategicMerge } from '#api'
import { deltaAggregatedResources, TYPE, toStruct } from '#api/xds'
import { SampanError } from '#base'
import { randomRuns, SAMPLES, startApi } from '#kit'
import { SpdyConnection } from '#wire'
import { parseBody } from '../../src/apiserver/http-io.ts'
import { scanJson } from '../../src/apiserver/json-scan.ts'
import { decodeProtobuf, encodeProtobuf } from '../../src/apiserver/protobuf-codec.ts'

/** Runs `work`: only a refusal with a reason may come out of it. */
function refusesOrReads(work: () => unknown): void {
  try {
    work()
  } catch (error) {
    assert.ok(error instanceof StatusError, `${(error as Error).stack}`)
    assert.ok(error.httpCode >= 400 && error.httpCode < 500, `${error.httpCode} ${error.message}`)
  }
}

/** A number below nothing as protobuf has it: ten bytes. */
const negative = (n: number) => {
  const bits = BigInt.asUintN(64, BigInt(-n))
  return Buffer.from(Array.from({ length: 10 }, (_, i) => Number((bits >> BigInt(7 * i)) & 127n) | (i < 9 ? 128 : 0)))
}

/** A document with some of its bytes changed, cut or doubled, or with a negative number in it. */
const broken = (document: Buffer): fc.Arbitrary<Buffer> =>
  fc
    .array(fc.record({ at: fc.nat(document.length), byte: fc.nat(255), how: fc.nat(3) }), { maxLength: 6 })
    .map((edits) => {
      let bytes = Buffer.from(document)
      for (const { at, byte, how } of edits) {
        if (how === 0 && at < bytes.length) bytes[at] = byte
        else if (how === 1) bytes = bytes.subarray(0, at)
        else if (how === 2) bytes = Buffer.concat([bytes.subarray(0, at), bytes.subarray(Math.floor(at / 2))])
        else bytes = Buffer.concat([bytes.subarray(0, at), negative(byte), bytes.subarray(at)])
      }
      return bytes
    })

const pod = { apiVersion: 'v1', kind: 'Pod', metadata: { name: 'p', labels: { a: 'b' } }, ...SAMPLES.pods }
const json = Buffer.from(JSON.stringify(pod))
const yaml = Buffer.from(
  'apiVersion: v1\nkind: Pod\nmetadata: {name: p}\nspec:\n  containers:\n    - &c {name: c, image: i}\n    - *c\n',
)

test('broken JSON and YAML are refused, never worse', () => {
  fc.assert(
    fc.property(broken(json), (b) => refusesOrReads(() => parseBody(b, 'application/json'))),
    randomRuns(500),
  )
  fc.assert(
    fc.property(broken(yaml), (b) => refusesOrReads(() => parseBody(b, 'application/yaml'))),
    randomRuns(200),
  )
})

test('broken protobuf is refused, never worse', () => {
  const good = encodeProtobuf(pod)!
  fc.assert(
    fc.property(broken(good), (b) => refusesOrReads(() => decodeProtobuf(b))),
    randomRuns(1000),
  )
  const magic = good.subarray(0, 4)
  fc.assert(
    fc.property(fc.uint8Array({ maxLength: 200 }), (b) =>
      refusesOrReads(() => decodeProtobuf(Buffer.concat([magic, b]))),
    ),
    randomRuns(1000),
  )
})

test('broken requests of proxies are refused, never worse', () => {
  const { request } = deltaAggregatedResources
  const good = request.encode({
    type_url: TYPE.listener,
    node: {
      id: 'sidecar~10.0.0.1~a.b~c',
      metadata: toStruct({ LABELS: { app: 'a' }, POD_PORTS: [{ containerPort: 80 }] }),
    },
    resource_names_subscribe: ['*', '10.0.0.1_80'],
    initial_resource_versions: { a: '1', b: '2' },
  })
  fc.assert(
    fc.property(broken(good), (b) => {
      try {
        request.decode(b)
      } catch (error) {
        assert.ok(error instanceof SampanError, `${(error as Error).stack}`)
      }
    }),
    randomRuns(2000),
  )
})

test('the scan of a JSON text finds the keys that JSON.parse finds', () => {
  fc.assert(
    fc.property(fc.jsonValue({ maxDepth: 4 }), (value) => {
      let fields = 0
      const { duplicates } = scanJson(JSON.stringify(value), () => fields++)
      assert.deepEqual(duplicates, [])
      const count = (v: unknown): number =>
        typeof v !== 'object' || v === null
          ? 0
          : Object.values(v).reduce((n: number, c) => n + count(c), Array.isArray(v) ? 0 : Object.keys(v).length)
      assert.equal(fields, count(value))
    }),
    randomRuns(500),
  )
})

test('any JSON as a patch is refused or applied, never worse', () => {
  const any = fc.jsonValue({ maxDepth: 4 })
  const directive = fc.record({
    spec: fc.dictionary(
      fc.constantFrom(
        'containers',
        '$setElementOrder/containers',
        '$retainKeys',
        '$patch',
        '$deleteFromPrimitiveList/x',
        'volumes',
      ),
      any,
    ),
  })
  const run = randomRuns(500)
  fc.assert(
    fc.property(any, (p) => refusesOrReads(() => mergePatch(pod, p))),
    run,
  )
  fc.assert(
    fc.property(any, (p) => refusesOrReads(() => jsonPatch(pod, p))),
    run,
  )
  fc.assert(
    fc.property(directive, (p) => refusesOrReads(() => strategicMerge(pod, p as never, 'io.k8s.api.core.v1.Pod'))),
    run,
  )
})

test('any text as a selector is refused or read, and in time that grows with its length only', () => {
  const text = fc.string({
    maxLength: 200,
    unit: fc.constantFrom('a', '=', '!', ',', '(', ')', ' ', 'in', 'notin', '/', '.'),
  })
  fc.assert(
    fc.property(text, (t) => refusesOrReads(() => parseLabelSelector(t))),
    randomRuns(1000),
  )
  fc.assert(
    fc.property(text, (t) => refusesOrReads(() => parseFieldSelector(t, 'pods'))),
    randomRuns(1000),
  )
})

/** A pair of SPDY ends whose bytes go through `carry`. */
function spdyPair(carry: (bytes: Buffer, deliver: (part: Buffer) => void) => void) {
  const toServer = new PassThrough()
  const toClient = new PassThrough()
  const duplex = (input: PassThrough, output: PassThrough) =>
    Object.assign(new PassThrough(), {
      write: (b: Buffer) => {
        carry(Buffer.from(b), (part) => output.write(part))
        return true
      },
      on: input.on.bind(input),
      end: () => output.end(),
      destroy: () => output.end(),
    }) as never
  return { client: duplex(toClient, toServer), server: duplex(toServer, toClient) }
}

test('SPDY frames cut at any byte are the same frames', async () => {
  const run = randomRuns(20)
  await fc.assert(
    fc.asyncProperty(
      fc.integer({ min: 1, max: 40 }),
      fc.string({ minLength: 1, maxLength: 300 }),
      async (size, text) => {
        const ends = spdyPair((bytes, deliver) => {
          for (let i = 0; i < bytes.length; i += size) deliver(bytes.subarray(i, i + size))
        })
        let got = ''
        await new Promise<void>((resolve) => {
          new SpdyConnection(ends.server, {
            server: true,
            onStream: (stream) => {
              got += `${stream.headers.streamtype}:`
              stream.onData = (d) => (got += d)
              stream.onEnd = resolve
            },
          })
          const client = new SpdyConnection(ends.client, { server: false })
          void Promise.resolve(client.open({ streamtype: 'stdin' })).then((stream) => {
            stream.write(Buffer.from(text))
            stream.end()
          })
        })
        assert.equal(got, `stdin:${text}`)
      },
    ),
    run,
  )
})

test('SPDY noise closes the connection, never the process', async () => {
  await fc.assert(
    fc.asyncProperty(fc.array(fc.uint8Array({ minLength: 1, maxLength: 64 }), { maxLength: 8 }), async (parts) => {
      const io = new PassThrough()
      const connection = new SpdyConnection(io as never, { server: true, onStream: (s) => s.end() })
      for (const part of parts) io.write(Buffer.from(part))
      await new Promise((resolve) => setImmediate(resolve))
      connection.close()
    }),
    randomRuns(200),
  )
})

test('noise at the server’s door leaves the server standing', async () => {
  await using api = await startApi()
  const { call } = await import('#kit')
  const types = ['application/json', 'application/yaml', 'application/vnd.kubernetes.protobuf', 'text/odd']
  await fc.assert(
    fc.asyncProperty(fc.constantFrom(...types), fc.string({ maxLength: 100 }), async (type, raw) => {
      const answer = await call(api, 'POST', '/api/v1/namespaces/default/configmaps', undefined, { type, raw })
      assert.ok(answer.status >= 400 && answer.status < 500, `${answer.status} ${JSON.stringify(answer.body)}`)
    }),
    randomRuns(60),
  )
  assert.equal((await call(api, 'GET', '/readyz')).status, 200)
})
