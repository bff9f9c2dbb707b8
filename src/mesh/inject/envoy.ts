// A real Envoy as the sidecar or gateway: the command line and bootstrap by which it follows the same control plane.
// It calls the plain xDS port from its pod's own address, which is what says who it is. Pure (envoyproxy.io, Bootstrap).

import type { Json } from '#api'

/** A pod with this annotation gets the Envoy of its image instead of our data plane: "true", or the image's name. */
export const ENVOY = 'sampan.dev/envoy'
/** The image that is run where the annotation names none. */
const IMAGE = 'docker.io/envoyproxy/envoy:v1.34-latest'

/** The image of the Envoy a pod asks for; undefined when it asks for none. */
export function envoyImage(annotations: Readonly<Record<string, string>>): string | undefined {
  const asked = annotations[ENVOY]
  if (!asked || asked === 'false') return undefined
  return asked === 'true' ? (annotations['sidecar.istio.io/proxyImage'] ?? IMAGE) : asked
}

const address = (host: string, port: number) => ({ socket_address: { address: host, port_value: port } })

/** A cluster of one endpoint. */
const cluster = (name: string, type: string, host: string, port: number, more: Json = {}) => ({
  name,
  type,
  connect_timeout: '1s',
  load_assignment: {
    cluster_name: name,
    endpoints: [{ lb_endpoints: [{ endpoint: { address: address(host, port) } }] }],
  },
  ...more,
})

/** A listener that passes one path of the admin interface on. */
const door = (port: number, path: string, to: string) => ({
  address: address('0.0.0.0', port),
  filter_chains: [
    {
      filters: [
        {
          name: 'envoy.filters.network.http_connection_manager',
          typed_config: {
            '@type':
              'type.googleapis.com/envoy.extensions.filters.network.http_connection_manager.v3.HttpConnectionManager',
            stat_prefix: `agent_${port}`,
            route_config: {
              virtual_hosts: [
                {
                  name: 'admin',
                  domains: ['*'],
                  routes: [{ match: { path }, route: { cluster: 'prometheus_stats', prefix_rewrite: to } }],
                },
              ],
            },
            http_filters: [
              {
                name: 'envoy.filters.http.router',
                typed_config: { '@type': 'type.googleapis.com/envoy.extensions.filters.http.router.v3.Router' },
              },
            ],
          },
        },
      ],
    },
  ],
})

const ADS = { ads: {}, resource_api_version: 'V3', initial_fetch_timeout: '0s' }

/** What Envoy begins with: everything else comes by ADS. */
export function envoyBootstrap(istiod = 'istiod.istio-system.svc', port = 15010): Json {
  return {
    admin: { address: address('127.0.0.1', 15000) },
    dynamic_resources: {
      ads_config: {
        api_type: 'DELTA_GRPC',
        transport_api_version: 'V3',
        grpc_services: [{ envoy_grpc: { cluster_name: 'xds-grpc' } }],
      },
      cds_config: ADS,
      lds_config: ADS,
    },
    static_resources: {
      clusters: [
        cluster('xds-grpc', 'STRICT_DNS', istiod, port, {
          dns_lookup_family: 'V4_ONLY',
          typed_extension_protocol_options: {
            'envoy.extensions.upstreams.http.v3.HttpProtocolOptions': {
              '@type': 'type.googleapis.com/envoy.extensions.upstreams.http.v3.HttpProtocolOptions',
              explicit_http_config: { http2_protocol_options: {} },
            },
          },
        }),
        cluster('prometheus_stats', 'STATIC', '127.0.0.1', 15000),
      ],
      listeners: [door(15021, '/healthz/ready', '/ready'), door(15090, '/stats/prometheus', '/stats/prometheus')],
    },
  }
}

/** What of the injected container is another with an Envoy in it. */
export function envoyContainer(image: string, role: 'sidecar' | 'router'): Json {
  const node = `${role}~$(INSTANCE_IP)~$(POD_NAME).$(POD_NAMESPACE)~$(POD_NAMESPACE).svc.cluster.local`
  return {
    image,
    command: ['envoy'],
    args: [
      ...['--service-node', node, '--service-cluster', '$(ISTIO_META_WORKLOAD_NAME).$(POD_NAMESPACE)'],
      ...['--drain-time-s', '45', '--config-yaml', JSON.stringify(envoyBootstrap())],
    ],
    // The containers after this one start once it has its first configuration.
    lifecycle: undefined,
    startupProbe: { httpGet: { path: '/healthz/ready', port: 15021 }, periodSeconds: 1, failureThreshold: 600 },
  }
}
