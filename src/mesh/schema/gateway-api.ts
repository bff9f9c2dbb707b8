// The Gateway API: gateway.networking.k8s.io (kubernetes-sigs/gateway-api v1.5), message by message, with its defaults.

import type { Json } from '#api'
import { openApi, parseIdl } from './idl.ts'

const BACKEND = `group string=, kind string=Service, name! string, namespace string, port integer, weight integer=1`

/** The messages, by name. */
export const GATEWAY_API = parseIdl(`
GatewayClass < controllerName! string, parametersRef ParametersRef, description string >
ParametersRef < group! string, kind! string, name! string, namespace string >
Gateway < gatewayClassName! string, listeners! [Listener], addresses [GatewayAddress], infrastructure Infrastructure,
  allowedListeners any, tls GatewayTLS, defaultScope string >
GatewayTLS < frontend FrontendTLS, backend any >
FrontendTLS < default ClientTLS, perPort [PortTLS] >
PortTLS < port! integer, tls ClientTLS >
ClientTLS < validation ClientValidation >
ClientValidation < caCertificateRefs [AuthorityRef], mode (AllowValidOnly|AllowInsecureFallback)=AllowValidOnly >
AuthorityRef < group! string, kind! string, name! string, namespace string >
Listener < name! string, hostname string, port! integer, protocol! string, tls ListenerTLS, allowedRoutes AllowedRoutes >
ListenerTLS < mode (Terminate|Passthrough)=Terminate, certificateRefs [SecretRef], frontendValidation any, options {string} >
SecretRef < group string=, kind string=Secret, name! string, namespace string >
AllowedRoutes < namespaces RouteNamespaces, kinds [RouteGroupKind] >
RouteNamespaces < from (All|Selector|Same|None)=Same, selector any >
RouteGroupKind < group string=gateway.networking.k8s.io, kind! string >
GatewayAddress < type string=IPAddress, value string >
Infrastructure < labels {string}, annotations {string}, parametersRef ParametersRef >
ParentRef < group string=gateway.networking.k8s.io, kind string=Gateway, namespace string, name! string,
  sectionName string, port integer >
LocalRef < group! string, kind! string, name! string >

HTTPRoute < parentRefs [ParentRef], hostnames [string], rules [HTTPRouteRule], useDefaultGateways string >
HTTPRouteRule < name string, matches [HTTPRouteMatch], filters [HTTPRouteFilter], backendRefs [HTTPBackendRef],
  timeouts Timeouts, retry Retry, sessionPersistence any >
HTTPRouteMatch < path HTTPPathMatch, headers [NamedMatch], queryParams [NamedMatch],
  method (GET|HEAD|POST|PUT|DELETE|CONNECT|OPTIONS|TRACE|PATCH) >
HTTPPathMatch < type (Exact|PathPrefix|RegularExpression)=PathPrefix, value string=/ >
NamedMatch < type (Exact|RegularExpression)=Exact, name! string, value! string >
HTTPRouteFilter < type! (RequestHeaderModifier|ResponseHeaderModifier|RequestMirror|RequestRedirect|URLRewrite|ExtensionRef|CORS|ExternalAuth),
  requestHeaderModifier HeaderModifier, responseHeaderModifier HeaderModifier, requestMirror RequestMirror,
  requestRedirect RequestRedirect, urlRewrite URLRewrite, cors CORS, extensionRef LocalRef, externalAuth any >
HTTPBackendRef < ${BACKEND}, filters [HTTPRouteFilter] >
HeaderModifier < set [HTTPHeader], add [HTTPHeader], remove [string] >
HTTPHeader < name! string, value! string >
RequestMirror < backendRef! BackendObjectRef, percent integer, fraction Fraction >
BackendObjectRef < group string=, kind string=Service, name! string, namespace string, port integer >
Fraction < numerator! integer, denominator integer=100 >
RequestRedirect < scheme (http|https), hostname string, path PathModifier, port integer,
  statusCode integer=302 >
URLRewrite < hostname string, path PathModifier >
PathModifier < type! (ReplaceFullPath|ReplacePrefixMatch), replaceFullPath string, replacePrefixMatch string >
CORS < allowOrigins [string], allowCredentials boolean, allowMethods [string], allowHeaders [string],
  exposeHeaders [string], maxAge integer=5 >
Timeouts < request string, backendRequest string >
Retry < codes [integer], attempts integer, backoff string >

GRPCRoute < parentRefs [ParentRef], hostnames [string], rules [GRPCRouteRule], useDefaultGateways string >
GRPCRouteRule < name string, matches [GRPCRouteMatch], filters [GRPCRouteFilter], backendRefs [GRPCBackendRef],
  sessionPersistence any >
GRPCRouteMatch < method GRPCMethodMatch, headers [NamedMatch] >
GRPCMethodMatch < type (Exact|RegularExpression)=Exact, service string, method string >
GRPCRouteFilter < type! (RequestHeaderModifier|ResponseHeaderModifier|RequestMirror|ExtensionRef),
  requestHeaderModifier HeaderModifier, responseHeaderModifier HeaderModifier, requestMirror RequestMirror,
  extensionRef LocalRef >
GRPCBackendRef < ${BACKEND}, filters [GRPCRouteFilter] >

TLSRoute < parentRefs [ParentRef], hostnames [string], rules! [L4Rule], useDefaultGateways string >
TCPRoute < parentRefs [ParentRef], rules! [L4Rule], useDefaultGateways string >
UDPRoute < parentRefs [ParentRef], rules! [L4Rule], useDefaultGateways string >
L4Rule < name string, backendRefs [BackendRef] >
BackendRef < ${BACKEND} >

ReferenceGrant < from! [GrantFrom], to! [GrantTo] >
GrantFrom < group! string, kind! string, namespace! string >
GrantTo < group! string, kind! string, name string >

BackendTLSPolicy < targetRefs! [PolicyTarget], validation! BackendTLSValidation, options {string} >
PolicyTarget < group! string, kind! string, name! string, sectionName string >
BackendTLSValidation < caCertificateRefs [LocalRef], wellKnownCACertificates (System), hostname! string,
  subjectAltNames [SubjectAltName] >
SubjectAltName < type! (Hostname|URI), hostname string, uri string >
`)

/** Bounds without which shares and weights would make no sense. */
function bound(rule: Json): void {
  const mirror: Json = rule.filters.items.properties.requestMirror.properties
  Object.assign(mirror.fraction.properties.numerator, { minimum: 0 })
  Object.assign(mirror.fraction.properties.denominator, { minimum: 1 })
  Object.assign(mirror.percent, { minimum: 0, maximum: 100 })
  Object.assign(rule.backendRefs.items.properties.weight, { minimum: 0, maximum: 1_000_000 })
}

/** The OpenAPI schema of a kind's spec, with the defaults that are more than a value. */
export function gatewaySpecSchema(kind: string): Json {
  const schema = openApi(GATEWAY_API, kind)
  const rules = schema.properties.rules
  if (kind === 'HTTPRoute') bound(rules.items.properties)
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
