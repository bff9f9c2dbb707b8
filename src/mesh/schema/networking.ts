// Istio's networking API: networking.istio.io/v1 (istio.io/api), message by message.

import { parseIdl } from './idl.ts'
import { SCALARS } from './scalars.ts'

const POLICY = `
loadBalancer LoadBalancerSettings, connectionPool ConnectionPoolSettings, outlierDetection OutlierDetection,
tls ClientTLSSettings`

export const NETWORKING = parseIdl(
  `
VirtualService < hosts [string], gateways [string], http [HTTPRoute], tls [TLSRoute], tcp [TCPRoute], exportTo [string] >
Destination < host! string, subset string, port PortSelector >
PortSelector < number uint32 >
HTTPRoute < name string, match [HTTPMatchRequest], route [HTTPRouteDestination], redirect HTTPRedirect,
  directResponse HTTPDirectResponse, delegate Delegate, rewrite HTTPRewrite, timeout duration, retries HTTPRetry,
  fault HTTPFaultInjection, mirror Destination, mirrors [HTTPMirrorPolicy], mirrorPercent uint32,
  mirror_percent uint32, mirrorPercentage Percent, corsPolicy CorsPolicy, headers Headers >
Delegate < name string, namespace string >
Headers < request HeaderOperations, response HeaderOperations >
HeaderOperations < set {string}, add {string}, remove [string] >
TLSRoute < match! [TLSMatchAttributes], route [RouteDestination] >
TCPRoute < match [L4MatchAttributes], route [RouteDestination] >
HTTPMatchRequest < name string, uri StringMatch, scheme StringMatch, method StringMatch, authority StringMatch,
  headers {StringMatch}, port uint32, sourceLabels {string}, gateways [string], queryParams {StringMatch},
  ignoreUriCase boolean, withoutHeaders {StringMatch}, sourceNamespace string, statPrefix string >
HTTPRouteDestination < destination! Destination, weight integer, headers Headers >
RouteDestination < destination! Destination, weight integer >
L4MatchAttributes < destinationSubnets [string], port uint32, sourceSubnet string, sourceLabels {string},
  gateways [string], sourceNamespace string >
TLSMatchAttributes < sniHosts! [string], destinationSubnets [string], port uint32, sourceLabels {string},
  gateways [string], sourceNamespace string >
HTTPRedirect < uri string, authority string, port uint32,
  derivePort (FROM_PROTOCOL_DEFAULT|FROM_REQUEST_PORT), scheme string, redirectCode uint32, prefixRewrite string > one(port|derivePort)
HTTPDirectResponse < status! uint32, body HTTPBody >
HTTPBody < string string, bytes string > one(string|bytes)
HTTPRewrite < uri string, authority string, uriRegexRewrite RegexRewrite >
RegexRewrite < match string, rewrite string >
StringMatch < exact string, prefix string, regex string > one(exact|prefix|regex)
HTTPRetry < attempts integer, perTryTimeout duration, retryOn string, retryRemoteLocalities boolean,
  retryIgnorePreviousHosts boolean, backoff duration >
CorsPolicy < allowOrigin [string], allowOrigins [StringMatch], allowMethods [string], allowHeaders [string],
  exposeHeaders [string], maxAge duration, allowCredentials boolean, unmatchedPreflights (UNSPECIFIED|FORWARD|IGNORE) >
HTTPFaultInjection < delay Delay, abort Abort >
Delay < percent integer, fixedDelay duration, exponentialDelay duration, percentage Percent >
  one(fixedDelay|exponentialDelay)
Abort < httpStatus integer, grpcStatus string, http2Error string, percentage Percent >
  one(httpStatus|grpcStatus|http2Error)
HTTPMirrorPolicy < destination! Destination, percentage Percent >
Percent < value number >

DestinationRule < host! string, trafficPolicy TrafficPolicy, subsets [Subset], exportTo [string],
  workloadSelector MatchLabels >
MatchLabels < matchLabels {LabelValue}..4096 >
TrafficPolicy < ${POLICY}, portLevelSettings [PortTrafficPolicy]..4096, tunnel TunnelSettings, proxyProtocol ProxyProtocol,
  retryBudget RetryBudget >
PortTrafficPolicy < port PortSelector, ${POLICY} >
TunnelSettings < protocol string, targetHost! string, targetPort! uint32 >
ProxyProtocol < version (V1|V2) >
RetryBudget < percent percent, minRetryConcurrency uint32, budgetInterval duration >
Subset < name! string, labels {string}, trafficPolicy TrafficPolicy >
LoadBalancerSettings < simple (UNSPECIFIED|LEAST_CONN|RANDOM|PASSTHROUGH|ROUND_ROBIN|LEAST_REQUEST),
  consistentHash ConsistentHashLB, localityLbSetting LocalityLoadBalancerSetting,
  zoneAwareLbSetting ZoneAwareLoadBalancerSetting, warmupDurationSecs duration, warmup WarmupConfiguration >
  one(simple|consistentHash)
ConsistentHashLB < httpHeaderName string, httpCookie HTTPCookie, useSourceIp boolean, httpQueryParameterName string,
  ringHash RingHash, maglev MagLev, minimumRingSize uint64 >
  one(httpHeaderName|httpCookie|useSourceIp|httpQueryParameterName) one(ringHash|maglev)
RingHash < minimumRingSize uint64 >
MagLev < tableSize uint64 >
HTTPCookie < name! string, path string, ttl duration, attributes [CookieAttribute] >
CookieAttribute < name! string, value string >
WarmupConfiguration < duration! duration, minimumPercent percent, aggression unsigned >
ConnectionPoolSettings < tcp TCPSettings, http HTTPSettings >
TCPSettings < maxConnections integer, connectTimeout duration, tcpKeepalive TcpKeepalive,
  maxConnectionDuration duration, idleTimeout duration >
TcpKeepalive < probes uint32, time duration, interval duration >
HTTPSettings < http1MaxPendingRequests integer, http2MaxRequests integer, maxRequestsPerConnection integer,
  maxRetries integer, idleTimeout duration, h2UpgradePolicy (DEFAULT|DO_NOT_UPGRADE|UPGRADE),
  useClientProtocol boolean, maxConcurrentStreams integer, http2KeepAlive ConnectionKeepalive >
ConnectionKeepalive < interval duration, timeout duration >
OutlierDetection < consecutiveErrors integer, splitExternalLocalOriginErrors boolean,
  consecutiveLocalOriginFailures uint32, consecutiveGatewayErrors uint32, consecutive5xxErrors uint32,
  interval duration, baseEjectionTime duration, maxEjectionPercent integer, minHealthPercent integer,
  outlierDetectionHttpErrorCodes [HTTPStatus] >
ClientTLSSettings < mode (DISABLE|SIMPLE|MUTUAL|ISTIO_MUTUAL), clientCertificate string, privateKey string,
  caCertificates string, credentialName string, subjectAltNames [string], sni string, insecureSkipVerify boolean,
  caCrl string >
LocalityLoadBalancerSetting < distribute [Distribute], failover [Failover], failoverPriority [string],
  enabled boolean >
Distribute < from string, to {uint32} >
Failover < from string, to string >
ZoneAwareLoadBalancerSetting < enabled boolean, failover [Failover], failoverPriority [string],
  minClusterSize positive >

Gateway < servers [Server], selector {string} >
Server < port! Port, bind string, hosts! [string], tls ServerTLSSettings, defaultEndpoint string, name string >
Port < number! uint32, protocol! string, name! string, targetPort uint32 >
ServerTLSSettings < httpsRedirect boolean,
  mode (PASSTHROUGH|SIMPLE|MUTUAL|AUTO_PASSTHROUGH|ISTIO_MUTUAL|OPTIONAL_MUTUAL), serverCertificate string,
  privateKey string, caCertificates string, caCrl string, credentialName string, credentialNames [string]1..2,
  caCertCredentialName string, tlsCertificates [TLSCertificate]1..2, subjectAltNames [string],
  verifyCertificateSpki [string], verifyCertificateHash [string],
  minProtocolVersion (TLS_AUTO|TLSV1_0|TLSV1_1|TLSV1_2|TLSV1_3),
  maxProtocolVersion (TLS_AUTO|TLSV1_0|TLSV1_1|TLSV1_2|TLSV1_3), cipherSuites [string], insecureSkipVerify boolean >
TLSCertificate < serverCertificate string, privateKey string, caCertificates string >

ServiceEntry < hosts! [string]1..256, addresses [Text64]..256, ports [ServicePort]..256/name, location (MESH_EXTERNAL|MESH_INTERNAL),
  resolution (NONE|STATIC|DNS|DNS_ROUND_ROBIN|DYNAMIC_DNS), endpoints [WorkloadEntry]..4096,
  workloadSelector WorkloadSelector, exportTo [string], subjectAltNames [string] >
ServicePort < number! uint32, protocol Text256, name! Text256, targetPort uint32 >
SidecarPort < number uint32, protocol string, name string, targetPort uint32 >
WorkloadSelector < labels {LabelValue}..256 >
WorkloadEntry < address Text256, ports {uint32}..128, labels {string}..256, network Text2048, locality Text2048,
  weight uint32, serviceAccount Text253 >
WorkloadGroup < metadata GroupMeta, template! WorkloadEntry, probe ReadinessProbe >
GroupMeta < labels {string}..256, annotations {string}..256 >
ReadinessProbe < initialDelaySeconds uint31, timeoutSeconds uint31, periodSeconds uint31, successThreshold uint31,
  failureThreshold uint31, httpGet HTTPHealthCheckConfig, tcpSocket TCPHealthCheckConfig,
  exec ExecHealthCheckConfig, grpc GrpcHealthCheckConfig >
  one(httpGet|tcpSocket|exec|grpc)
HTTPHealthCheckConfig < path string, port! uint32, host string, scheme string, httpHeaders [HTTPHeader] >
HTTPHeader < name HeaderName, value string >
TCPHealthCheckConfig < host string, port! uint32 >
ExecHealthCheckConfig < command! [Text] >
GrpcHealthCheckConfig < port uint32, service string >

Sidecar < workloadSelector WorkloadSelector, ingress [IstioIngressListener], egress [IstioEgressListener],
  inboundConnectionPool ConnectionPoolSettings, outboundTrafficPolicy OutboundTrafficPolicy >
IstioIngressListener < port! SidecarPort, bind string, captureMode (DEFAULT|IPTABLES|NONE), defaultEndpoint string,
  tls ServerTLSSettings, connectionPool ConnectionPoolSettings >
IstioEgressListener < port SidecarPort, bind string, captureMode (DEFAULT|IPTABLES|NONE), hosts! [string] >
OutboundTrafficPolicy < mode (REGISTRY_ONLY|ALLOW_ANY), egressProxy Destination >

EnvoyFilter < workloadSelector WorkloadSelector, targetRefs [PolicyTargetReference]..16, configPatches [ConfigPatch],
  priority integer >
ConfigPatch < applyTo (INVALID|LISTENER|FILTER_CHAIN|NETWORK_FILTER|HTTP_FILTER|ROUTE_CONFIGURATION|VIRTUAL_HOST|HTTP_ROUTE|CLUSTER|EXTENSION_CONFIG|BOOTSTRAP|LISTENER_FILTER),
  match any, patch Patch >
Patch < operation (INVALID|MERGE|ADD|REMOVE|INSERT_BEFORE|INSERT_AFTER|INSERT_FIRST|REPLACE|MERGE_AND_REPLACE_LIST),
  value any, filterClass (UNSPECIFIED|AUTHN|AUTHZ|STATS) >
PolicyTargetReference < group Group, kind! Kind, name! Name, namespace string >
ProxyConfig < selector MatchLabels, concurrency uint31, environmentVariables {Text2048}, image ProxyImage >
ProxyImage < imageType string >
`,
  SCALARS,
)
