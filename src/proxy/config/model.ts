// The data plane's own model of what xDS tells. Types only; the decode files make them.

import type { HttpFilter } from '../filters/filter.ts'
import type { AccessLog } from '../telemetry/access-log.ts'
import type { Formatter } from '../telemetry/formatter.ts'
import type { RetryBudgetConfig } from '../upstream/retry-budget.ts'

/** An endpoint as it was told. */
export interface Endpoint {
  /** An address, a name to look up, or the path of a socket. */
  readonly host: string
  /** 0 for a socket. */
  readonly port: number
  /** "workload;namespace;canonical name;revision;cluster" of the peer. */
  readonly workload: string
  readonly hostname: string
  /** Region, zone and sub-zone with slashes between; "" when not told. */
  readonly locality: string
  readonly localityWeight: number
  /** 0 is used first. */
  readonly priority: number
  readonly weight: number
  /** Draining endpoints keep their connections and get no new requests. */
  readonly health: 'healthy' | 'degraded' | 'unhealthy' | 'draining'
  /** What decides among a cluster's transport sockets. */
  readonly labels: Readonly<Record<string, string>>
}

/** What a cluster bears at once; beyond it requests are refused. */
export interface CircuitBreakers {
  readonly connections: number
  readonly pending: number
  readonly requests: number
  readonly retries: number
  /** In place of `retries`. */
  readonly retryBudget: RetryBudgetConfig | undefined
}

/** When an endpoint that answers badly is left out. Milliseconds and percentages. */
export interface OutlierDetection {
  readonly consecutive5xx: number
  readonly consecutiveGateway: number
  readonly consecutiveLocal: number
  readonly splitLocal: boolean
  /** Statuses that count as failures, in place of those from 500 on. */
  readonly errorCodes: ReadonlySet<number> | undefined
  readonly interval: number
  readonly baseEjection: number
  readonly maxEjection: number
  readonly maxPercent: number
}

/** How endpoints are asked whether they are well. Milliseconds. */
export interface HealthCheck {
  readonly kind: 'http' | 'tcp' | 'grpc'
  readonly timeout: number
  readonly interval: number
  readonly unhealthyThreshold: number
  readonly healthyThreshold: number
  readonly host: string
  readonly path: string
  /** Ranges of statuses that are good, end exclusive. */
  readonly statuses: readonly (readonly [from: number, to: number])[]
  readonly service: string
}

/** TLS towards endpoints: names of secrets, which come apart. */
export interface UpstreamTls {
  readonly certificate?: string
  readonly authority?: string
  /** Certificates given in the cluster itself. PEM. */
  readonly inline?: TlsSecret
  readonly sni: string
  readonly autoSni: boolean
  readonly alpn: readonly string[]
  /** The authorities that everybody trusts count, where no others are named. */
  readonly systemRoots: boolean
  /** The server's certificate must be for the name it is asked by. */
  readonly autoSan: boolean
  /** Names of which the server's certificate must bear one; empty for any. */
  readonly subjectAltNames: readonly StringMatch[]
  readonly minVersion?: 'TLSv1.2' | 'TLSv1.3'
  readonly maxVersion?: 'TLSv1.2' | 'TLSv1.3'
}

export type LoadBalancer =
  | { readonly kind: 'roundRobin' | 'random' | 'originalDst' }
  | { readonly kind: 'leastRequest'; readonly choices: number }
  | { readonly kind: 'ringHash'; readonly min: number; readonly max: number }
  | { readonly kind: 'maglev'; readonly size: number }

/** Bounds of HTTP/2 connections to endpoints. */
export interface Http2Options {
  /** Requests at once on a connection. */
  readonly streams: number
  /** Asks so often whether the other end is there, and waits so long for its answer, milliseconds. */
  readonly keepAlive: { readonly interval: number; readonly timeout: number } | undefined
}

