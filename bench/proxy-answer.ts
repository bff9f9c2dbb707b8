// What every server of the proxy's benchmark answers.

export const BODY = Buffer.alloc(1024, 'x')
export const ANSWER = `HTTP/1.1 200 OK\r\nContent-Type: text/plain\r\nContent-Length: 1024\r\n\r\n${BODY}`
