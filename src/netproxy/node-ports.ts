// Node ports on the host: holds each port, so that a taken one is known, and serves it on the loopback addresses.

import { connect, createServer, type Server, type Socket } from 'node:net'
import type { ServicePort } from './ruleset.ts'

/** Keeps one listener a TCP node port. */
export class NodePorts {
  readonly #servers = new Map<number, { server: Server; port: ServicePort }>()
  readonly #onTaken: (port: ServicePort, error: NodeJS.ErrnoException) => void
  readonly #failed = new Set<number>()

  constructor(onTaken: (port: ServicePort, error: NodeJS.ErrnoException) => void) {
    this.#onTaken = onTaken
  }

  /** Listens on the ports of `ports` and on no others. */
  update(ports: readonly ServicePort[]): void {
    const wanted = new Map(ports.filter((p) => p.nodePort > 0 && p.protocol === 'tcp').map((p) => [p.nodePort, p]))
    for (const [number, { server }] of this.#servers)
      if (!wanted.has(number)) {
        server.close()
        this.#servers.delete(number)
      }
    for (const number of this.#failed) if (!wanted.has(number)) this.#failed.delete(number)
    for (const [number, port] of wanted) {
      const held = this.#servers.get(number)
      if (held) held.port = port
      else if (!this.#failed.has(number)) this.#hold(number, port)
    }
  }

  close(): void {
    for (const { server } of this.#servers.values()) server.close()
    this.#servers.clear()
  }

  #hold(number: number, port: ServicePort): void {
    const server = createServer({ allowHalfOpen: true, noDelay: true }, (socket) => this.#forward(number, socket))
    server.on('error', (error: NodeJS.ErrnoException) => {
      this.#servers.delete(number)
      this.#failed.add(number)
      this.#onTaken(port, error)
    })
    this.#servers.set(number, { server, port })
    server.listen(number, '0.0.0.0')
  }

  #forward(number: number, client: Socket): void {
    const endpoints = this.#servers.get(number)?.port.endpoints ?? []
    const target = endpoints[Math.floor(Math.random() * endpoints.length)]
    if (!target) return void client.destroy()
    const upstream = connect({ host: target.ip, port: target.port, allowHalfOpen: true, noDelay: true })
    client.pipe(upstream).pipe(client)
    const end = () => {
      client.destroy()
      upstream.destroy()
    }
    client.on('error', end)
    upstream.on('error', end)
  }
}
