// Byte streams and TLS through the data plane: half-closes, back-pressure, sniffing, SNI, mutual TLS, slow peers.

import assert from 'node:assert/strict'
import { createHash, createPrivateKey, randomBytes, webcrypto, X509Certificate } from 'node:crypto'
import { once } from 'node:events'
import { createServer as createHttp } from 'node:http'
import { type AddressInfo, connect, type Socket } from 'node:net'
import { test } from 'node:test'
import { connect as connectTls, createServer as createTls } from 'node:tls'
import { DownstreamTlsContext, packAny, toDuration, UpstreamTlsContext, xds } from '#api/xds'
import {
  byteServer,
  eventually,
  freePort,
  httpListener,
  startProxy,
  staticCluster,
  tcpChain,
  tcpListener,
  testKeys,
  toCluster,
} from '#kit'
import { createAuthority, issue } from '#wire'

/** TLS of a chain or a cluster, as xDS says it. */
const tlsSocket = (type: typeof DownstreamTlsContext, context: object) => ({
  transport_socket: { name: 'envoy.transport_sockets.tls', typed_config: packAny(type, context) },
})

async function all(socket: Socket): Promise<string> {
  const parts: Buffer[] = []
  socket.on('data', (d) => parts.push(d))
  await once(socket, 'end')
  return Buffer.concat(parts).toString('latin1')
}

test('bytes pass both ways, and each side may end for itself', async () => {
  using server = await byteServer(async (socket) => socket.end(`got ${(await all(socket)).length}`))
  const port = await freePort()
  await using t = await startProxy({
    listeners: [tcpListener('l', port, [tcpChain('c')])],
    clusters: [staticCluster('c', [server.port])],
  })
  const socket = connect({ port, host: '127.0.0.1', allowHalfOpen: true })
  socket.end(Buffer.alloc(5_000_000))
  assert.equal(await all(socket), 'got 5000000')
  socket.destroy()
  await new Promise((r) => setTimeout(r, 30))
  const metrics = t.context.stats.render()
  assert.match(metrics, /istio_tcp_connections_opened_total\{.*request_protocol="tcp".*\} 1/)
  assert.match(metrics, /istio_tcp_connections_closed_total\{.*\} 1/)
  assert.match(metrics, /istio_tcp_received_bytes_total\{.*\} 5000000/)
  assert.match(metrics, /istio_tcp_sent_bytes_total\{.*\} 11/)
})

test('a reader who does not read makes the sender wait: memory does not grow', async () => {
  let sent = 0
  using server = await byteServer((socket) => {
    const block = Buffer.alloc(256 * 1024)
    const fill = () => {
      do sent += block.length
      while (sent < 200e6 && socket.write(block))
    }
    socket.on('drain', fill)
    fill()
  })
  const app = createHttp((_req, res) => {
    const block = Buffer.alloc(256 * 1024)
    const fill = () => {
      do sent += block.length
      while (sent < 200e6 && res.write(block))
    }
    res.on('drain', fill)
    res.on('error', () => {})
    fill()
  }).listen(0, '127.0.0.1')
  await once(app, 'listening')
  const [port, http] = [await freePort(), await freePort()]
  await using _t = await startProxy({
    listeners: [tcpListener('l', port, [tcpChain('c')]), httpListener('h', { port: http, routes: [toCluster('h')] })],
    clusters: [staticCluster('c', [server.port]), staticCluster('h', [(app.address() as AddressInfo).port])],
  })
  for (const [at, text] of [
    [port, 'x'],
    [http, 'GET / HTTP/1.1\r\nHost: a\r\n\r\n'],
  ] as const) {
    sent = 0
    const socket = connect(at, '127.0.0.1')
    socket.pause()
    socket.write(text)
    await new Promise((r) => setTimeout(r, 500))
    assert.ok(sent > 0 && sent < 60e6, `${sent} bytes were taken for a client that reads nothing`)
    socket.destroy()
  }
  app.close()
  app.closeAllConnections()
})

