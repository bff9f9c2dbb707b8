// Istio's security, telemetry and extension API (istio.io/api), message by message.

import { parseIdl } from './idl.ts'

const TARGETS = `selector MatchLabels, targetRef PolicyTargetReference, targetRefs [PolicyTargetReference]`

export const POLICIES = parseIdl(`
MatchLabels < matchLabels {string} >
PolicyTargetReference < group string, kind string, name string, namespace string >

AuthorizationPolicy < ${TARGETS}, rules [Rule], action (ALLOW|DENY|AUDIT|CUSTOM), provider ExtensionProvider >
ExtensionProvider < name string >
Rule < from [From], to [To], when [Condition] >
From < source Source >
To < operation Operation >
Source < principals [string], notPrincipals [string], requestPrincipals [string], notRequestPrincipals [string],
  namespaces [string], notNamespaces [string], serviceAccounts [string], notServiceAccounts [string],
  ipBlocks [string], notIpBlocks [string], remoteIpBlocks [string], notRemoteIpBlocks [string],
  trustDomains [string], notTrustDomains [string] >
Operation < hosts [string], notHosts [string], ports [string], notPorts [string], methods [string],
  notMethods [string], paths [string], notPaths [string] >
Condition < key string, values [string], notValues [string] >

PeerAuthentication < selector MatchLabels, mtls MutualTLS, portLevelMtls {MutualTLS} >
MutualTLS < mode (UNSET|DISABLE|PERMISSIVE|STRICT) >

RequestAuthentication < ${TARGETS}, jwtRules [JWTRule] >
JWTRule < issuer string, audiences [string], jwksUri string, jwks_uri string, jwks string, fromHeaders [JWTHeader],
  fromParams [string], outputPayloadToHeader string, fromCookies [string], forwardOriginalToken boolean,
  outputClaimToHeaders [ClaimToHeader], timeout duration, spaceDelimitedClaims [string] >
JWTHeader < name string, prefix string >
ClaimToHeader < header string, claim string >

Telemetry < ${TARGETS}, tracing [Tracing], metrics [Metrics], accessLogging [AccessLogging] >
Tracing < match ModeSelector, providers [ProviderRef], randomSamplingPercentage number, disableSpanReporting boolean,
  customTags {CustomTag}, useRequestIdForTraceSampling boolean, enableIstioTags boolean,
  disableContextPropagation boolean >
ModeSelector < mode (CLIENT_AND_SERVER|CLIENT|SERVER) >
ProviderRef < name string >
CustomTag < literal TagValue, environment TagSource, header TagSource, formatter TagValue >
TagValue < value string >
TagSource < name string, defaultValue string >
Metrics < providers [ProviderRef], overrides [MetricsOverrides], reportingInterval duration >
MetricsOverrides < match MetricSelector, disabled boolean, tagOverrides {TagOverride} >
MetricSelector < metric (ALL_METRICS|REQUEST_COUNT|REQUEST_DURATION|REQUEST_SIZE|RESPONSE_SIZE|TCP_OPENED_CONNECTIONS|TCP_CLOSED_CONNECTIONS|TCP_SENT_BYTES|TCP_RECEIVED_BYTES|GRPC_REQUEST_MESSAGES|GRPC_RESPONSE_MESSAGES),
  customMetric string, mode (CLIENT_AND_SERVER|CLIENT|SERVER) >
TagOverride < operation (UPSERT|REMOVE), value string >
AccessLogging < match ModeSelector, providers [ProviderRef], disabled boolean, filter LogFilter >
LogFilter < expression string >

WasmPlugin < ${TARGETS}, url string, sha256 string, imagePullPolicy (UNSPECIFIED_POLICY|IfNotPresent|Always),
  imagePullSecret string, verificationKey string, pluginConfig any, pluginName string,
  phase (UNSPECIFIED_PHASE|AUTHN|AUTHZ|STATS), priority integer, failStrategy (FAIL_CLOSE|FAIL_OPEN|FAIL_RELOAD),
  vmConfig VmConfig, match [TrafficSelector], type (UNSPECIFIED_PLUGIN_TYPE|HTTP|NETWORK) >
VmConfig < env [EnvVar] >
EnvVar < name string, valueFrom (INLINE|HOST), value string >
TrafficSelector < mode (UNDEFINED|CLIENT|SERVER|CLIENT_AND_SERVER), ports [PortNumber] >
PortNumber < number integer >
TrafficExtension < selector MatchLabels, targetRefs [PolicyTargetReference],
  phase (UNSPECIFIED|AUTHN|AUTHZ|STATS), priority integer, match [TrafficSelector], wasm WasmConfig, lua LuaConfig >
WasmConfig < url string, sha256 string, imagePullPolicy (UNSPECIFIED_POLICY|IfNotPresent|Always),
  imagePullSecret string, verificationKey string, pluginConfig any, pluginName string,
  failStrategy (FAIL_CLOSE|FAIL_OPEN|FAIL_RELOAD), vmConfig VmConfig, type (UNSPECIFIED_PLUGIN_TYPE|HTTP|NETWORK) >
LuaConfig < inlineCode string >
`)
