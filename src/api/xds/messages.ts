// Envoy's xDS v3 messages, the fields our control plane emits and our data plane reads (envoy/api, v3).

import { type MessageType, mapOf, message, repeated } from '#wire'

const Value: MessageType = message('google.protobuf.Value', {
  null_value: [1, 'enum'],
  number_value: [2, 'double'],
  string_value: [3, 'string'],
  bool_value: [4, 'bool'],
  struct_value: [5, () => Struct],
  list_value: [6, () => ListValue],
})
const ListValue = message('google.protobuf.ListValue', { values: [1, repeated(Value)] })
export const Struct: MessageType = message('google.protobuf.Struct', { fields: [1, mapOf(Value)] })
export const Any = message('google.protobuf.Any', { type_url: [1, 'string'], value: [2, 'bytes'] })
const Duration = message('google.protobuf.Duration', { seconds: [1, 'int64'], nanos: [2, 'int32'] })
const UInt32 = message('google.protobuf.UInt32Value', { value: [1, 'uint32'] })
const Bool = message('google.protobuf.BoolValue', { value: [1, 'bool'] })
const RpcStatus = message('google.rpc.Status', { code: [1, 'int32'], message: [2, 'string'] })
const Empty = message('google.protobuf.Empty', {})

const Node = message('envoy.config.core.v3.Node', {
  id: [1, 'string'],
  cluster: [2, 'string'],
  metadata: [3, Struct],
  user_agent_name: [6, 'string'],
})
export const DiscoveryRequest = message('envoy.service.discovery.v3.DiscoveryRequest', {
  version_info: [1, 'string'],
  node: [2, Node],
  resource_names: [3, repeated('string')],
  type_url: [4, 'string'],
  response_nonce: [5, 'string'],
  error_detail: [6, RpcStatus],
})
export const DiscoveryResponse = message('envoy.service.discovery.v3.DiscoveryResponse', {
  version_info: [1, 'string'],
  resources: [2, repeated(Any)],
  type_url: [4, 'string'],
  nonce: [5, 'string'],
})

const SocketAddress = message('envoy.config.core.v3.SocketAddress', {
  protocol: [1, 'enum'],
  address: [2, 'string'],
  port_value: [3, 'uint32'],
})
const Address = message('envoy.config.core.v3.Address', { socket_address: [1, SocketAddress] })
const Metadata = message('envoy.config.core.v3.Metadata', { filter_metadata: [1, mapOf(Struct)] })
const ConfigSource = message('envoy.config.core.v3.ConfigSource', {
  ads: [3, Empty],
  resource_api_version: [6, 'enum'],
})

const DataSource = message('envoy.config.core.v3.DataSource', {
  filename: [1, 'string'],
  inline_bytes: [2, 'bytes'],
  inline_string: [3, 'string'],
})
const HeaderValue = message('envoy.config.core.v3.HeaderValue', { key: [1, 'string'], value: [2, 'string'] })
const HeaderValueOption = message('envoy.config.core.v3.HeaderValueOption', {
  header: [1, HeaderValue],
  append_action: [3, 'enum'],
})

const Filter = message('envoy.config.listener.v3.Filter', { name: [1, 'string'], typed_config: [4, Any] })
const FilterChainMatch = message('envoy.config.listener.v3.FilterChainMatch', {
  destination_port: [8, UInt32],
  transport_protocol: [9, 'string'],
  application_protocols: [10, repeated('string')],
  server_names: [11, repeated('string')],
})
const TransportSocket = message('envoy.config.core.v3.TransportSocket', { name: [1, 'string'], typed_config: [3, Any] })
const FilterChain = message('envoy.config.listener.v3.FilterChain', {
  filter_chain_match: [1, FilterChainMatch],
  filters: [3, repeated(Filter)],
  transport_socket: [6, TransportSocket],
  name: [7, 'string'],
})
const ListenerFilter = message('envoy.config.listener.v3.ListenerFilter', {
  name: [1, 'string'],
  typed_config: [3, Any],
})
export const Listener = message('envoy.config.listener.v3.Listener', {
  name: [1, 'string'],
  address: [2, Address],
  filter_chains: [3, repeated(FilterChain)],
  use_original_dst: [4, Bool],
  listener_filters: [9, repeated(ListenerFilter)],
  traffic_direction: [16, 'enum'],
  default_filter_chain: [25, FilterChain],
  bind_to_port: [26, Bool],
})