test('not a byte is changed, however slowly and in whatever pieces they are read', async () => {
  const content = randomBytes(12_000_000)
  const wanted = createHash('sha256').update(content).digest('hex')
  using server = await byteServer(async (socket) => {
    // Small and large pieces by turns, so that reads of every size come.
    for (let at = 0, size = 1; at < content.length; at += size, size = size > 400_000 ? 1 : size * 3)
      if (!socket.write(content.subarray(at, at + size))) await once(socket, 'drain')
    socket.end()
  })
  const app = createHttp((_req, res) => {
    res.write(content.subarray(0, 5_000_000))
    res.end(content.subarray(5_000_000))
  }).listen(0, '127.0.0.1')
  await once(app, 'listening')
  const [port, http] = [await freePort(), await freePort()]
  await using _t = await startProxy({
    listeners: [tcpListener('l', port, [tcpChain('c')]), httpListener('h', { port: http, routes: [toCluster('h')] })],
    clusters: [staticCluster('c', [server.port]), staticCluster('h', [(app.address() as AddressInfo).port])],
  })
  /** The hash of what comes after `skip`, read with many pauses. */
  const slowly = async (socket: Socket, skip?: string) => {
    const hash = createHash('sha256')
    let head = skip === undefined ? undefined : Buffer.alloc(0)
    let n = 0
    for await (const part of socket as AsyncIterable<Buffer>) {
      let data = part
      if (head) {
        head = Buffer.concat([head, part])
        const end = head.indexOf(skip!)
        if (end < 0) continue
        data = head.subarray(end + skip!.length)
        head = undefined
      }
      hash.update(data)
      if (n++ % 10 === 0) await new Promise((resolve) => setTimeout(resolve, 2))
    }
    return hash.digest('hex')
  }
  const all = await Promise.all(Array.from({ length: 4 }, () => slowly(connect(port, '127.0.0.1'))))
  assert.deepEqual(new Set(all), new Set([wanted]))
  const overHttp = Array.from({ length: 4 }, () => {
    const socket = connect(http, '127.0.0.1')
    // An old client is answered until the connection ends, without chunks.
    socket.write('GET / HTTP/1.0\r\n\r\n')
    return slowly(socket, '\r\n\r\n')
  })
  assert.deepEqual(new Set(await Promise.all(overHttp)), new Set([wanted]))
  app.close()
  app.closeAllConnections()
})

test('a protocol whose server speaks first is not held up by sniffing, HTTP on the same port is routed', async () => {
  using smtp = await byteServer((socket) => {
    socket.write('220 mail ready\r\n')
    socket.on('data', (d) => socket.write(`re: ${d}`))
    socket.on('end', () => socket.end())
  })
  const port = await freePort()
  const inspector = { listener_filters: [{ name: 'envoy.filters.listener.http_inspector' }] }
  const listener = httpListener('l', {
    port,
    routes: [{ match: { prefix: '/' }, direct_response: { status: 200, body: { inline_string: 'routed' } } }],
    chain: { filter_chain_match: { application_protocols: ['http/1.1', 'h2c'] } },
    listener: { ...inspector, default_filter_chain: tcpChain('c') },
  })
  await using _t = await startProxy({ listeners: [listener], clusters: [staticCluster('c', [smtp.port])] })
  const begin = performance.now()
  const silent = connect(port, '127.0.0.1')
  assert.equal(String((await once(silent, 'data'))[0]), '220 mail ready\r\n')
  assert.ok(performance.now() - begin < 1000)
  silent.write('HELO')
  assert.equal(String((await once(silent, 'data'))[0]), 're: HELO')
  silent.destroy()
  const talking = connect(port, '127.0.0.1')
  talking.write('\x16\x99binary')
  assert.match(String((await once(talking, 'data'))[0]), /220 mail|re: /)
  talking.destroy()
  assert.equal(await (await fetch(`http://127.0.0.1:${port}/`)).text(), 'routed')
})

/** A listener that routes HTTP and passes the rest to a host, as a sidecar's is at a port of any address. */
const openListener = (port: number, more: object = {}) =>
  httpListener('l', {
    port,
    routes: [{ match: { prefix: '/' }, direct_response: { status: 200, body: { inline_string: 'routed' } } }],
    chain: { filter_chain_match: { application_protocols: ['http/1.1', 'h2c'] } },
    listener: {
      listener_filters: [{ name: 'envoy.filters.listener.http_inspector' }],
      default_filter_chain: tcpChain('c'),
      ...more,
    },
  })

