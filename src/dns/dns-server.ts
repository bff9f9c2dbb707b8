// The DNS server: the cluster's names from the cluster, every other name from the host's resolvers.

import { randomInt } from 'node:crypto'
import { createSocket, type Socket } from 'node:dgram'
import { connect, createServer, type Server, type Socket as TcpSocket } from 'node:net'
import packet, { type DecodedPacket, type Question } from 'dns-packet'
import { resources } from '#api'
import type { Log } from '#base'
import type { Informers } from '#client'
import { type Answer, type DnsSource, resolveName, reverse, ZONE } from './resolve.ts'

export interface DnsServerOptions {
  host: string
  port: number
  informers: Informers
  /** What the mesh says of a name to who asks from an address: IPv4 addresses; undefined when it is not its business. */
  mesh?(source: string, name: string): readonly string[] | undefined
  /** Resolvers for other names; none is no error. */
  upstream: readonly string[]
  log: Log
}

const FORWARD_MS = 2000
/** Seconds for which an address of the mesh may be kept. */
const MESH_TTL = 30
/** Names that stand for names are followed this far. */
const MAX_HOPS = 8
const RCODE = { noError: 0, servFail: 2, nxDomain: 3, refused: 5 } as const
const AUTHORITATIVE = 1 << 10
const RECURSION = 1 << 7

export class DnsServer {
  readonly #options: DnsServerOptions
  readonly #source: DnsSource
  #udp: Socket | undefined
  #tcp: Server | undefined

  constructor(options: DnsServerOptions) {
    this.#options = options
    const { informers } = options
    const services = informers.for(resources.services)
    const slices = informers.for(resources.endpointSlices)
    const namespaces = informers.for(resources.namespaces)
    services.addIndex('ip', (o) => (o.spec?.clusterIP ? [o.spec.clusterIP] : []))
    slices.addIndex('service', (o) => [
      `${o.metadata.namespace}/${o.metadata.labels?.['kubernetes.io/service-name'] ?? ''}`,
    ])
    this.#source = {
      service: (namespace, name) => services.get(`${namespace}/${name}`),
      slices: (namespace, name) => slices.byIndex('service', `${namespace}/${name}`),
      serviceByIp: (ip) => services.byIndex('ip', ip)[0],
      hasNamespace: (name) => namespaces.get(name) !== undefined,
    }
  }

  /** Why names are not answered, if so. */
  get problem(): string | undefined {
    return this.#udp ? undefined : 'it does not listen yet'
  }

  async start(): Promise<void> {
    const { host, port } = this.#options
    const udp = createSocket('udp4')
    udp.on('message', (message, from) => {
      void this.#answer(message, from.address).then(
        (reply) => reply && udp.send(reply.length > 1232 ? truncated(reply) : reply, from.port, from.address),
      )
    })
    udp.on('error', (error) => this.#options.log.error('dns socket failed', { error: error.message }))
    await new Promise<void>((resolve) => udp.bind(port, host, resolve))
    this.#udp = udp
    const tcp = createServer((socket) => this.#stream(socket))
    await new Promise<void>((resolve) => tcp.listen(port, host, resolve))
    this.#tcp = tcp
  }

  close(): void {
    this.#udp?.close()
    this.#tcp?.close()
  }

  #stream(socket: TcpSocket): void {
    let buffer = Buffer.alloc(0)
    socket.setTimeout(10_000, () => socket.destroy())
    socket.on('error', () => {})
    socket.on('data', (data) => {
      buffer = Buffer.concat([buffer, data])
      while (buffer.length >= 2 && buffer.length >= 2 + buffer.readUInt16BE(0)) {
        const length = buffer.readUInt16BE(0)
        const message = buffer.subarray(2, 2 + length)
        buffer = buffer.subarray(2 + length)
        void this.#answer(message, socket.remoteAddress ?? '').then((reply) => {
          if (!reply) return
          const head = Buffer.alloc(2)
          head.writeUInt16BE(reply.length)
          socket.write(Buffer.concat([head, reply]))
        })
      }
    })
  }

  async #answer(message: Buffer, source: string): Promise<Buffer | undefined> {
    let query: DecodedPacket
    try {
      query = packet.decode(message)
    } catch {
      return undefined
    }
    const question = query.questions?.[0]
    if (query.type !== 'query' || !question) return undefined
    const own = this.#own(question)
    if (own)
      return own.answers
        ? encode(query, question, RCODE.noError, await this.#followed(own.answers, question))
        : encode(query, question, RCODE.nxDomain, [])
    const addresses = this.#options.mesh?.(source, question.name)
    if (addresses) {
      // Whoever asks for another type is told that the name is there.
      const wanted = question.type === 'A' ? addresses : []
      const answers = wanted.map((data) => ({ type: 'A' as const, name: question.name, ttl: MESH_TTL, data }))
      return encode(query, question, RCODE.noError, answers)
    }
    return (await this.#forward(message)) ?? encode(query, question, RCODE.servFail, [])
  }

  /** The cluster's answer, or undefined when the name is not the cluster's business. */
  #own(question: Pick<Question, 'name' | 'type'>): { answers: Answer[] | undefined } | undefined {
    const name = question.name.toLowerCase()
    if (name === ZONE || name.endsWith(`.${ZONE}`))
      return { answers: resolveName(question.name, question.type, this.#source) }
    if (question.type === 'PTR') {
      const answers = reverse(question.name, this.#source)
      if (answers) return { answers }
    }
    return undefined
  }

  /** Answers with what a name stands for (a Service of type ExternalName) looked up too, as resolvers expect. */
  async #followed(answers: readonly Answer[], { type }: Question): Promise<object[]> {
    const all: object[] = [...answers]
    let last = answers.at(-1)
    for (let hops = 0; hops < MAX_HOPS && last?.type === 'CNAME' && type !== 'CNAME'; hops++) {
      const name = String(last.data).replace(/\.$/, '')
      const own = this.#own({ name, type })
      if (!own) {
        const question = { name, type, class: 'IN' } as Question
        const asked = packet.encode({ type: 'query', id: randomInt(65536), flags: 0x100, questions: [question] })
        const reply = await this.#forward(asked)
        return reply ? [...all, ...(packet.decode(reply).answers ?? [])] : all
      }
      all.push(...(own.answers ?? []))
      last = own.answers?.at(-1)
    }
    return all
  }

  async #forward(message: Buffer): Promise<Buffer | undefined> {
    for (const server of this.#options.upstream) {
      const reply = await forwardOnce(message, server)
      if (reply) return reply
    }
    return undefined
  }
}

