// What protocol a connection's first bytes belong to. Pure.

const PREFACE = Buffer.from('PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n')
const METHODS = ['GET', 'HEAD', 'POST', 'PUT', 'DELETE', 'CONNECT', 'OPTIONS', 'TRACE', 'PATCH'].map((m) =>
  Buffer.from(`${m} `),
)

/** The protocol, or undefined while more bytes are needed to tell. */
export function sniff(first: Buffer): 'http1' | 'http2' | 'tcp' | undefined {
  const length = Math.min(first.length, PREFACE.length)
  if (first.subarray(0, length).equals(PREFACE.subarray(0, length)))
    return first.length >= PREFACE.length ? 'http2' : undefined
  for (const method of METHODS) {
    const n = Math.min(first.length, method.length)
    if (!first.subarray(0, n).equals(method.subarray(0, n))) continue
    return first.length >= method.length ? 'http1' : undefined
  }
  return 'tcp'
}
