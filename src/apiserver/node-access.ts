// What the API server asks of a node: logs and streams of a pod's containers.

import type { KubeObject } from '#api'

export interface LogOptions {
  container: string
  follow: boolean
  previous: boolean
  timestamps: boolean
  tailLines?: number | undefined
  limitBytes?: number | undefined
  sinceSeconds?: number | undefined
  sinceTime?: string | undefined
}

export interface ExecOptions {
  container: string
  command: readonly string[]
  stdin: boolean
  stdout: boolean
  stderr: boolean
  tty: boolean
}

/** The channels of an exec or attach. Calls made before the far side listens are kept. */
export interface ExecSession {
  onStdout: (data: Buffer) => void
  onStderr: (data: Buffer) => void
  /** Called once with the exit: a metav1.Status as JSON bytes. */
  onExit: (status: Buffer) => void
  stdin(data: Buffer): void
  endStdin(): void
  /** JSON {"Width":w,"Height":h}, as the resize channel carries it. */
  resize(data: Buffer): void
  close(): void
}

/** One forwarded connection. */
export interface ForwardSession {
  onData: (data: Buffer) => void
  onEnd: () => void
  onError: (message: string) => void
  write(data: Buffer): void
  end(): void
  close(): void
}

/** A node, as the API server reaches it. */
export interface NodeAccess {
  /** Calls `onData` with log bytes until the log ends or `signal` aborts. Fails with a StatusError before the first byte. */
  logs(pod: KubeObject, options: LogOptions, onData: (data: Buffer) => void, signal: AbortSignal): Promise<void>
  exec(pod: KubeObject, options: ExecOptions): Promise<ExecSession>
  attach(pod: KubeObject, options: ExecOptions): Promise<ExecSession>
  portForward(pod: KubeObject, port: number): Promise<ForwardSession>
  /** What a node's agent answers at a path of its own; undefined when it has no such path. */
  kubelet?(node: string, path: string): Promise<{ type: string; body: string } | undefined>
}
