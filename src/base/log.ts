// Structured logging: constant messages, values as keys, one line each.

/** Keys and values that accompany a message. */
export type Fields = Readonly<Record<string, unknown>>

/** A logger; children add fields to every line. */
export interface Log {
  info(message: string, fields?: Fields): void
  warn(message: string, fields?: Fields): void
  error(message: string, fields?: Fields): void
  debug(message: string, fields?: Fields): void
  child(fields: Fields): Log
}

/** Receives finished lines without a line end. */
export type LogSink = (component: string, line: string) => void

export interface LogOptions {
  sink: LogSink
  now?: () => number
  debug?: boolean
}

/** Makes the root logger of a component; `component` names the log stream a reader asks for. */
export function createLog(component: string, options: LogOptions, fields: Fields = {}): Log {
  const now = options.now ?? Date.now
  const write = (level: string, message: string, extra?: Fields) => {
    let line = `${new Date(now()).toISOString()} ${level} ${message}`
    for (const source of extra ? [fields, extra] : [fields])
      for (const key in source) line += ` ${key}=${formatValue(source[key])}`
    options.sink(component, line)
  }
  return {
    info: (m, f) => write('INFO', m, f),
    warn: (m, f) => write('WARN', m, f),
    error: (m, f) => write('ERROR', m, f),
    debug: (m, f) => {
      if (options.debug) write('DEBUG', m, f)
    },
    child: (f) => createLog(component, options, { ...fields, ...f }),
  }
}

/** A log that keeps nothing. */
export const silentLog: Log = {
  info() {},
  warn() {},
  error() {},
  debug() {},
  child: () => silentLog,
}

function formatValue(value: unknown): string {
  if (value instanceof Error) return JSON.stringify(value.message)
  if (typeof value === 'string') return /^[\w./:@+-]+$/.test(value) ? value : JSON.stringify(value)
  return JSON.stringify(value) ?? 'undefined'
}