// A client that spoke later than 100 ms after it had connected was taken for one whose server speaks first, and was
// bound to one host past all rules: what it sent was lost when that host ended.
test('an HTTP client that is slow to speak is routed, a byte client reaches its host', async () => {
  let open = 0
  const seen: string[] = []
  using host = await byteServer((socket) => {
    open++
    socket.on('close', () => open--)
    socket.on('data', (d) => {
      seen.push(String(d))
      socket.write(`bytes: ${d}`)
    })
    socket.on('end', () => socket.end('bye'))
  })
  const port = await freePort()
  await using _t = await startProxy({ listeners: [openListener(port)], clusters: [staticCluster('c', [host.port])] })
  const slow = [connect(port, '127.0.0.1'), connect(port, '127.0.0.1'), connect(port, '127.0.0.1')] as const
  // A host is connected to meanwhile for each of them.
  await eventually(async () => assert.equal(open, 3))
  slow[0].write('GET / HTT')
  slow[0].write('P/1.1\r\nHost: a\r\nConnection: close\r\n\r\n')
  assert.match(await all(slow[0]), /^HTTP\/1.1 200 .*routed$/s)
  await eventually(async () => assert.equal(open, 2))
  slow[1].write('\x16binary')
  assert.equal(String((await once(slow[1], 'data'))[0]), 'bytes: \x16binary')
  slow[1].write('more')
  assert.equal(String((await once(slow[1], 'data'))[0]), 'bytes: more')
  // The end alone is passed on as well.
  slow[2].end()
  assert.equal(String((await once(slow[2], 'data'))[0]), 'bye')
  assert.deepEqual(seen, ['\x16binary', 'more'])
  slow[1].destroy()
  await eventually(async () => assert.equal(open, 0))
})

test('a host that refuses or ends a silent client’s connection does not end the client’s', async () => {
  let left = 0
  using ends = await byteServer((socket) => {
    left++
    if (left < 3) return void socket.end()
    socket.on('data', (d) => socket.write(`bytes: ${d}`))
  })
  const [one, two] = [await freePort(), await freePort()]
  const refusing = { ...openListener(two), name: 'r', default_filter_chain: tcpChain('refusing') }
  await using t = await startProxy({
    listeners: [openListener(one), refusing],
    clusters: [staticCluster('c', [ends.port]), staticCluster('refusing', [await freePort()])],
  })
  const failed = () => t.context.config.clusters.get('refusing')!.stats.upstream_cx_connect_fail ?? 0
  const [slow, bytes, refused] = [connect(one, '127.0.0.1'), connect(one, '127.0.0.1'), connect(two, '127.0.0.1')]
  await eventually(async () => assert.deepEqual([left, failed()], [2, 1]))
  for (const socket of [slow, refused]) {
    socket.write('GET / HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n')
    assert.match(await all(socket), /^HTTP\/1.1 200 .*routed$/s)
  }
  bytes.write('late')
  assert.equal(String((await once(bytes, 'data'))[0]), 'bytes: late')
  bytes.destroy()
})

test('a client that is silent for as long as configuration gives it counts as bytes', async () => {
  using host = await byteServer((socket) => socket.on('data', (d) => socket.write(`bytes: ${d}`)))
  const port = await freePort()
  const limit = { listener_filters_timeout: { nanos: 50e6 }, continue_on_listener_filters_timeout: true }
  await using t = await startProxy({
    listeners: [openListener(port, limit)],
    clusters: [staticCluster('c', [host.port])],
  })
  const silent = connect(port, '127.0.0.1')
  await eventually(async () => assert.equal(t.context.config.clusters.get('c')!.stats.upstream_cx_total, 1))
  silent.write('GET / HTTP/1.1\r\n\r\n')
  assert.match(String((await once(silent, 'data'))[0]), /^bytes: GET/)
  silent.destroy()
})

test('connections are shared out by weight and tried again at another host', async () => {
  using one = await byteServer((s) => s.end('one'))
  using two = await byteServer((s) => s.end('two'))
  const [port, retry] = [await freePort(), await freePort()]
  const weighted = {
    cluster: undefined,
    weighted_clusters: {
      clusters: [
        { name: 'one', weight: 3 },
        { name: 'two', weight: 1 },
      ],
    },
  }
  await using _t = await startProxy({
    listeners: [
      tcpListener('l', port, [tcpChain('', weighted)]),
      tcpListener('r', retry, [tcpChain('flaky', { max_connect_attempts: { value: 5 } })]),
    ],
    clusters: [
      staticCluster('one', [one.port]),
      staticCluster('two', [two.port]),
      staticCluster('flaky', [await freePort(), one.port], { lb_policy: 0 }),
    ],
  })
  const counts: Record<string, number> = {}
  for (let i = 0; i < 100; i++) {
    const text = await all(connect(port, '127.0.0.1'))
    counts[text] = (counts[text] ?? 0) + 1
  }
  assert.ok(counts.one! > 55 && counts.one! < 95, JSON.stringify(counts))
  for (let i = 0; i < 6; i++) assert.equal(await all(connect(retry, '127.0.0.1')), 'one')
})

