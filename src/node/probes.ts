// Probes: asks a container whether it lives, is ready, has started.

import { request as httpRequest } from 'node:http'
import { request as httpsRequest } from 'node:https'
import { connect } from 'node:net'
import type { Json, KubeObject } from '#api'
import { type Clock, messageOf, type Timer } from '#base'
import { GrpcClient, HEALTH_CHECK, SERVING } from '#wire'
import type { Runtime } from './runtime.ts'

export type ProbeKind = 'livenessProbe' | 'readinessProbe' | 'startupProbe'

export interface ProbeResult {
  ok: boolean
  message: string
}

/** What a probe is run against. */
export interface ProbeTarget {
  pod: KubeObject
  container: Json
  containerId: string
  podIp: string
}

/** Runs one probe. Never rejects. */
export async function runProbe(runtime: Runtime, probe: Json, target: ProbeTarget): Promise<ProbeResult> {
  const timeout = (probe.timeoutSeconds ?? 1) * 1000
  try {
    if (probe.exec) {
      const { exitCode, output } = await runtime.execSync(
        target.containerId,
        probe.exec.command ?? [],
        probe.timeoutSeconds ?? 1,
      )
      return { ok: exitCode === 0, message: output.trim().slice(0, 500) }
    }
    if (probe.httpGet) return await probeHttp(probe.httpGet, target, timeout)
    if (probe.tcpSocket)
      return await probeTcp(
        probe.tcpSocket.host ?? target.podIp,
        portOf(probe.tcpSocket.port, target.container),
        timeout,
      )
    if (probe.grpc) {
      const client = new GrpcClient({ host: target.podIp, port: probe.grpc.port })
      try {
        const { status } = await client.call(
          HEALTH_CHECK,
          { service: probe.grpc.service ?? '' },
          { timeoutMs: timeout },
        )
        return { ok: status === SERVING, message: `service unhealthy (responded with status ${status ?? 0})` }
      } finally {
        client.close()
      }
    }
    return { ok: false, message: 'probe has no handler' }
  } catch (error) {
    return { ok: false, message: messageOf(error) }
  }
}

/** A port number, or the number of a named container port. */
export function portOf(port: unknown, container: Json): number {
  if (typeof port === 'number') return port
  const named = (container.ports ?? []).find((p: Json) => p.name === port)
  return named?.containerPort ?? Number(port)
}

function probeHttp(get: Json, target: ProbeTarget, timeout: number): Promise<ProbeResult> {
  return new Promise((resolve) => {
    const secure = get.scheme === 'HTTPS'
    const options = {
      host: get.host ?? target.podIp,
      port: portOf(get.port, target.container),
      path: get.path ?? '/',
      timeout,
      headers: {
        'User-Agent': 'kube-probe/1.36',
        Accept: '*/*',
        Connection: 'close',
        ...Object.fromEntries((get.httpHeaders ?? []).map((h: Json) => [h.name, h.value])),
      },
      agent: false as const,
      rejectUnauthorized: false,
    }
    const request = (secure ? httpsRequest : httpRequest)(options, (response) => {
      response.resume()
      const code = response.statusCode ?? 0
      resolve({ ok: code >= 200 && code < 400, message: `HTTP probe failed with statuscode: ${code}` })
      response.on('end', () => request.destroy())
    })
    request.on('timeout', () =>
      request.destroy(
        new Error(
          `Get "${secure ? 'https' : 'http'}://${options.host}:${options.port}${options.path}": context deadline exceeded (Client.Timeout exceeded while awaiting headers)`,
        ),
      ),
    )
    request.on('error', (error) => resolve({ ok: false, message: error.message }))
    request.end()
  })
}

function probeTcp(host: string, port: number, timeout: number): Promise<ProbeResult> {
  return new Promise((resolve) => {
    const socket = connect({ host, port, timeout })
    const end = (ok: boolean, text: string) => {
      socket.destroy()
      resolve({ ok, message: text })
    }
    socket.on('connect', () => end(true, ''))
    socket.on('timeout', () => end(false, `dial tcp ${host}:${port}: i/o timeout`))
    socket.on('error', (error) => end(false, `dial tcp ${host}:${port}: ${error.message}`))
  })
}

export interface ProbeState {
  /** undefined until the probe has given a verdict. */
  passing: boolean | undefined
}

/** Repeats a probe and reports when its verdict changes, by the thresholds. */
export class Prober {
  readonly #runtime: Runtime
  readonly #clock: Clock
  readonly #probe: Json
  readonly #target: ProbeTarget
  readonly #onVerdict: (passing: boolean, message: string) => void
  readonly #onFailure: (message: string) => void
  #streak = 0
  #last: boolean | undefined
  #passing: boolean | undefined
  #timer: Timer | undefined
  #stopped = false

  constructor(options: {
    runtime: Runtime
    clock: Clock
    probe: Json
    target: ProbeTarget
    onVerdict: (passing: boolean, message: string) => void
    onFailure: (message: string) => void
  }) {
    this.#runtime = options.runtime
    this.#clock = options.clock
    this.#probe = options.probe
    this.#target = options.target
    this.#onVerdict = options.onVerdict
    this.#onFailure = options.onFailure
    this.#schedule((options.probe.initialDelaySeconds ?? 0) * 1000)
  }

  stop(): void {
    this.#stopped = true
    this.#timer?.cancel()
  }

  #schedule(ms: number): void {
    if (!this.#stopped) this.#timer = this.#clock.after(ms, () => void this.#run())
  }

  async #run(): Promise<void> {
    const result = await runProbe(this.#runtime, this.#probe, this.#target)
    if (this.#stopped) return
    this.#streak = result.ok === this.#last ? this.#streak + 1 : 1
    this.#last = result.ok
    if (!result.ok) this.#onFailure(result.message)
    const threshold = result.ok ? (this.#probe.successThreshold ?? 1) : (this.#probe.failureThreshold ?? 3)
    if (this.#streak >= threshold && this.#passing !== result.ok) {
      this.#passing = result.ok
      this.#onVerdict(result.ok, result.message)
    }
    // Until the first success a container is looked at more often than its period: it is waited for.
    const period = (this.#probe.periodSeconds ?? 10) * 1000
    this.#schedule(this.#passing === undefined && !result.ok ? Math.min(period, 1000) : period)
  }
}