export interface Cluster {
  readonly name: string
  readonly type: 'eds' | 'static' | 'strictDns' | 'logicalDns' | 'originalDst'
  /** Under which name its endpoints are asked for. */
  readonly edsName: string
  /** Endpoints given in the cluster itself. */
  readonly inline: readonly Endpoint[]
  readonly balancer: LoadBalancer
  /** What is spoken to endpoints: one protocol, or what the downstream speaks. */
  readonly protocol: 'http1' | 'http2' | 'downstream' | 'auto'
  /** Where connections go that keep their destination otherwise; 0 is its own port. */
  readonly portOverride: number
  /** Milliseconds; 0 is none. */
  readonly connectTimeout: number
  readonly idleTimeout: number
  readonly maxConnectionAge: number
  /** Requests on one connection; 0 is any number. */
  readonly maxRequestsPerConnection: number
  /** After so long without a byte the system asks whether the other end is there, milliseconds. */
  readonly tcpKeepAlive: number | undefined
  readonly http2: Http2Options
  readonly service: { readonly host: string; readonly name: string; readonly namespace: string }
  readonly breakers: CircuitBreakers
  readonly outlier: OutlierDetection | undefined
  readonly healthChecks: readonly HealthCheck[]
  /** What the transports were made of: another when they are. */
  readonly transportKey: string
  /** Transport sockets by the labels of endpoints, in order; the last one has none. */
  readonly transports: readonly { readonly labels: Readonly<Record<string, string>>; readonly tls?: UpstreamTls }[]
  /** Percent of healthy endpoints below which all are used. */
  readonly panicPercent: number
  /** Priorities get so much more than their healthy share, percent. */
  readonly overprovisioning: number
  readonly localityWeighted: boolean
  /** Milliseconds during which a new endpoint's share grows; 0 is none. */
  readonly warmup: number
  readonly warmupAggression: number
  /** The share a host begins with, 0 to 1. */
  readonly warmupLeast: number
  readonly dnsRefresh: number
  readonly proxyProtocol: 1 | 2 | undefined
  readonly altStatName: string
}

export interface StringMatch {
  test(value: string): boolean
}

export interface HeaderMatch {
  readonly name: string
  /** Undefined: the field must be there. */
  readonly match: StringMatch | undefined
  readonly invert: boolean
  readonly missingIsEmpty: boolean
}

export interface HeaderEdit {
  /** Lower case. */
  readonly name: string
  readonly value: Formatter
  readonly action: 'append' | 'addIfAbsent' | 'set' | 'setIfPresent'
  readonly keepEmpty: boolean
}

/** Header fields to remove, then to edit, on one side of an exchange. */
export interface HeaderEdits {
  readonly remove: readonly string[]
  readonly edits: readonly HeaderEdit[]
}

export interface WeightedCluster {
  readonly name: string
  readonly weight: number
  readonly host?: string
  readonly request?: HeaderEdits
  readonly response?: HeaderEdits
}

/** How a request's target changes on its way. */
export interface Rewrite {
  readonly host?: string
  /** The field whose value becomes the host. */
  readonly hostField?: string
  /** The endpoint's own name becomes the host. */
  readonly autoHost?: boolean
  path?(path: string): string
}

/** What a client is sent to instead. */
export interface Redirect {
  readonly status: number
  readonly scheme?: string
  readonly host?: string
  readonly port?: number
  readonly stripQuery: boolean
  path?(path: string): string
}

/** When and how often a request is tried again. Milliseconds. */
export interface RetryPolicy {
  readonly on: ReadonlySet<string>
  readonly statuses: ReadonlySet<number>
  /** Of an answer: one that fits asks for another try. */
  readonly headers: readonly HeaderMatch[]
  readonly retries: number
  readonly perTryTimeout: number
  readonly perTryIdle: number
  readonly hostAttempts: number
  readonly avoidPrevious: boolean
  /** After so many tries, and so many again, the priorities that have been tried are left out; 0 is never. */
  readonly prioritiesAfter: number
  readonly base: number
  readonly max: number
}

export interface MirrorPolicy {
  readonly cluster: string
  /** 0 to 1. */
  readonly fraction: number
  readonly shadowSuffix: boolean
}

