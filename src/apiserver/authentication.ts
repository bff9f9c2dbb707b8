// Who is calling: client certificates and service-account tokens.

import { createPrivateKey, createPublicKey, type KeyObject } from 'node:crypto'
import type { IncomingMessage } from 'node:http'
import type { TLSSocket } from 'node:tls'
import { errors, type Json, type KubeObject } from '#api'
import type { Clock } from '#base'
import type { User } from './identity.ts'

const ANONYMOUS: User = { name: 'system:anonymous', groups: ['system:unauthenticated'] }

/** What a service-account token is for. */
export interface TokenRequest {
  namespace: string
  serviceAccount: string
  serviceAccountUid: string
  audiences?: readonly string[] | undefined
  /** Seconds. */
  expirationSeconds: number
  pod?: { name: string; uid: string } | undefined
}

/** Finds the objects a token is bound to; undefined when they are gone. */
export interface BoundObjects {
  serviceAccount(namespace: string, name: string): KubeObject | undefined
  pod(namespace: string, name: string): KubeObject | undefined
}

export interface TokensOptions {
  /** Private key in PEM (EC P-256) that signs tokens. */
  signingKey: string
  issuer: string
  clock: Clock
  bound: BoundObjects
}

/** Issues and checks service-account tokens (JWT, ES256), bound to the objects they name. */
export class Tokens {
  readonly issuer: string
  readonly #private: KeyObject
  readonly #public: KeyObject
  readonly #clock: Clock
  readonly #bound: BoundObjects
  /** Verified claims by token, so that a signature is checked once. */
  readonly #verified = new Map<string, Claims>()

  constructor(options: TokensOptions) {
    this.issuer = options.issuer
    this.#private = createPrivateKey(options.signingKey)
    this.#public = createPublicKey(this.#private)
    this.#clock = options.clock
    this.#bound = options.bound
  }

  /** The OpenID Connect configuration of service-account tokens. */
  discovery(): Json {
    return {
      issuer: this.issuer,
      jwks_uri: `${this.issuer}/openid/v1/jwks`,
      response_types_supported: ['id_token'],
      subject_types_supported: ['public'],
      id_token_signing_alg_values_supported: ['ES256'],
    }
  }

  /** The keys that tokens are verified with, as a JSON Web Key Set. */
  keys(): Json {
    return { keys: [{ ...this.#public.export({ format: 'jwk' }), use: 'sig', kid: 'sampan', alg: 'ES256' }] }
  }

  async issue(request: TokenRequest): Promise<{ token: string; expiration: number }> {
    const now = Math.floor(this.#clock.now() / 1000)
    const expiration = now + request.expirationSeconds
    const { SignJWT } = await import('jose')
    const token = await new SignJWT({
      'kubernetes.io': {
        namespace: request.namespace,
        serviceaccount: { name: request.serviceAccount, uid: request.serviceAccountUid },
        ...(request.pod ? { pod: request.pod } : {}),
      },
    })
      .setProtectedHeader({ alg: 'ES256', kid: 'sampan' })
      .setIssuer(this.issuer)
      .setSubject(`system:serviceaccount:${request.namespace}:${request.serviceAccount}`)
      .setAudience([...(request.audiences?.length ? request.audiences : [this.issuer])])
      .setIssuedAt(now)
      .setNotBefore(now)
      .setExpirationTime(expiration)
      .sign(this.#private)
    return { token, expiration: expiration * 1000 }
  }

  /** The user behind a token meant for `audience` (default: this server); undefined when it is not valid. */
  async verify(token: string, audience = this.issuer): Promise<User | undefined> {
    const claims = await this.#claims(token)
    if (!claims) return undefined
    const now = this.#clock.now() / 1000
    if (claims.exp <= now || claims.nbf > now + 60 || !claims.audiences.includes(audience)) return undefined
    const { namespace, name, uid, pod } = claims
    const account = this.#bound.serviceAccount(namespace, name)
    if (!account || account.metadata.uid !== uid) return undefined
    if (pod && this.#bound.pod(namespace, pod.name)?.metadata.uid !== pod.uid) return undefined
    return {
      name: `system:serviceaccount:${namespace}:${name}`,
      uid,
      groups: ['system:serviceaccounts', `system:serviceaccounts:${namespace}`, 'system:authenticated'],
      ...(pod
        ? {
            extra: {
              'authentication.kubernetes.io/pod-name': [pod.name],
              'authentication.kubernetes.io/pod-uid': [pod.uid],
            },
          }
        : {}),
    }
  }

  async #claims(token: string): Promise<Claims | undefined> {
    const known = this.#verified.get(token)
    if (known) return known
    try {
      // Loaded with the first token: a server answers sooner.
      const { jwtVerify } = await import('jose')
      const { payload } = await jwtVerify(token, this.#public, {
        issuer: this.issuer,
        algorithms: ['ES256'],
        currentDate: new Date(this.#clock.now()),
        clockTolerance: 60,
      })
      const k = payload['kubernetes.io'] as {
        namespace: string
        serviceaccount: { name: string; uid: string }
        pod?: { name: string; uid: string }
      }
      const claims: Claims = {
        namespace: k.namespace,
        name: k.serviceaccount.name,
        uid: k.serviceaccount.uid,
        pod: k.pod,
        exp: payload.exp ?? 0,
        nbf: payload.nbf ?? 0,
        audiences: Array.isArray(payload.aud) ? payload.aud : [payload.aud ?? ''],
      }
      if (this.#verified.size >= 1000) this.#verified.clear()
      this.#verified.set(token, claims)
      return claims
    } catch {
      return undefined
    }
  }
}

interface Claims {
  namespace: string
  name: string
  uid: string
  pod: { name: string; uid: string } | undefined
  exp: number
  nbf: number
  audiences: string[]
}

/** Identifies the caller of a request. Fails with Unauthorized when credentials are given but not valid. */
export async function authenticate(request: IncomingMessage, tokens: Tokens): Promise<User> {
  const header = request.headers.authorization
  if (header?.startsWith('Bearer ')) {
    const user = await tokens.verify(header.slice(7).trim())
    if (!user) throw errors.unauthorized()
    return user
  }
  const protocols = request.headers['sec-websocket-protocol']
  const inProtocol = /base64url\.bearer\.authorization\.k8s\.io\.([\w-]+)/.exec(protocols ?? '')?.[1]
  if (inProtocol) {
    const user = await tokens.verify(Buffer.from(inProtocol, 'base64url').toString())
    if (!user) throw errors.unauthorized()
    return user
  }
  const socket = request.socket as TLSSocket
  if (typeof socket.getPeerCertificate !== 'function' || !socket.authorized) return ANONYMOUS
  return (certificateUsers.get(socket) ?? certificateUser(socket)) as User
}

/** Users by connection: a certificate is read once. */
const certificateUsers = new WeakMap<TLSSocket, User>()

function certificateUser(socket: TLSSocket): User {
  const subject = socket.getPeerCertificate().subject as unknown as Record<string, string | string[]> | undefined
  if (!subject?.CN) return ANONYMOUS
  const organizations = subject.O === undefined ? [] : Array.isArray(subject.O) ? subject.O : [subject.O]
  const user = { name: String(subject.CN), groups: [...organizations, 'system:authenticated'] }
  certificateUsers.set(socket, user)
  return user
}
