// The control plane of the mesh over a view that a test holds in its hand, without a cluster.

import { once } from 'node:events'
import { type AddressInfo, createServer } from 'node:net'
import type { KubeObject } from '#api'
import { silentLog } from '#base'
import { serveGrpc } from '#wire'
import { createSnapshot } from '../../src/mesh/model/snapshot.ts'
import { type MeshView, type ProxyNode, viewOf } from '../../src/mesh/model/view.ts'
import { layersOf } from '../../src/mesh/translate/translate.ts'
import { AdsServer } from '../../src/mesh/xds/ads-server.ts'
import type { ProxyIdentity } from '../../src/mesh/xds/identity.ts'
import { Views } from '../../src/mesh/xds/views.ts'

let clock = 0

/** An object of a namespace, younger than those made before it. */
export function meshObject(kind: string, name: string, rest: object, namespace = 'default'): KubeObject {
  const apiVersion = ['Service', 'Pod', 'Secret', 'ConfigMap', 'Node'].includes(kind) ? 'v1' : 'networking.istio.io/v1'
  return {
    apiVersion,
    kind,
    metadata: {
      name,
      namespace,
      uid: `${kind}/${namespace}/${name}`,
      resourceVersion: '1',
      generation: 1,
      creationTimestamp: new Date(1767225600000 + clock++ * 1000).toISOString(),
    },
    ...rest,
  }
}

/** A Service with endpoints at addresses of this machine, "127.0.0.1:port". */
export function serviceAt(
  name: string,
  port: number,
  portName: string,
  ports: readonly number[],
  namespace = 'default',
) {
  const service = meshObject(
    'Service',
    name,
    { spec: { clusterIP: 'None', ports: [{ name: portName, port }] } },
    namespace,
  )
  const clustered = { ...service, spec: { ...service.spec, clusterIP: '10.255.0.1' } }
  const slices = ports.map((number, i) => ({
    ...meshObject(
      'EndpointSlice',
      `${name}-${i}`,
      {
        ports: [{ name: portName, port: number }],
        endpoints: [{ addresses: [`127.0.0.${i + 1}`], conditions: { ready: true } }],
      },
      namespace,
    ),
  }))
  return { service: clustered, slices }
}

export interface TestMesh {
  readonly port: number
  readonly ads: AdsServer
  /** Refusals so far: "type: reason". */
  readonly refusals: string[]
  /** The mesh is another now; resolves when everybody has been looked at. */
  update(view: Partial<MeshView>): Promise<void>
  /** Ends the server and its connections. */
  close(): Promise<void>
}

/** Serves xDS without TLS on the loopback address. */
export async function startMesh(first: Partial<MeshView>, port = 0): Promise<TestMesh> {
  const views = new Views(layersOf, (_key, error) => {
    throw error
  })
  let snapshot = createSnapshot(viewOf(first))
  const refusals: string[] = []
  const nodeOf = (proxy: ProxyIdentity): ProxyNode => ({
    role: proxy.role,
    ...(proxy.metadata.GENERATOR === 'grpc' ? { generator: 'grpc' as const } : {}),
    namespace: proxy.namespace,
    labels: (proxy.metadata.LABELS ?? {}) as Record<string, string>,
    ip: proxy.ip,
    locality: '',
    ports: [],
    trusted: false,
    readsSecrets: false,
    servesIngresses: false,
    config: {},
  })
  const ads = new AdsServer({
    log: silentLog,
    layers: (proxy) =>
      views.of(
        proxy,
        () => snapshot,
        () => nodeOf(proxy),
      ),
    authenticate: async () => ({ name: '', groups: [] }),
    refuse: () => '',
    onAnswer: (_proxy, url, message) => {
      if (message) refusals.push(`${url.split('.').at(-1)}: ${message}`)
    },
  })
  const server = createServer()
  const streams = serveGrpc(server, ads.methods)
  server.listen(port, '127.0.0.1')
  await once(server, 'listening')
  return {
    port: (server.address() as AddressInfo).port,
    ads,
    refusals,
    update: (view) => {
      snapshot = createSnapshot(viewOf(view))
      views.invalidate()
      return ads.push()
    },
    close: async () => {
      streams.destroy()
      server.close()
      await once(server, 'close')
    },
  }
}