/** What of a request decides its endpoint when hashing balances. */
export type HashPolicy = { readonly terminal: boolean } & (
  | { readonly kind: 'header' | 'query'; readonly name: string }
  | { readonly kind: 'sourceIp' }
  | {
      readonly kind: 'cookie'
      readonly name: string
      readonly path: string
      readonly ttl: number | undefined
      readonly attributes: string
    }
)

/** A descriptor's entries for a rate limit service; undefined entries make the whole fall away. */
export interface RateLimitAction {
  readonly stage: number
  readonly actions: readonly unknown[]
}

export interface Route {
  readonly name: string
  readonly path: StringMatch
  readonly connect: boolean
  readonly grpc: boolean
  readonly headers: readonly HeaderMatch[]
  /** Query parameters that must match. */
  readonly query: readonly { readonly name: string; readonly match: StringMatch | undefined }[]
  /** The share of requests that match, 0 to 1. */
  readonly fraction: number
  /** Clusters with their weights; empty for a direct response. */
  readonly clusters: readonly WeightedCluster[]
  /** The field that names the cluster. */
  readonly clusterField: string
  readonly totalWeight: number
  readonly notFoundStatus: number
  readonly directStatus: number
  readonly directBody: Buffer
  readonly redirect: Redirect | undefined
  readonly rewrite: Rewrite | undefined
  /** Whether a host that is rewritten is told in x-forwarded-host. */
  readonly tellsHost: boolean
  readonly request: readonly HeaderEdits[]
  readonly response: readonly HeaderEdits[]
  /** Milliseconds; 0 is none. */
  readonly timeout: number
  readonly idleTimeout: number | undefined
  readonly maxStream: number
  readonly grpcTimeoutMax: number | undefined
  readonly retry: RetryPolicy | undefined
  readonly mirrors: readonly MirrorPolicy[]
  readonly hash: readonly HashPolicy[]
  readonly limits: readonly RateLimitAction[]
  /** The filters' settings for this route, its host included, by the filter's name. */
  readonly perFilter: ReadonlyMap<string, unknown>
  readonly decorator: string
  readonly attemptCount: boolean
  readonly attemptCountInResponse: boolean
  readonly upgrades: ReadonlyMap<string, boolean>
}

export interface VirtualHost {
  readonly name: string
  /** Plain requests are sent to https. */
  readonly requireTls: boolean
  readonly routes: readonly Route[]
}

export interface RouteTable {
  readonly name: string
  readonly exact: ReadonlyMap<string, VirtualHost>
  /** "*.suffix" domains, the longest first. */
  readonly suffixes: readonly { suffix: string; host: VirtualHost }[]
  /** "prefix.*" domains, the longest first. */
  readonly prefixes: readonly { prefix: string; host: VirtualHost }[]
  readonly any: VirtualHost | undefined
  /** Whether "host:port" is looked up as "host". */
  readonly ignorePort: boolean
  /** Hosts that are not here are to be asked for, as the table "NAME/HOST". */
  readonly onDemand: boolean
}

export interface HttpChain {
  readonly kind: 'http'
  readonly codec: 'auto' | 'http1' | 'http2'
  readonly statPrefix: string
  readonly route: string | RouteTable
  /** The `server` field of answers. */
  readonly serverName: string
  readonly serverHeader: 'overwrite' | 'appendIfAbsent' | 'passThrough'
  /** At the edge, the connection tells who the client is. */
  readonly edge: boolean
  /** Trusted proxies in front. */
  readonly xffHops: number
  readonly skipXff: boolean
  /** Whether the port that the client came to is told in x-forwarded-port. */
  readonly tellsPort: boolean
  readonly filters: readonly HttpFilter[]
  /** Milliseconds; 0 is none. */
  readonly idleTimeout: number
  readonly streamIdleTimeout: number
  readonly requestTimeout: number
  readonly maxConnectionAge: number
  readonly maxStream: number
  readonly maxRequests: number
  readonly upgrades: ReadonlySet<string>
  readonly normalizePath: boolean
  readonly mergeSlashes: boolean
  readonly escapedSlashes: 'keep' | 'reject' | 'redirect' | 'forward'
  readonly stripPort: boolean
  readonly clientCert: 'sanitize' | 'forwardOnly' | 'appendForward' | 'sanitizeSet' | 'alwaysForward'
  readonly clientCertDetails: ReadonlySet<'subject' | 'cert' | 'chain' | 'dns' | 'uri'>
  readonly requestId: boolean
  readonly keepRequestId: boolean
  /** Whether routing tells of itself in x-envoy- fields. */
  readonly routingFields: boolean
  readonly accessLogs: readonly AccessLog[]
  /** Share of requests whose traces are kept, 0 to 1; undefined when nothing is traced. */
  readonly sampling: number | undefined
}

