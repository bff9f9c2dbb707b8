// Istio's security, telemetry and extension API (istio.io/api), message by message.

import { parseIdl } from './idl.ts'
import { SCALARS } from './scalars.ts'

const TARGETS = `selector MatchLabels, targetRef PolicyTargetReference, targetRefs [PolicyTargetReference]..16`

export const POLICIES = parseIdl(
  `
MatchLabels < matchLabels {LabelValue}..4096 >
PolicyTargetReference < group Group, kind! Kind, name! Name, namespace string >

AuthorizationPolicy < ${TARGETS}, rules [Rule]..512, action (ALLOW|DENY|AUDIT|CUSTOM), provider ExtensionProvider >
ExtensionProvider < name string >
Rule < from [From]..512, to [To], when [Condition] >
From < source Source >
To < operation Operation >
Source < principals [string], notPrincipals [string], requestPrincipals [string], notRequestPrincipals [string],
  namespaces [string], notNamespaces [string], serviceAccounts [Text320]..16, notServiceAccounts [Text320]..16,
  ipBlocks [string], notIpBlocks [string], remoteIpBlocks [string], notRemoteIpBlocks [string],
  trustDomains [string], notTrustDomains [string] >
Operation < hosts [string], notHosts [string], ports [string], notPorts [string], methods [string],
  notMethods [string], paths [string], notPaths [string] >
Condition < key! string, values [string], notValues [string] >

PeerAuthentication < selector MatchLabels, mtls MutualTLS, portLevelMtls {MutualTLS}1..65535 >
MutualTLS < mode (UNSET|DISABLE|PERMISSIVE|STRICT) >

RequestAuthentication < ${TARGETS}, jwtRules [JWTRule]..4096 >
JWTRule < issuer Text, audiences [Text], jwksUri Uri, jwks_uri Uri, jwks string, fromHeaders [JWTHeader],
  fromParams [Text], outputPayloadToHeader string, fromCookies [Text], forwardOriginalToken boolean,
  outputClaimToHeaders [ClaimToHeader], timeout duration, spaceDelimitedClaims [Text]..64,
  presence (OPTIONAL|REQUIRED) >
JWTHeader < name! Text, prefix string >
ClaimToHeader < header! ClaimHeader, claim! Text >

Telemetry < ${TARGETS}, tracing [Tracing], metrics [Metrics], accessLogging [AccessLogging] >
Tracing < match ModeSelector, providers [ProviderRef], randomSamplingPercentage percent, disableSpanReporting boolean,
  customTags {CustomTag}, useRequestIdForTraceSampling boolean, enableIstioTags boolean,
  disableContextPropagation boolean >
ModeSelector < mode (CLIENT_AND_SERVER|CLIENT|SERVER) >
ProviderRef < name! Text >
CustomTag < literal TagValue, environment TagSource, header TagSource, formatter TagValue >
  one(literal|environment|header|formatter)
TagValue < value! Text >
TagSource < name! Text, defaultValue string >
Metrics < providers [ProviderRef], overrides [MetricsOverrides], reportingInterval duration >
MetricsOverrides < match MetricSelector, disabled boolean, tagOverrides {TagOverride} >
MetricSelector < metric (ALL_METRICS|REQUEST_COUNT|REQUEST_DURATION|REQUEST_SIZE|RESPONSE_SIZE|TCP_OPENED_CONNECTIONS|TCP_CLOSED_CONNECTIONS|TCP_SENT_BYTES|TCP_RECEIVED_BYTES|GRPC_REQUEST_MESSAGES|GRPC_RESPONSE_MESSAGES),
  customMetric Text, mode (CLIENT_AND_SERVER|CLIENT|SERVER) > one(metric|customMetric)
TagOverride < operation (UPSERT|REMOVE), value string >
AccessLogging < match ModeSelector, providers [ProviderRef], disabled boolean, filter LogFilter >
LogFilter < expression string >

WasmPlugin < ${TARGETS}, url! Text, sha256 Sha256, imagePullPolicy (UNSPECIFIED_POLICY|IfNotPresent|Always),
  imagePullSecret Name, verificationKey string, pluginConfig any, pluginName PluginName,
  phase (UNSPECIFIED_PHASE|AUTHN|AUTHZ|STATS), priority integer, failStrategy (FAIL_CLOSE|FAIL_OPEN|FAIL_RELOAD),
  vmConfig VmConfig, match [TrafficSelector], type (UNSPECIFIED_PLUGIN_TYPE|HTTP|NETWORK) >
VmConfig < env [EnvVar]..256/name >
EnvVar < name! PluginName, valueFrom (INLINE|HOST), value Text2048 >
TrafficSelector < mode (UNDEFINED|CLIENT|SERVER|CLIENT_AND_SERVER), ports [PortNumber]/number >
PortNumber < number! PortNumeral >
TrafficExtension < selector MatchLabels, targetRefs [PolicyTargetReference]..16,
  phase (UNSPECIFIED|AUTHN|AUTHZ|STATS), priority integer, match [TrafficSelector], wasm WasmConfig, lua LuaConfig >
WasmConfig < url! Text, sha256 Sha256, imagePullPolicy (UNSPECIFIED_POLICY|IfNotPresent|Always),
  imagePullSecret Name, verificationKey string, pluginConfig any, pluginName PluginName,
  failStrategy (FAIL_CLOSE|FAIL_OPEN|FAIL_RELOAD), vmConfig VmConfig, type (UNSPECIFIED_PLUGIN_TYPE|HTTP|NETWORK) >
LuaConfig < inlineCode! LuaCode >
`,
  SCALARS,
)
