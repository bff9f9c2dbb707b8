// Ports of the host that Services take: node ports and load-balancer ports. Each is held by a listener, so
// that one taken by another program is known, and that listener serves the loopback addresses.

import { connect, createServer, type Server, type Socket } from 'node:net'
import type { ServicePort } from './ruleset.ts'

/** A port somebody else has: another program, or another Service. */
export interface Refusal {
  readonly port: ServicePort
  readonly number: number
  readonly reason: string
}

interface Held {
  readonly server: Server
  port: ServicePort
  /** The endpoint clients of this machine stay with, for session affinity. */
  last?: { target: { ip: string; port: number }; until: number }
}

/** Keeps one listener a TCP port. */
export class HostPorts {
  readonly #held = new Map<number, Held>()

  /** Listens on the host ports of `ports` and on no others. Returns those that could not be had. */
  async update(ports: readonly ServicePort[]): Promise<Refusal[]> {
    const refusals: Refusal[] = []
    const wanted = new Map<number, ServicePort>()
    const others = new Map<string, ServicePort>()
    for (const port of ports.filter((p) => p.protocol !== 'tcp'))
      for (const number of port.hostPorts) {
        const key = `${port.protocol} ${number}`
        const first = others.get(key)
        if (!first) others.set(key, port)
        else refusals.push({ port, number, reason: `the Service ${first.key.split(':')[0]} has it` })
      }
    for (const port of ports.filter((p) => p.protocol === 'tcp'))
      for (const number of port.hostPorts) {
        const other = wanted.get(number)
        if (!other) wanted.set(number, port)
        else {
          // Who has it keeps it.
          const keeps = this.#held.get(number)?.port.key === port.key ? port : other
          wanted.set(number, keeps)
          const loser = keeps === port ? other : port
          refusals.push({ port: loser, number, reason: `the Service ${keeps.key.split(':')[0]} has it` })
        }
      }
    for (const [number, { server }] of this.#held)
      if (!wanted.has(number)) {
        server.close()
        this.#held.delete(number)
      }
    await Promise.all(
      [...wanted].map(async ([number, port]) => {
        const held = this.#held.get(number)
        if (held) {
          held.port = port
          return
        }
        const error = await this.#hold(number, port)
        if (!error) return
        const reason =
          error.code === 'EADDRINUSE' ? 'another program or cluster on this machine uses it' : error.message
        refusals.push({ port, number, reason })
      }),
    )
    return refusals
  }

  close(): void {
    for (const { server } of this.#held.values()) server.close()
    this.#held.clear()
  }

  async #hold(number: number, port: ServicePort): Promise<NodeJS.ErrnoException | undefined> {
    const server = createServer({ allowHalfOpen: true, noDelay: true }, (socket) => this.#forward(number, socket))
    let error = await listen(server, number, '::')
    if (error?.code === 'EAFNOSUPPORT' || error?.code === 'EADDRNOTAVAIL')
      error = await listen(server, number, '0.0.0.0')
    if (!error) this.#held.set(number, { server, port })
    return error
  }

  #forward(number: number, client: Socket): void {
    client.on('error', () => client.destroy())
    const held = this.#held.get(number)
    if (!held) return void client.destroy()
    const { endpoints, affinity } = held.port
    const start = Math.floor(Math.random() * endpoints.length)
    const order = [...endpoints.slice(start), ...endpoints.slice(0, start)]
    if (affinity > 0 && held.last && held.last.until > Date.now()) {
      const { ip, port } = held.last.target
      const known = order.findIndex((e) => e.ip === ip && e.port === port)
      if (known > 0) order.unshift(...order.splice(known, 1))
    }
    const attempt = (i: number): void => {
      const target = order[i]
      if (!target || client.destroyed) return void client.destroy()
      if (affinity > 0) held.last = { target, until: Date.now() + affinity * 1000 }
      const upstream = connect({ host: target.ip, port: target.port, allowHalfOpen: true, noDelay: true })
      // Nothing has been sent yet: an endpoint that cannot be reached is passed over.
      const next = () => attempt(i + 1)
      upstream.once('error', next)
      upstream.once('connect', () => {
        upstream.off('error', next)
        const end = () => {
          client.destroy()
          upstream.destroy()
        }
        client.on('close', end)
        client.on('error', end)
        upstream.on('error', end)
        client.pipe(upstream).pipe(client)
      })
    }
    attempt(0)
  }
}

function listen(server: Server, port: number, host: string): Promise<NodeJS.ErrnoException | undefined> {
  return new Promise((resolve) => {
    const onError = (error: NodeJS.ErrnoException) => resolve(error)
    server.once('error', onError)
    server.listen({ port, host, backlog: 1024 }, () => {
      server.off('error', onError)
      server.on('error', () => {})
      resolve(undefined)
    })
  })
}