export interface Tunnel {
  /** "host:port". */
  readonly to: string
  /** By POST, not by CONNECT. */
  readonly post: boolean
}

export interface TcpChain {
  readonly kind: 'tcp'
  readonly clusters: readonly { readonly name: string; readonly weight: number }[]
  readonly statPrefix: string
  readonly idleTimeout: number
  readonly maxConnectAttempts: number
  readonly maxAge: number
  readonly hashSource: boolean
  /** Through hosts, being HTTP proxies, to another place. */
  readonly tunnel: Tunnel | undefined
  readonly accessLogs: readonly AccessLog[]
}

export type Chain = HttpChain | TcpChain

/** TLS that a chain ends: names of secrets, which come apart. */
export interface ChainTls {
  readonly certificate: string
  readonly authority?: string
  readonly inline?: TlsSecret
  readonly requireClient: boolean
  /** Whether a client's certificate may be of anybody. */
  readonly acceptUntrusted: boolean
  /** SHA-256 of certificates in hex, and of their public keys in base64, of which a client's must be one; none for any. */
  readonly pins: readonly string[]
  readonly alpn: readonly string[]
  readonly subjectAltNames: readonly StringMatch[]
  readonly minVersion?: 'TLSv1.2' | 'TLSv1.3'
  readonly maxVersion?: 'TLSv1.2' | 'TLSv1.3'
  readonly ciphers?: string
}

/** What connections a chain is for; every criterion that is not empty must fit. */
export interface ChainMatch {
  /** 0 for any. */
  readonly port: number
  readonly destinations: readonly AddressRange[]
  readonly sources: readonly AddressRange[]
  readonly sourcePorts: readonly number[]
  /** Names asked for in TLS, "*.suffix" among them. */
  readonly serverNames: readonly string[]
  readonly transport: '' | 'tls' | 'raw_buffer'
  readonly alpn: readonly string[]
}

export interface AddressRange {
  readonly address: number
  readonly bits: number
}

export interface FilterChain {
  readonly match: ChainMatch
  readonly tls?: ChainTls
  readonly chain: Chain
}

export interface Listener {
  readonly name: string
  readonly address: string
  readonly port: number
  readonly inbound: boolean
  readonly chains: readonly FilterChain[]
  readonly fallback: FilterChain | undefined
  /** Whether the first bytes are looked at for HTTP, and for TLS. */
  readonly inspectHttp: boolean
  readonly inspectTls: boolean
  readonly proxyProtocol: boolean
  /** Milliseconds that inspection may take. */
  readonly inspectTimeout: number
  /** Whether a client that is silent for so long counts as one that waits for its host to speak. */
  readonly settlesSilence: boolean
  /** Whether the proxy listens there itself; otherwise connections come by redirection. */
  readonly bind: boolean
  /** Connections at once; 0 is any number. */
  readonly maxConnections: number
  /** Whether there may be listeners of single addresses that are told to whoever asks for them. */
  readonly onDemand: boolean
}

/** A certificate with its key, or authorities to check peers by. PEM. */
export interface TlsSecret {
  readonly certificate?: string
  readonly key?: string
  readonly authority?: string
  /** Certificates that are revoked, whoever issued them. */
  readonly revoked?: string
}