const RegexMatcher = message('envoy.type.matcher.v3.RegexMatcher', { regex: [2, 'string'] })
const StringMatcher = message('envoy.type.matcher.v3.StringMatcher', {
  exact: [1, 'string'],
  prefix: [2, 'string'],
  suffix: [3, 'string'],
  safe_regex: [5, RegexMatcher],
  ignore_case: [6, 'bool'],
  contains: [7, 'string'],
})
const HeaderMatcher = message('envoy.config.route.v3.HeaderMatcher', {
  name: [1, 'string'],
  present_match: [7, 'bool'],
  invert_match: [8, 'bool'],
  string_match: [13, StringMatcher],
})
const QueryParameterMatcher = message('envoy.config.route.v3.QueryParameterMatcher', {
  name: [1, 'string'],
  string_match: [5, StringMatcher],
  present_match: [6, 'bool'],
})
const RouteMatch = message('envoy.config.route.v3.RouteMatch', {
  prefix: [1, 'string'],
  path: [2, 'string'],
  case_sensitive: [4, Bool],
  headers: [6, repeated(HeaderMatcher)],
  query_parameters: [7, repeated(QueryParameterMatcher)],
  safe_regex: [10, RegexMatcher],
  path_separated_prefix: [14, 'string'],
})
const RegexRewrite = message('envoy.type.matcher.v3.RegexMatchAndSubstitute', {
  pattern: [1, RegexMatcher],
  substitution: [2, 'string'],
})
const ClusterWeight = message('envoy.config.route.v3.WeightedCluster.ClusterWeight', {
  name: [1, 'string'],
  weight: [2, UInt32],
  request_headers_to_add: [4, repeated(HeaderValueOption)],
  response_headers_to_add: [5, repeated(HeaderValueOption)],
  response_headers_to_remove: [6, repeated('string')],
  request_headers_to_remove: [9, repeated('string')],
})
const WeightedCluster = message('envoy.config.route.v3.WeightedCluster', { clusters: [1, repeated(ClusterWeight)] })
const RouteAction = message('envoy.config.route.v3.RouteAction', {
  cluster: [1, 'string'],
  weighted_clusters: [3, WeightedCluster],
  prefix_rewrite: [5, 'string'],
  host_rewrite_literal: [6, 'string'],
  timeout: [8, Duration],
  regex_rewrite: [32, RegexRewrite],
})
const RedirectAction = message('envoy.config.route.v3.RedirectAction', {
  host_redirect: [1, 'string'],
  path_redirect: [2, 'string'],
  response_code: [3, 'enum'],
  https_redirect: [4, 'bool'],
  prefix_rewrite: [5, 'string'],
  scheme_redirect: [7, 'string'],
  port_redirect: [8, 'uint32'],
})
const DirectResponse = message('envoy.config.route.v3.DirectResponseAction', {
  status: [1, 'uint32'],
  body: [2, DataSource],
})
const Decorator = message('envoy.config.route.v3.Decorator', { operation: [1, 'string'] })
const Route = message('envoy.config.route.v3.Route', {
  match: [1, RouteMatch],
  route: [2, RouteAction],
  redirect: [3, RedirectAction],
  metadata: [4, Metadata],
  decorator: [5, Decorator],
  direct_response: [7, DirectResponse],
  request_headers_to_add: [9, repeated(HeaderValueOption)],
  response_headers_to_add: [10, repeated(HeaderValueOption)],
  response_headers_to_remove: [11, repeated('string')],
  request_headers_to_remove: [12, repeated('string')],
  name: [14, 'string'],
})
const VirtualHost = message('envoy.config.route.v3.VirtualHost', {
  name: [1, 'string'],
  domains: [2, repeated('string')],
  routes: [3, repeated(Route)],
  require_tls: [4, 'enum'],
})
export const RouteConfiguration = message('envoy.config.route.v3.RouteConfiguration', {
  name: [1, 'string'],
  virtual_hosts: [2, repeated(VirtualHost)],
  ignore_port_in_host_matching: [14, 'bool'],
})

const Rds = message('envoy.extensions.filters.network.http_connection_manager.v3.Rds', {
  config_source: [1, ConfigSource],
  route_config_name: [2, 'string'],
})
const HttpFilter = message('envoy.extensions.filters.network.http_connection_manager.v3.HttpFilter', {
  name: [1, 'string'],
  typed_config: [4, Any],
})
export const HttpConnectionManager = message(
  'envoy.extensions.filters.network.http_connection_manager.v3.HttpConnectionManager',
  {
    codec_type: [1, 'enum'],
    stat_prefix: [2, 'string'],
    rds: [3, Rds],
    route_config: [4, RouteConfiguration],
    http_filters: [5, repeated(HttpFilter)],
    server_name: [10, 'string'],
    use_remote_address: [14, Bool],
  },
)
export const TcpProxy = message('envoy.extensions.filters.network.tcp_proxy.v3.TcpProxy', {
  stat_prefix: [1, 'string'],
  cluster: [2, 'string'],
})