test('TLS is passed on by the name asked for, or ended with the certificate of that name', async () => {
  const { ca, server } = await testKeys()
  const other = await issue(ca, { commonName: 'b', usage: 'server', dnsNames: ['b.test'] })
  const behind = createTls({ cert: other.cert, key: other.key }, (s) => s.end('passed on')).listen(0, '127.0.0.1')
  await once(behind, 'listening')
  const port = await freePort()
  const own = httpListener('x', {
    port,
    routes: [{ match: { prefix: '/' }, direct_response: { status: 200, body: { inline_string: 'ended here' } } }],
    chain: {
      filter_chain_match: { server_names: ['*.test', 'localhost'] },
      ...tlsSocket(DownstreamTlsContext, {
        common_tls_context: {
          tls_certificate_sds_secret_configs: [{ name: 'own' }],
          alpn_protocols: ['h2', 'http/1.1'],
        },
      }),
    },
  })
  const listener = {
    ...own,
    filter_chains: [...own.filter_chains, tcpChain('b', {}, { server_names: ['b.test'] })],
    listener_filters: [{ name: 'envoy.filters.listener.tls_inspector' }],
  }
  await using _t = await startProxy({
    listeners: [listener],
    clusters: [staticCluster('b', [(behind.address() as AddressInfo).port])],
    secrets: [
      {
        name: 'own',
        tls_certificate: {
          certificate_chain: { inline_string: server.cert },
          private_key: { inline_string: server.key },
        },
      },
    ],
  })
  const to = (servername: string, ALPNProtocols: string[] = []) =>
    connectTls({
      port,
      host: '127.0.0.1',
      servername,
      ca: ca.cert,
      ALPNProtocols,
      checkServerIdentity: () => undefined,
    })
  assert.equal(await all(to('b.test')), 'passed on')
  const ended = to('localhost', ['http/1.1'])
  ended.write('GET / HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n')
  assert.match(await all(ended), /ended here/)
  const h2 = to('localhost', ['h2'])
  await once(h2, 'secureConnect')
  assert.equal(h2.alpnProtocol, 'h2')
  h2.destroy()
  const nobody = to('c.example')
  nobody.on('error', () => {})
  await new Promise((resolve) => nobody.on('close', resolve))
  behind.close()
})

