// The Gateway API: gateway.networking.k8s.io (kubernetes-sigs/gateway-api v1.5), message by message, with its defaults.

import type { Json } from '#api'
import { openApi, parseIdl } from './idl.ts'

const NAME = '[a-z0-9]([-a-z0-9]*[a-z0-9])?'
const SUBDOMAIN = `${NAME}(\\.${NAME})*`
const text = (minLength: number, maxLength: number, pattern?: string): Json => ({
  type: 'string',
  ...(minLength > 0 ? { minLength } : {}),
  maxLength,
  ...(pattern ? { pattern } : {}),
})

/** Kinds of texts and numbers, with the bounds that the API's own definitions give them. */
const SCALARS: Readonly<Record<string, Json>> = {
  Group: text(0, 253, `^$|^${SUBDOMAIN}$`),
  Kind: text(1, 63, '^[a-zA-Z]([-a-zA-Z0-9]*[a-zA-Z0-9])?$'),
  Name: text(1, 253),
  Namespace: text(1, 63, `^${NAME}$`),
  SectionName: text(1, 253, `^${SUBDOMAIN}$`),
  Hostname: text(1, 253, `^(\\*\\.)?${SUBDOMAIN}$`),
  PreciseHostname: text(1, 253, `^${SUBDOMAIN}$`),
  ControllerName: text(1, 253, `^${SUBDOMAIN}\\/[A-Za-z0-9\\/\\-._~%!$&'()*+,;=:]+$`),
  AddressType: text(1, 253, `^Hostname|IPAddress|NamedAddress|${SUBDOMAIN}\\/[A-Za-z0-9\\/\\-._~%!$&'()*+,;=:]+$`),
  Protocol: text(1, 255, `^[a-zA-Z0-9]([-a-zA-Z0-9]*[a-zA-Z0-9])?$|${SUBDOMAIN}\\/[A-Za-z0-9]+$`),
  HeaderName: text(1, 256, "^[A-Za-z0-9!#$%&'*+\\-.^_\\x60|~]+$"),
  HeaderValue: text(1, 4096, '^[!-~]+([\\t ]?[!-~]+)*$'),
  MatchValue: text(1, 4096),
  QueryValue: text(1, 1024),
  PathValue: text(0, 1024),
  Description: text(0, 64),
  AddressValue: text(0, 253),
  Origin: text(
    1,
    253,
    '(^\\*$)|(^(http(s)?):\\/\\/(((\\*\\.)?([a-zA-Z0-9\\-]+\\.)*[a-zA-Z0-9-]+|\\*)(:([0-9]{1,5}))?)$)',
  ),
  Duration: { type: 'string', pattern: '^([0-9]{1,5}(h|m|s|ms)){1,4}$' },
  Uri: text(1, 253, '^(([^:/?#]+):)(//([^/?#]*))([^?#]*)(\\?([^#]*))?(#(.*))?'),
  Port: { type: 'integer', format: 'int32', minimum: 1, maximum: 65535 },
  Weight: { type: 'integer', format: 'int32', minimum: 0, maximum: 1_000_000 },
  Percent: { type: 'integer', format: 'int32', minimum: 0, maximum: 100 },
  Count: { type: 'integer', format: 'int32', minimum: 0 },
  Positive: { type: 'integer', format: 'int32', minimum: 1 },
  RedirectCode: { type: 'integer', enum: [301, 302, 303, 307, 308] },
  CorsMethod: {
    type: 'string',
    enum: ['GET', 'HEAD', 'POST', 'PUT', 'DELETE', 'CONNECT', 'OPTIONS', 'TRACE', 'PATCH', '*'],
  },
  RetryCode: { type: 'integer', minimum: 400, maximum: 599 },
}

const BACKEND = `group Group=, kind Kind=Service, name! Name, namespace Namespace, port Port, weight Weight=1`

