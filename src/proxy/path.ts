// Paths as routes see them: one way to write each (Istio's path normalization BASE, RFC 3986 6.2.2).

const ODD = /\/\.|%[0-9a-f]{2}|\\/i
const UNRESERVED = /[A-Za-z0-9\-._~]/

/** A request's path without dot segments, backslashes or needless escapes; the query is left as it is. */
export function normalizePath(path: string): string {
  const mark = path.search(/[?#]/)
  const own = mark < 0 ? path : path.slice(0, mark)
  if (!ODD.test(own) || !own.startsWith('/')) return path
  const plain = own.replaceAll('\\', '/').replace(/%[0-9a-f]{2}/gi, (code) => {
    const char = String.fromCharCode(Number.parseInt(code.slice(1), 16))
    return UNRESERVED.test(char) ? char : code.toUpperCase()
  })
  const out: string[] = []
  const segments = plain.split('/').slice(1)
  for (const [i, segment] of segments.entries()) {
    const last = i === segments.length - 1
    if (segment === '..') {
      out.pop()
      if (last) out.push('')
    } else if (segment === '.') {
      if (last) out.push('')
    } else out.push(segment)
  }
  return `/${out.join('/')}${mark < 0 ? '' : path.slice(mark)}`
}