const Endpoint = message('envoy.config.endpoint.v3.Endpoint', { address: [1, Address] })
const LbEndpoint = message('envoy.config.endpoint.v3.LbEndpoint', {
  endpoint: [1, Endpoint],
  health_status: [2, 'enum'],
  metadata: [3, Metadata],
  load_balancing_weight: [4, UInt32],
})
const LocalityLbEndpoints = message('envoy.config.endpoint.v3.LocalityLbEndpoints', {
  lb_endpoints: [2, repeated(LbEndpoint)],
  load_balancing_weight: [3, UInt32],
  priority: [5, 'uint32'],
})
export const ClusterLoadAssignment = message('envoy.config.endpoint.v3.ClusterLoadAssignment', {
  cluster_name: [1, 'string'],
  endpoints: [2, repeated(LocalityLbEndpoints)],
})
const EdsClusterConfig = message('envoy.config.cluster.v3.Cluster.EdsClusterConfig', {
  eds_config: [1, ConfigSource],
  service_name: [2, 'string'],
})
export const Cluster = message('envoy.config.cluster.v3.Cluster', {
  name: [1, 'string'],
  type: [2, 'enum'],
  eds_cluster_config: [3, EdsClusterConfig],
  connect_timeout: [4, Duration],
  lb_policy: [6, 'enum'],
  metadata: [25, Metadata],
  typed_extension_protocol_options: [36, mapOf(Any)],
})
const ExplicitHttp = message('envoy.extensions.upstreams.http.v3.HttpProtocolOptions.ExplicitHttpConfig', {
  http_protocol_options: [1, Empty],
  http2_protocol_options: [2, Empty],
})
export const HttpProtocolOptions = message('envoy.extensions.upstreams.http.v3.HttpProtocolOptions', {
  explicit_http_config: [3, ExplicitHttp],
  use_downstream_protocol_config: [4, Empty],
})

const SdsSecretConfig = message('envoy.extensions.transport_sockets.tls.v3.SdsSecretConfig', {
  name: [1, 'string'],
  sds_config: [2, ConfigSource],
})
const TlsParameters = message('envoy.extensions.transport_sockets.tls.v3.TlsParameters', {
  tls_minimum_protocol_version: [1, 'enum'],
  tls_maximum_protocol_version: [2, 'enum'],
})
const CommonTlsContext = message('envoy.extensions.transport_sockets.tls.v3.CommonTlsContext', {
  tls_params: [1, TlsParameters],
  alpn_protocols: [4, repeated('string')],
  tls_certificate_sds_secret_configs: [6, repeated(SdsSecretConfig)],
  validation_context_sds_secret_config: [7, SdsSecretConfig],
})
export const DownstreamTlsContext = message('envoy.extensions.transport_sockets.tls.v3.DownstreamTlsContext', {
  common_tls_context: [1, CommonTlsContext],
  require_client_certificate: [2, Bool],
})
const TlsCertificate = message('envoy.extensions.transport_sockets.tls.v3.TlsCertificate', {
  certificate_chain: [1, DataSource],
  private_key: [2, DataSource],
})
const ValidationContext = message('envoy.extensions.transport_sockets.tls.v3.CertificateValidationContext', {
  trusted_ca: [1, DataSource],
})
export const Secret = message('envoy.extensions.transport_sockets.tls.v3.Secret', {
  name: [1, 'string'],
  tls_certificate: [2, TlsCertificate],
  validation_context: [4, ValidationContext],
})

/** Type URLs. */
export const TYPE = {
  cluster: 'type.googleapis.com/envoy.config.cluster.v3.Cluster',
  endpoint: 'type.googleapis.com/envoy.config.endpoint.v3.ClusterLoadAssignment',
  listener: 'type.googleapis.com/envoy.config.listener.v3.Listener',
  route: 'type.googleapis.com/envoy.config.route.v3.RouteConfiguration',
  secret: 'type.googleapis.com/envoy.extensions.transport_sockets.tls.v3.Secret',
} as const

/** Numbers of enumerations. */
export const ClusterType = { static: 0, strictDns: 1, eds: 3, originalDst: 4 } as const
export const LbPolicy = {
  roundRobin: 0,
  leastRequest: 1,
  ringHash: 2,
  random: 3,
  maglev: 5,
  clusterProvided: 6,
} as const
export const RequireTls = { none: 0, externalOnly: 1, all: 2 } as const
export const RedirectCode = { moved: 0, found: 1, seeOther: 2, temporary: 3, permanent: 4 } as const
export const AppendAction = { appendOrAdd: 0, addIfAbsent: 1, overwriteOrAdd: 2, overwrite: 3 } as const
export const Direction = { unspecified: 0, inbound: 1, outbound: 2 } as const

export const streamAggregatedResources = {
  path: '/envoy.service.discovery.v3.AggregatedDiscoveryService/StreamAggregatedResources',
  request: DiscoveryRequest,
  response: DiscoveryResponse,
}
