// What a gRPC client without a proxy is configured with (GENERATOR=grpc): listeners by target name, routes, clusters.
// Pure (grpc/proposal A27, A28; istio: pilot/pkg/networking/grpcgen).

import { HttpConnectionManager, LbPolicy, packAny } from '#api/xds'
import type { Message } from '#wire'
import { isHttp } from '../model/protocol.ts'
import type { MeshPort, MeshService } from '../model/service.ts'
import { madeForHost } from '../model/sidecar-scope.ts'
import { clusterName, emptyResources, type XdsResources } from '../model/view.ts'
import type { VirtualService } from '../model/virtual-service.ts'
import { addClusters } from './clusters.ts'
import { extension, ROUTER } from './extension.ts'
import { namesOf } from './outbound.ts'
import type { Place } from './place.ts'
import { defaultRoute, httpRoutes } from './routes.ts'
import { ADS } from './sds.ts'

/** The name under which a server asks for its own listener; "%s" is its address. */
export const INBOUND_NAME = 'xds.istio.io/grpc/lds/inbound/'

/** Filters a gRPC client knows; one it does not know would make it refuse the listener. */
const FILTERS = [extension('envoy.filters.http.fault', 'filters.http.fault.v3.HTTPFault'), ROUTER]

/** Policies that gRPC clients balance by; another would make them refuse the cluster. */
const KNOWN_POLICIES: readonly unknown[] = [LbPolicy.roundRobin, LbPolicy.ringHash]

/** Resources for all services a client may call. */
export function translateGrpc(place: Place): XdsResources {
  const result = emptyResources()
  const rules = place.scope.egress.flatMap((e) => e.rules)
  for (const egress of place.scope.egress)
    for (const service of egress.services)
      for (const port of service.ports) {
        if (service.resolution === 'alias' || (port.protocol !== 'auto' && !isHttp(port.protocol))) continue
        addClusters(result, place, service, port)
        addTarget(result, place, rules, service, port)
      }
  for (const [name, cluster] of result.clusters) result.clusters.set(name, balanced(cluster))
  addServers(result, place)
  return result
}

function addTarget(
  result: XdsResources,
  place: Place,
  rules: readonly VirtualService[],
  service: MeshService,
  port: MeshPort,
): void {
  const route = clusterName(port.number, '', service.host)
  const scope = { place, gateways: new Set(['mesh']), port: port.number, service }
  const ruled = madeForHost(rules, service.host, (rule) => (rule.http.length > 0 ? httpRoutes(scope, rule) : []))
  const names = namesOf(service, place.node.namespace)
  const domains = names.flatMap((n) => (n === '*' ? ['*'] : [n, `${n}:${port.number}`]))
  result.routes.set(route, {
    name: route,
    virtual_hosts: [
      {
        name: `${service.host}:${port.number}`,
        domains,
        routes: (ruled.length > 0 ? ruled : [defaultRoute(place, service, port.number)]).map(plain),
      },
    ],
  })
  for (const name of domains.filter((d) => d.endsWith(`:${port.number}`)))
    result.listeners.set(name, {
      name,
      api_listener: {
        api_listener: packAny(HttpConnectionManager, {
          stat_prefix: route,
          rds: { config_source: ADS, route_config_name: route },
          http_filters: FILTERS,
        }),
      },
    })
}

/** A route without what clients do not know: filter settings, and a time limit of none. */
function plain(route: Message): Message {
  const { typed_per_filter_config: all, metadata: _, decorator: __, ...rest } = route
  const fault = all?.['envoy.filters.http.fault']
  const action = rest.route as Message | undefined
  const none = action?.timeout && !action.timeout.seconds && !action.timeout.nanos
  return {
    ...rest,
    ...(fault ? { typed_per_filter_config: { 'envoy.filters.http.fault': fault } } : {}),
    ...(action
      ? {
          route: {
            ...action,
            ...(none ? {} : { max_stream_duration: { max_stream_duration: action.timeout } }),
            timeout: undefined,
            max_grpc_timeout: undefined,
          },
        }
      : {}),
  }
}

function balanced(cluster: Message): Message {
  if (KNOWN_POLICIES.includes(cluster.lb_policy)) return cluster
  const { least_request_lb_config: _, maglev_lb_config: __, ...rest } = cluster
  return { ...rest, lb_policy: LbPolicy.roundRobin }
}

/** Listeners of the client's own servers. Their certificates are the security policies' affair. */
function addServers(result: XdsResources, place: Place): void {
  for (const { containerPort: port } of place.node.ports)
    for (const address of new Set(['0.0.0.0', place.node.ip].filter(Boolean))) {
      const name = `${INBOUND_NAME}${address}:${port}`
      result.listeners.set(name, {
        name,
        address: { socket_address: { address, port_value: port } },
        filter_chains: [
          {
            filters: [
              {
                name: 'envoy.filters.network.http_connection_manager',
                typed_config: packAny(HttpConnectionManager, {
                  stat_prefix: name,
                  route_config: {
                    name,
                    virtual_hosts: [
                      {
                        name,
                        domains: ['*'],
                        routes: [{ match: { prefix: '/' }, non_forwarding_action: {}, decorator: { operation: name } }],
                      },
                    ],
                  },
                  http_filters: [ROUTER],
                }),
              },
            ],
          },
        ],
      })
    }
}
