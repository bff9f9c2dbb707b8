// Istio's networking API: networking.istio.io/v1 (istio.io/api), message by message.

import { parseIdl } from './idl.ts'

const POLICY = `
loadBalancer LoadBalancerSettings, connectionPool ConnectionPoolSettings, outlierDetection OutlierDetection,
tls ClientTLSSettings`

export const NETWORKING = parseIdl(`
VirtualService < hosts [string], gateways [string], http [HTTPRoute], tls [TLSRoute], tcp [TCPRoute], exportTo [string] >
Destination < host string, subset string, port PortSelector >
PortSelector < number integer >
HTTPRoute < name string, match [HTTPMatchRequest], route [HTTPRouteDestination], redirect HTTPRedirect,
  directResponse HTTPDirectResponse, delegate Delegate, rewrite HTTPRewrite, timeout duration, retries HTTPRetry,
  fault HTTPFaultInjection, mirror Destination, mirrors [HTTPMirrorPolicy], mirrorPercent integer,
  mirror_percent integer, mirrorPercentage Percent, corsPolicy CorsPolicy, headers Headers >
Delegate < name string, namespace string >
Headers < request HeaderOperations, response HeaderOperations >
HeaderOperations < set {string}, add {string}, remove [string] >
TLSRoute < match [TLSMatchAttributes], route [RouteDestination] >
TCPRoute < match [L4MatchAttributes], route [RouteDestination] >
HTTPMatchRequest < name string, uri StringMatch, scheme StringMatch, method StringMatch, authority StringMatch,
  headers {StringMatch}, port integer, sourceLabels {string}, gateways [string], queryParams {StringMatch},
  ignoreUriCase boolean, withoutHeaders {StringMatch}, sourceNamespace string, statPrefix string >
HTTPRouteDestination < destination Destination, weight integer, headers Headers >
RouteDestination < destination Destination, weight integer >
L4MatchAttributes < destinationSubnets [string], port integer, sourceSubnet string, sourceLabels {string},
  gateways [string], sourceNamespace string >
TLSMatchAttributes < sniHosts [string], destinationSubnets [string], port integer, sourceLabels {string},
  gateways [string], sourceNamespace string >
HTTPRedirect < uri string, authority string, port integer,
  derivePort (FROM_PROTOCOL_DEFAULT|FROM_REQUEST_PORT), scheme string, redirectCode integer, prefixRewrite string >
HTTPDirectResponse < status integer, body HTTPBody >
HTTPBody < string string, bytes string >
HTTPRewrite < uri string, authority string, uriRegexRewrite RegexRewrite >
RegexRewrite < match string, rewrite string >
StringMatch < exact string, prefix string, regex string >
HTTPRetry < attempts integer, perTryTimeout duration, retryOn string, retryRemoteLocalities boolean,
  retryIgnorePreviousHosts boolean, backoff duration >
CorsPolicy < allowOrigin [string], allowOrigins [StringMatch], allowMethods [string], allowHeaders [string],
  exposeHeaders [string], maxAge duration, allowCredentials boolean, unmatchedPreflights (UNSPECIFIED|FORWARD|IGNORE) >
HTTPFaultInjection < delay Delay, abort Abort >
Delay < percent integer, fixedDelay duration, exponentialDelay duration, percentage Percent >
Abort < httpStatus integer, grpcStatus string, http2Error string, percentage Percent >
HTTPMirrorPolicy < destination Destination, percentage Percent >
Percent < value number >

DestinationRule < host string, trafficPolicy TrafficPolicy, subsets [Subset], exportTo [string],
  workloadSelector MatchLabels >
MatchLabels < matchLabels {string} >
TrafficPolicy < ${POLICY}, portLevelSettings [PortTrafficPolicy], tunnel TunnelSettings, proxyProtocol ProxyProtocol,
  retryBudget RetryBudget >
PortTrafficPolicy < port PortSelector, ${POLICY} >
TunnelSettings < protocol string, targetHost string, targetPort integer >
ProxyProtocol < version (V1|V2) >
RetryBudget < percent number, minRetryConcurrency integer, budgetInterval duration >
Subset < name string, labels {string}, trafficPolicy TrafficPolicy >
LoadBalancerSettings < simple (UNSPECIFIED|LEAST_CONN|RANDOM|PASSTHROUGH|ROUND_ROBIN|LEAST_REQUEST),
  consistentHash ConsistentHashLB, localityLbSetting LocalityLoadBalancerSetting,
  zoneAwareLbSetting ZoneAwareLoadBalancerSetting, warmupDurationSecs duration, warmup WarmupConfiguration >
ConsistentHashLB < httpHeaderName string, httpCookie HTTPCookie, useSourceIp boolean, httpQueryParameterName string,
  ringHash RingHash, maglev MagLev, minimumRingSize integer >
RingHash < minimumRingSize integer >
MagLev < tableSize integer >
HTTPCookie < name string, path string, ttl duration, attributes [CookieAttribute] >
CookieAttribute < name string, value string >
WarmupConfiguration < duration duration, minimumPercent number, aggression number >
ConnectionPoolSettings < tcp TCPSettings, http HTTPSettings >
TCPSettings < maxConnections integer, connectTimeout duration, tcpKeepalive TcpKeepalive,
  maxConnectionDuration duration, idleTimeout duration >
TcpKeepalive < probes integer, time duration, interval duration >
HTTPSettings < http1MaxPendingRequests integer, http2MaxRequests integer, maxRequestsPerConnection integer,
  maxRetries integer, idleTimeout duration, h2UpgradePolicy (DEFAULT|DO_NOT_UPGRADE|UPGRADE),
  useClientProtocol boolean, maxConcurrentStreams integer, http2KeepAlive ConnectionKeepalive >
ConnectionKeepalive < interval duration, timeout duration >
OutlierDetection < consecutiveErrors integer, splitExternalLocalOriginErrors boolean,
  consecutiveLocalOriginFailures integer, consecutiveGatewayErrors integer, consecutive5xxErrors integer,
  interval duration, baseEjectionTime duration, maxEjectionPercent integer, minHealthPercent integer,
  outlierDetectionHttpErrorCodes [integer] >
ClientTLSSettings < mode (DISABLE|SIMPLE|MUTUAL|ISTIO_MUTUAL), clientCertificate string, privateKey string,
  caCertificates string, credentialName string, subjectAltNames [string], sni string, insecureSkipVerify boolean,
  caCrl string >
LocalityLoadBalancerSetting < distribute [Distribute], failover [Failover], failoverPriority [string],
  enabled boolean >
Distribute < from string, to {integer} >
Failover < from string, to string >
ZoneAwareLoadBalancerSetting < enabled boolean, failover [Failover], failoverPriority [string],
  minClusterSize integer >

Gateway < servers [Server], selector {string} >
Server < port Port, bind string, hosts [string], tls ServerTLSSettings, defaultEndpoint string, name string >
Port < number integer, protocol string, name string, targetPort integer >
ServerTLSSettings < httpsRedirect boolean,
  mode (PASSTHROUGH|SIMPLE|MUTUAL|AUTO_PASSTHROUGH|ISTIO_MUTUAL|OPTIONAL_MUTUAL), serverCertificate string,
  privateKey string, caCertificates string, caCrl string, credentialName string, credentialNames [string],
  caCertCredentialName string, tlsCertificates [TLSCertificate], subjectAltNames [string],
  verifyCertificateSpki [string], verifyCertificateHash [string],
  minProtocolVersion (TLS_AUTO|TLSV1_0|TLSV1_1|TLSV1_2|TLSV1_3),
  maxProtocolVersion (TLS_AUTO|TLSV1_0|TLSV1_1|TLSV1_2|TLSV1_3), cipherSuites [string], insecureSkipVerify boolean >
TLSCertificate < serverCertificate string, privateKey string, caCertificates string >

ServiceEntry < hosts [string], addresses [string], ports [ServicePort], location (MESH_EXTERNAL|MESH_INTERNAL),
  resolution (NONE|STATIC|DNS|DNS_ROUND_ROBIN|DYNAMIC_DNS), endpoints [WorkloadEntry],
  workloadSelector WorkloadSelector, exportTo [string], subjectAltNames [string] >
ServicePort < number integer, protocol string, name string, targetPort integer >
WorkloadSelector < labels {string} >
WorkloadEntry < address string, ports {integer}, labels {string}, network string, locality string, weight integer,
  serviceAccount string >
WorkloadGroup < metadata GroupMeta, template WorkloadEntry, probe ReadinessProbe >
GroupMeta < labels {string}, annotations {string} >
ReadinessProbe < initialDelaySeconds integer, timeoutSeconds integer, periodSeconds integer, successThreshold integer,
  failureThreshold integer, httpGet HTTPHealthCheckConfig, tcpSocket TCPHealthCheckConfig,
  exec ExecHealthCheckConfig, grpc GrpcHealthCheckConfig >
HTTPHealthCheckConfig < path string, port integer, host string, scheme string, httpHeaders [HTTPHeader] >
HTTPHeader < name string, value string >
TCPHealthCheckConfig < host string, port integer >
ExecHealthCheckConfig < command [string] >
GrpcHealthCheckConfig < port integer, service string >

Sidecar < workloadSelector WorkloadSelector, ingress [IstioIngressListener], egress [IstioEgressListener],
  inboundConnectionPool ConnectionPoolSettings, outboundTrafficPolicy OutboundTrafficPolicy >
IstioIngressListener < port ServicePort, bind string, captureMode (DEFAULT|IPTABLES|NONE), defaultEndpoint string,
  tls ServerTLSSettings, connectionPool ConnectionPoolSettings >
IstioEgressListener < port ServicePort, bind string, captureMode (DEFAULT|IPTABLES|NONE), hosts [string] >
OutboundTrafficPolicy < mode (REGISTRY_ONLY|ALLOW_ANY), egressProxy Destination >

EnvoyFilter < workloadSelector WorkloadSelector, targetRefs [PolicyTargetReference], configPatches [ConfigPatch],
  priority integer >
ConfigPatch < applyTo (INVALID|LISTENER|FILTER_CHAIN|NETWORK_FILTER|HTTP_FILTER|ROUTE_CONFIGURATION|VIRTUAL_HOST|HTTP_ROUTE|CLUSTER|EXTENSION_CONFIG|BOOTSTRAP|LISTENER_FILTER),
  match any, patch Patch >
Patch < operation (INVALID|MERGE|ADD|REMOVE|INSERT_BEFORE|INSERT_AFTER|INSERT_FIRST|REPLACE|MERGE_AND_REPLACE_LIST),
  value any, filterClass (UNSPECIFIED|AUTHN|AUTHZ|STATS) >
PolicyTargetReference < group string, kind string, name string, namespace string >
ProxyConfig < selector MatchLabels, concurrency integer, environmentVariables {string}, image ProxyImage >
ProxyImage < imageType string >
`)