/** The messages, by name. */
export const GATEWAY_API = parseIdl(
  `
GatewayClass < controllerName! ControllerName, parametersRef ParametersRef, description Description >
ParametersRef < group! Group, kind! Kind, name! Name, namespace Namespace >
Gateway < gatewayClassName! Name, listeners! [Listener]1..64/name, addresses [GatewayAddress]..16, infrastructure Infrastructure,
  allowedListeners AllowedListeners, tls GatewayTLS, defaultScope string >
AllowedListeners < namespaces ListenerNamespaces >
ListenerNamespaces < from (All|Selector|Same|None)=None, selector any >
ListenerSet < parentRef! ParentGatewayRef, listeners! [Listener]1..64/name >
ParentGatewayRef < group Group=gateway.networking.k8s.io, kind Kind=Gateway, name! Name, namespace Namespace >
GatewayTLS < frontend FrontendTLS, backend BackendTLS >
BackendTLS < clientCertificateRef SecretRef >
FrontendTLS < default ClientTLS, perPort [PortTLS]..64/port >
PortTLS < port! Port, tls ClientTLS >
ClientTLS < validation ClientValidation >
ClientValidation < caCertificateRefs! [AuthorityRef]1..16, mode (AllowValidOnly|AllowInsecureFallback)=AllowValidOnly >
AuthorityRef < group! Group, kind! Kind, name! Name, namespace Namespace >
Listener < name! SectionName, hostname Hostname, port! Port, protocol! Protocol, tls ListenerTLS, allowedRoutes AllowedRoutes >
ListenerTLS < mode (Terminate|Passthrough)=Terminate, certificateRefs [SecretRef]..64, frontendValidation any, options {string} >
SecretRef < group Group=, kind Kind=Secret, name! Name, namespace Namespace >
AllowedRoutes < namespaces RouteNamespaces, kinds [RouteGroupKind]..8 >
RouteNamespaces < from (All|Selector|Same|None)=Same, selector any >
RouteGroupKind < group Group=gateway.networking.k8s.io, kind! Kind >
GatewayAddress < type AddressType=IPAddress, value AddressValue >
Infrastructure < labels {string}, annotations {string}, parametersRef ParametersRef >
ParentRef < group Group=gateway.networking.k8s.io, kind Kind=Gateway, namespace Namespace, name! Name,
  sectionName SectionName, port Port >
LocalRef < group! Group, kind! Kind, name! Name >

HTTPRoute < parentRefs [ParentRef]..32, hostnames [Hostname]..16, rules [HTTPRouteRule]1..16, useDefaultGateways string >
HTTPRouteRule < name SectionName, matches [HTTPRouteMatch]..64, filters [HTTPRouteFilter]..16, backendRefs [HTTPBackendRef]..16,
  timeouts Timeouts, retry Retry, sessionPersistence any >
HTTPRouteMatch < path HTTPPathMatch, headers [HeaderMatch]..16/name, queryParams [QueryMatch]..16/name,
  method (GET|HEAD|POST|PUT|DELETE|CONNECT|OPTIONS|TRACE|PATCH) >
HTTPPathMatch < type (Exact|PathPrefix|RegularExpression)=PathPrefix, value PathValue=/ >
HeaderMatch < type (Exact|RegularExpression)=Exact, name! HeaderName, value! HeaderValue >
GRPCHeaderMatch < type (Exact|RegularExpression)=Exact, name! HeaderName, value! MatchValue >
QueryMatch < type (Exact|RegularExpression)=Exact, name! HeaderName, value! QueryValue >
HTTPRouteFilter < type! (RequestHeaderModifier|ResponseHeaderModifier|RequestMirror|RequestRedirect|URLRewrite|ExtensionRef|CORS|ExternalAuth),
  requestHeaderModifier HeaderModifier, responseHeaderModifier HeaderModifier, requestMirror RequestMirror,
  requestRedirect RequestRedirect, urlRewrite URLRewrite, cors CORS, extensionRef LocalRef, externalAuth any >
HTTPBackendRef < ${BACKEND}, filters [HTTPRouteFilter]..16 >
HeaderModifier < set [HTTPHeader]..16/name, add [HTTPHeader]..16/name, remove [string]..16/set >
HTTPHeader < name! HeaderName, value! HeaderValue >
RequestMirror < backendRef! BackendObjectRef, percent Percent, fraction Fraction >
BackendObjectRef < group Group=, kind Kind=Service, name! Name, namespace Namespace, port Port >
Fraction < numerator! Count, denominator Positive=100 >
RequestRedirect < scheme (http|https), hostname PreciseHostname, path PathModifier, port Port,
  statusCode RedirectCode=302 >
URLRewrite < hostname PreciseHostname, path PathModifier >
PathModifier < type! (ReplaceFullPath|ReplacePrefixMatch), replaceFullPath PathValue, replacePrefixMatch PathValue >
CORS < allowOrigins [Origin]..64/set, allowCredentials boolean, allowMethods [CorsMethod]..9/set,
  allowHeaders [HeaderName]..64/set, exposeHeaders [HeaderName]..64/set, maxAge Positive=5 >
Timeouts < request Duration, backendRequest Duration >
Retry < codes [RetryCode]/set, attempts Positive, backoff Duration >

GRPCRoute < parentRefs [ParentRef]..32, hostnames [Hostname]..16, rules [GRPCRouteRule]..16, useDefaultGateways string >
GRPCRouteRule < name SectionName, matches [GRPCRouteMatch]..64, filters [GRPCRouteFilter]..16, backendRefs [GRPCBackendRef]..16,
  sessionPersistence any >
GRPCRouteMatch < method GRPCMethodMatch, headers [GRPCHeaderMatch]..16/name >
GRPCMethodMatch < type (Exact|RegularExpression)=Exact, service PathValue, method PathValue >
GRPCRouteFilter < type! (RequestHeaderModifier|ResponseHeaderModifier|RequestMirror|ExtensionRef),
  requestHeaderModifier HeaderModifier, responseHeaderModifier HeaderModifier, requestMirror RequestMirror,
  extensionRef LocalRef >
GRPCBackendRef < ${BACKEND}, filters [GRPCRouteFilter]..16 >

TLSRoute < parentRefs [ParentRef]..32, hostnames [Hostname]1..1024, rules! [L4Rule]1..1, useDefaultGateways string >
TCPRoute < parentRefs [ParentRef]..32, rules! [L4Rule]1..1, useDefaultGateways string >
UDPRoute < parentRefs [ParentRef]..32, rules! [L4Rule]1..1, useDefaultGateways string >
L4Rule < name SectionName, backendRefs! [BackendRef]1..16 >
BackendRef < ${BACKEND} >

ReferenceGrant < from! [GrantFrom]1..16, to! [GrantTo]1..16 >
GrantFrom < group! Group, kind! Kind, namespace! Namespace >
GrantTo < group! Group, kind! Kind, name Name >

BackendTLSPolicy < targetRefs! [PolicyTarget]1..16, validation! BackendTLSValidation, options {string} >
PolicyTarget < group! Group, kind! Kind, name! Name, sectionName SectionName >
BackendTLSValidation < caCertificateRefs [LocalRef]..8, wellKnownCACertificates (System), hostname! PreciseHostname,
  subjectAltNames [SubjectAltName]..5 >
SubjectAltName < type! (Hostname|URI), hostname Hostname, uri Uri >
`,
  SCALARS,
)

/** The OpenAPI schema of a kind's spec, with the defaults that are more than a value. */
export function gatewaySpecSchema(kind: string): Json {
  const schema = openApi(GATEWAY_API, kind)
  const rules = schema.properties.rules
  if (kind === 'HTTPRoute') {
    const path = { path: { type: 'PathPrefix', value: '/' } }
    rules.items.properties.matches.default = [path]
    rules.items.properties.matches.items.properties.path.default = path.path
    rules.default = [{ matches: [path] }]
  }
  if (kind === 'Gateway')
    schema.properties.listeners.items.properties.allowedRoutes.default = { namespaces: { from: 'Same' } }
  return schema
}
