// kubia: answers with its pod's name and version. The version is the image's tag, given at build time.
import os from 'node:os'
import { serve } from '../shared/serve.mjs'

const version = process.env.KUBIA_VERSION ?? 'v1'
serve(
  8080,
  (_request, response) => response.end(`This is ${version} running in pod ${os.hostname()}\n`),
  `Kubia server ${version} starting...`,
)