function encode(query: DecodedPacket, question: Question, code: number, answers: object[]): Buffer {
  return packet.encode({
    type: 'response',
    id: query.id ?? 0,
    flags: AUTHORITATIVE | RECURSION | ((query.flags ?? 0) & 0x100) | code,
    questions: [question],
    answers: answers as never,
  })
}

/** Says "ask again over TCP" for an answer too large for a datagram. */
function truncated(reply: Buffer): Buffer {
  const decoded = packet.decode(reply)
  return packet.encode({
    ...decoded,
    type: 'response',
    flags: (decoded.flags ?? 0) | 0x200,
    answers: [],
    authorities: [],
    additionals: [],
  } as never)
}

function forwardOnce(message: Buffer, server: string): Promise<Buffer | undefined> {
  return new Promise((resolve) => {
    const socket = createSocket(server.includes(':') ? 'udp6' : 'udp4')
    const timer = setTimeout(() => finish(undefined), FORWARD_MS)
    const finish = (reply: Buffer | undefined) => {
      clearTimeout(timer)
      socket.close()
      // A truncated answer is asked for again over TCP.
      if (reply && reply.readUInt16BE(2) & 0x200)
        void forwardTcp(message, server).then((whole) => resolve(whole ?? reply))
      else resolve(reply)
    }
    // Only the server that was asked answers.
    socket.on('message', (reply, from) => {
      if (from.address === server && reply.length > 12 && reply.readUInt16BE(0) === message.readUInt16BE(0))
        finish(reply)
    })
    socket.on('error', () => finish(undefined))
    socket.send(message, 53, server)
  })
}

function forwardTcp(message: Buffer, server: string): Promise<Buffer | undefined> {
  return new Promise((resolve) => {
    const socket = connect(53, server)
    const head = Buffer.alloc(2)
    head.writeUInt16BE(message.length)
    socket.setTimeout(FORWARD_MS, () => socket.destroy())
    let data = Buffer.alloc(0)
    socket.on('data', (part) => {
      data = Buffer.concat([data, part])
      if (data.length < 2 || data.length < 2 + data.readUInt16BE(0)) return
      resolve(data.subarray(2, 2 + data.readUInt16BE(0)))
      socket.destroy()
    })
    socket.on('error', () => resolve(undefined))
    socket.on('close', () => resolve(undefined))
    socket.write(Buffer.concat([head, message]))
  })
}