test('mutual TLS from proxy to proxy: who is not known is refused, who is known is told to the server', async () => {
  const trust = await createAuthority('mesh')
  const stranger = await createAuthority('stranger')
  const identity = (ca: typeof trust, name: string) =>
    issue(ca, { commonName: name, usage: 'both', uris: [`spiffe://cluster.local/ns/default/sa/${name}`] } as never)
  const [client, server, other] = [
    await identity(trust, 'client'),
    await identity(trust, 'server'),
    await identity(stranger, 'client'),
  ]
  const pem = (text: string) => ({ inline_string: text })
  const context = (own: { cert: string; key: string }, ca: string, san?: string) => ({
    tls_certificates: [{ certificate_chain: pem(own.cert), private_key: pem(own.key) }],
    validation_context: {
      trusted_ca: pem(ca),
      ...(san ? { match_typed_subject_alt_names: [{ san_type: 3, matcher: { exact: san } }] } : {}),
    },
    alpn_protocols: ['istio-http/1.1', 'http/1.1'],
  })
  const app = createHttp((req, res) => res.end(String(req.headers['x-forwarded-client-cert']))).listen(0, '127.0.0.1')
  await once(app, 'listening')
  const inner = await freePort()
  await using receiving = await startProxy({
    listeners: [
      httpListener('in', {
        port: inner,
        routes: [toCluster('app')],
        hcm: {
          forward_client_cert_details: 2,
          set_current_client_cert_details: { subject: { value: true }, uri: true },
        },
        chain: tlsSocket(DownstreamTlsContext, {
          common_tls_context: context(server, trust.cert),
          require_client_certificate: { value: true },
        }),
        listener: { traffic_direction: 1 },
      }),
    ],
    clusters: [staticCluster('app', [(app.address() as AddressInfo).port])],
  })
  const out = async (own: typeof client, san: string) => {
    const port = await freePort()
    const proxy = await startProxy({
      listeners: [httpListener('out', { port, routes: [toCluster('next')] })],
      clusters: [
        staticCluster(
          'next',
          [inner],
          tlsSocket(UpstreamTlsContext, {
            common_tls_context: context(own, trust.cert, san),
            sni: 'outbound_.80_._.app',
          }),
        ),
      ],
    })
    const r = await fetch(`http://127.0.0.1:${port}/`)
    const text = await r.text()
    await proxy[Symbol.asyncDispose]()
    return { status: r.status, text }
  }
  const good = await out(client, 'spiffe://cluster.local/ns/default/sa/server')
  assert.equal(good.status, 200)
  assert.match(
    good.text,
    /^By=spiffe:\/\/cluster\.local\/ns\/default\/sa\/server;Hash=[0-9a-f]{64};Subject=".*";URI=spiffe:\/\/cluster\.local\/ns\/default\/sa\/client$/,
  )
  assert.equal((await out(other, 'spiffe://cluster.local/ns/default/sa/server')).status, 503)
  const wrong = await out(client, 'spiffe://cluster.local/ns/default/sa/somebody')
  assert.equal(wrong.status, 503)
  assert.match(wrong.text, /reset reason: remote connection failure/)
  assert.match(
    receiving.context.stats.render(),
    /istio_requests_total\{reporter="destination".*source_principal="spiffe:\/\/cluster.local\/ns\/default\/sa\/client".*connection_security_policy="mutual_tls"/,
  )
  app.close()
  app.closeAllConnections()
})

/** A list of an authority's that revokes one certificate. PEM. */
async function revocation(authority: { cert: string; key: string }, serialNumber: string): Promise<string> {
  await import('reflect-metadata')
  const x509 = await import('@peculiar/x509')
  const der = createPrivateKey(authority.key).export({ type: 'pkcs8', format: 'der' })
  const algorithm = { name: 'ECDSA', namedCurve: 'P-256' }
  const now = Date.now()
  const list = await x509.X509CrlGenerator.create(
    {
      issuer: new x509.X509Certificate(authority.cert).subject,
      thisUpdate: new Date(now - 3_600_000),
      nextUpdate: new Date(now + 3_600_000),
      entries: [{ serialNumber, revocationDate: new Date(now - 60_000) }],
      signingAlgorithm: { name: 'ECDSA', hash: 'SHA-256' },
      signingKey: await webcrypto.subtle.importKey('pkcs8', der, algorithm, false, ['sign']),
    },
    webcrypto as never,
  )
  return list.toString('pem').replaceAll(' CRL-', ' X509 CRL-').replaceAll('X509 X509', 'X509')
}

test('pinned and revoked certificates: of the clients an authority knows only those that may come in do', async () => {
  const trust = await createAuthority('edge')
  const [server, first, second] = [
    await issue(trust, { commonName: 'server', usage: 'server', dnsNames: ['a.example'] }),
    await issue(trust, { commonName: 'first', usage: 'client' }),
    await issue(trust, { commonName: 'second', usage: 'client' }),
  ]
  const stranger = await issue(await createAuthority('nobody'), { commonName: 'stranger', usage: 'client' })
  const app = createHttp((_req, res) => res.end('ok')).listen(0, '127.0.0.1')
  await once(app, 'listening')
  const certificate = new X509Certificate(first.cert)
  const hash = certificate.fingerprint256
  const key = createHash('sha256')
    .update(certificate.publicKey.export({ type: 'spki', format: 'der' }))
    .digest('base64')
  /** Whether a client with a certificate is answered where `check` is asked for. */
  const answered = async (own: typeof first | undefined, check: object): Promise<boolean> => {
    const port = await freePort()
    await using _proxy = await startProxy({
      listeners: [
        httpListener('edge', {
          port,
          routes: [toCluster('app')],
          chain: tlsSocket(DownstreamTlsContext, {
            common_tls_context: {
              tls_certificates: [
                { certificate_chain: { inline_string: server.cert }, private_key: { inline_string: server.key } },
              ],
              validation_context: { trusted_ca: { inline_string: trust.cert }, ...check },
            },
            require_client_certificate: { value: true },
          }),
        }),
      ],
      clusters: [staticCluster('app', [(app.address() as AddressInfo).port])],
    })
    const socket = connectTls({
      port,
      host: '127.0.0.1',
      servername: 'a.example',
      ca: trust.cert,
      ...(own ? { cert: own.cert, key: own.key } : {}),
    })
    socket.on('error', () => {})
    socket.write('GET / HTTP/1.1\r\nHost: a.example\r\nConnection: close\r\n\r\n')
    return (await all(socket).catch(() => '')).startsWith('HTTP/1.1 200')
  }
  for (const check of [{ verify_certificate_hash: [hash] }, { verify_certificate_spki: [key] }]) {
    assert.equal(await answered(first, check), true)
    assert.equal(await answered(second, check), false)
    assert.equal(await answered(undefined, check), false)
  }
  const crl = { crl: { inline_string: await revocation(trust, certificate.serialNumber) } }
  assert.equal(await answered(first, crl), false)
  assert.equal(await answered(second, crl), true)
  const anybody = { trust_chain_verification: 1 }
  assert.equal(await answered(stranger, {}), false)
  assert.equal(await answered(stranger, anybody), true)
  assert.equal(await answered(undefined, anybody), false)
  assert.equal(await answered(stranger, { ...anybody, verify_certificate_hash: [hash] }), false)
  app.close()
  app.closeAllConnections()
})

// A signature that does not fit left an error behind in OpenSSL that ended a connection which was to be let in; and
// who need not show a certificate could show a wrong one.
test('clients that may show a certificate: without one they come in, with a wrong one only where anybody does', async () => {
  const [trust, namesake] = [await createAuthority('edge'), await createAuthority('edge')]
  const server = await issue(trust, { commonName: 'server', usage: 'server', dnsNames: ['a.example'] })
  const [known, wrong] = [
    await issue(trust, { commonName: 'known', usage: 'client' }),
    await issue(namesake, { commonName: 'wrong', usage: 'client' }),
  ]
  const app = createHttp((req, res) => res.end(String(req.headers['x-forwarded-client-cert']))).listen(0, '127.0.0.1')
  await once(app, 'listening')
  const whose = async (own: object, check: object): Promise<string> => {
    const port = await freePort()
    await using _proxy = await startProxy({
      listeners: [
        httpListener('edge', {
          port,
          routes: [toCluster('app')],
          hcm: {
            forward_client_cert_details: 2,
            set_current_client_cert_details: { subject: { value: true } },
          },
          chain: tlsSocket(DownstreamTlsContext, {
            common_tls_context: {
              tls_certificates: [
                { certificate_chain: { inline_string: server.cert }, private_key: { inline_string: server.key } },
              ],
              validation_context: { trusted_ca: { inline_string: trust.cert }, ...check },
            },
          }),
        }),
      ],
      clusters: [staticCluster('app', [(app.address() as AddressInfo).port])],
    })
    const socket = connectTls({ port, host: '127.0.0.1', servername: 'a.example', ca: trust.cert, ...own })
    socket.on('error', () => {})
    socket.write('GET / HTTP/1.1\r\nHost: a.example\r\nConnection: close\r\n\r\n')
    const text = await all(socket).catch(() => '')
    return text.startsWith('HTTP/1.1 200') ? (/Subject="(.*)"/.exec(text)?.[1] ?? 'nobody') : 'refused'
  }
  for (const check of [{}, { trust_chain_verification: 1 }]) {
    assert.equal(await whose({}, check), 'nobody')
    assert.equal(await whose(known, check), 'CN=known')
  }
  assert.equal(await whose(wrong, {}), 'refused')
  assert.equal(await whose(wrong, { trust_chain_verification: 1 }), 'nobody')
  app.close()
  app.closeAllConnections()
})

// A listener went on to trust whom it had trusted until its own certificate was another.
test('a new authority counts at once', async () => {
  const [before, after] = [await createAuthority('before'), await createAuthority('after')]
  const server = await issue(before, { commonName: 'server', usage: 'server', dnsNames: ['a.example'] })
  const client = await issue(before, { commonName: 'client', usage: 'client' })
  const [port, inline] = [await freePort(), await freePort()]
  const own = {
    name: 'own',
    tls_certificate: { certificate_chain: { inline_string: server.cert }, private_key: { inline_string: server.key } },
  }
  const trusted = (ca: string) => ({ name: 'root', validation_context: { trusted_ca: { inline_string: ca } } })
  const edge = (at: number, validation: object) =>
    httpListener(`edge${at}`, {
      port: at,
      routes: [{ match: { prefix: '/' }, direct_response: { status: 200 } }],
      chain: tlsSocket(DownstreamTlsContext, {
        common_tls_context: { tls_certificate_sds_secret_configs: [{ name: 'own' }], ...validation },
        require_client_certificate: { value: true },
      }),
    })
  await using proxy = await startProxy({
    listeners: [
      edge(port, { validation_context_sds_secret_config: { name: 'root' } }),
      edge(inline, { validation_context: { trusted_ca: { inline_string: before.cert } } }),
    ],
    clusters: [],
    secrets: [own, trusted(before.cert)],
  })
  const answered = async (at = port, own: object = client) => {
    const socket = connectTls({ port: at, host: '127.0.0.1', servername: 'a.example', ca: before.cert, ...own })
    let text = ''
    socket.on('data', (d) => (text += d)).on('error', () => {})
    socket.write('GET / HTTP/1.1\r\nHost: a.example\r\nConnection: close\r\n\r\n')
    await new Promise((resolve) => socket.once('close', resolve))
    return text.startsWith('HTTP/1.1 200')
  }
  assert.equal(await answered(), true)
  proxy.configure({ secrets: [own, trusted(after.cert)] })
  assert.equal(await answered(), false)
  // An authority that stands in the listener itself, beside a certificate that is delivered apart.
  assert.equal(await answered(inline), true)
  assert.equal(await answered(inline, {}), false)
})

test('slow, silent and endless clients are ended, and cost others nothing', async () => {
  const app = createHttp((req, res) => {
    req.resume()
    req.on('end', () => res.end('ok'))
  }).listen(0, '127.0.0.1')
  await once(app, 'listening')
  const port = await freePort()
  await using t = await startProxy({
    listeners: [
      httpListener('l', {
        port,
        routes: [toCluster('app')],
        hcm: {
          common_http_protocol_options: { idle_timeout: toDuration(200) },
          stream_idle_timeout: toDuration(200),
          request_timeout: toDuration(400),
        },
      }),
    ],
    clusters: [staticCluster('app', [(app.address() as AddressInfo).port])],
  })
  const closed = async (text: string) => {
    const socket = connect(port, '127.0.0.1')
    socket.on('error', () => {})
    if (text) socket.write(text)
    const said = all(socket).catch(() => '')
    await Promise.race([
      once(socket, 'close'),
      new Promise((_r, no) => setTimeout(() => no(new Error(`${text} stays`)), 5000)),
    ])
    return said
  }
  const patient = Promise.all([
    closed(''),
    closed('POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 10\r\n\r\nabc'),
    closed(`GET / HTTP/1.1\r\nHost: a\r\nX: ${'y'.repeat(70_000)}`),
  ])
  for (let i = 0; i < 50; i++) assert.equal((await fetch(`http://127.0.0.1:${port}/`)).status, 200)
  const [, half, large] = await patient
  assert.match(half!, /^HTTP\/1\.1 408 /)
  assert.match(large!, /^HTTP\/1\.1 431 /)
  const { counters } = t.context.stats
  assert.equal(counters.downstreamRequestsActive, 0)
  app.close()
  app.closeAllConnections()
})

test('a tunnel through an HTTP proxy: bytes both ways once it agrees, the connection ends when it does not', async () => {
  using server = await byteServer((socket) => {
    socket.write('welcome ')
    socket.on('data', (d) => socket.end(d.toString().toUpperCase()))
  })
  const asked: string[] = []
  const proxy = createHttp().listen(0, '127.0.0.1')
  proxy.on('connect', (req, socket) => {
    asked.push(`${req.url} ${req.headers.host}`)
    if (req.url !== 'db.example:5432') return void socket.end('HTTP/1.1 403 Forbidden\r\n\r\n')
    const to = connect(server.port, '127.0.0.1')
    // The first bytes of the server come with the answer.
    to.once('data', (first) => {
      socket.write(Buffer.concat([Buffer.from('HTTP/1.1 200 OK\r\nvia: proxy\r\n\r\n'), first]))
      socket.pipe(to).pipe(socket)
    })
  })
  proxy.on('request', (req, res) => {
    asked.push(`${req.method} ${req.headers.host}`)
    const to = connect(server.port, '127.0.0.1')
    res.flushHeaders()
    req.pipe(to).pipe(res)
  })
  await once(proxy, 'listening')
  const [good, bad, posted] = [await freePort(), await freePort(), await freePort()]
  await using _ = await startProxy({
    listeners: [
      tcpListener('good', good, [tcpChain('c', { tunneling_config: { hostname: 'db.example:5432' } })]),
      tcpListener('posted', posted, [
        tcpChain('c', { tunneling_config: { hostname: 'db.example:5432', use_post: true } }),
      ]),
      tcpListener('bad', bad, [tcpChain('c', { tunneling_config: { hostname: 'secret.example:22' } })]),
    ],
    clusters: [staticCluster('c', [(proxy.address() as AddressInfo).port])],
  })
  const through = connect({ port: good, host: '127.0.0.1', allowHalfOpen: true })
  through.write('hello')
  assert.equal(await all(through), 'welcome HELLO')
  assert.equal(await all(connect({ port: bad, host: '127.0.0.1' })), '')
  const post = connect({ port: posted, host: '127.0.0.1', allowHalfOpen: true })
  post.write('hello')
  assert.equal(await all(post), 'welcome HELLO')
  assert.deepEqual(asked, [
    'db.example:5432 db.example:5432',
    'secret.example:22 secret.example:22',
    'POST db.example:5432',
  ])
  through.destroy()
  post.destroy()
  proxy.close()
  proxy.closeAllConnections()
})

test('servers that want it are told by the PROXY protocol where a connection comes from', async () => {
  const heads: Buffer[] = []
  using server = await byteServer((socket) =>
    socket.once('data', (d) => {
      heads.push(d)
      socket.end(d.includes('HTTP/1.1') ? 'HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n' : 'bye')
    }),
  )
  const sending = (version: number) => ({
    transport_socket: {
      name: 'envoy.transport_sockets.upstream_proxy_protocol',
      typed_config: packAny(
        xds('envoy.extensions.transport_sockets.proxy_protocol.v3.ProxyProtocolUpstreamTransport'),
        { config: { version }, transport_socket: { name: 'envoy.transport_sockets.raw_buffer' } },
      ),
    },
  })
  const [first, second, http] = [await freePort(), await freePort(), await freePort()]
  await using _ = await startProxy({
    listeners: [
      tcpListener('first', first, [tcpChain('v1')]),
      tcpListener('second', second, [tcpChain('v2')]),
      httpListener('http', { port: http, routes: [toCluster('v1')] }),
    ],
    clusters: [staticCluster('v1', [server.port], sending(0)), staticCluster('v2', [server.port], sending(1))],
  })
  const say = async (port: number, text: string) => {
    const socket = connect({ port, host: '127.0.0.1' })
    await once(socket, 'connect')
    const from = socket.localPort!
    socket.write(text)
    await once(socket, 'data')
    socket.destroy()
    return from
  }
  const one = await say(first, 'hello')
  assert.equal(heads[0]!.toString(), `PROXY TCP4 127.0.0.1 127.0.0.1 ${one} ${first}\r\nhello`)
  const two = await say(second, 'hello')
  const binary = Buffer.from('0d0a0d0a000d0a515549540a2111000c7f0000017f000001', 'hex')
  const ports = Buffer.alloc(4)
  ports.writeUInt16BE(two, 0)
  ports.writeUInt16BE(second, 2)
  assert.deepEqual(heads[1], Buffer.concat([binary, ports, Buffer.from('hello')]))
  // Each request on a connection of its own: the next one may be another client's.
  for (const i of [2, 3]) {
    const from = await say(http, 'GET / HTTP/1.1\r\nhost: a\r\n\r\n')
    assert.ok(heads[i]!.toString().startsWith(`PROXY TCP4 127.0.0.1 127.0.0.1 ${from} ${http}\r\nGET / HTTP/1.1\r\n`))
  }
})
