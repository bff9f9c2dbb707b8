// kubia: answers with its pod's name and version. The version is the image's tag, given at build time.
import http from 'node:http'
import os from 'node:os'

const version = process.env.KUBIA_VERSION ?? 'v1'
const server = http.createServer((_request, response) => {
  response.end(`This is ${version} running in pod ${os.hostname()}\n`)
})
server.listen(8080, () => console.log(`Kubia server ${version} starting...`))

// Told to stop: finish what is under way, take nothing new.
process.on('SIGTERM', () => {
  server.close(() => process.exit(0))
  server.closeIdleConnections()
  setTimeout(() => process.exit(0), 5000).unref()
})
