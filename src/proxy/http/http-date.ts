// The date header, made once a second (RFC 9110, 6.6.1).

let second = 0
let text = ''

/** Now, as HTTP writes it: "Sun, 06 Nov 1994 08:49:37 GMT". */
export function httpDate(now = Date.now()): string {
  const s = Math.floor(now / 1000)
  if (s !== second) {
    second = s
    text = new Date(s * 1000).toUTCString()
  }
  return text
}
