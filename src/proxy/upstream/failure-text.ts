// Why a connection could not be made, in Envoy's words, which operators look for in logs. Pure.

const CAUSES: Readonly<Record<string, string>> = {
  ECONNREFUSED: 'Connection refused',
  ECONNRESET: 'Connection reset by peer',
  EHOSTUNREACH: 'No route to host',
  ENETUNREACH: 'Network is unreachable',
  ETIMEDOUT: 'Connection timed out',
  EACCES: 'Permission denied',
  EADDRNOTAVAIL: 'Cannot assign requested address',
}

/** An error of a socket; what Envoy has no words for stays in Node's. */
export function failureText(error: NodeJS.ErrnoException): string {
  const cause = error.syscall === 'connect' ? CAUSES[error.code ?? ''] : undefined
  return cause ? `delayed connect error: ${cause}` : error.message
}
