// The health service of gRPC servers (github.com/grpc/grpc, doc/health-checking.md).

import type { Method } from './grpc.ts'
import { message } from './protobuf.ts'

/** Asks whether a service, or with "" the server, is well. */
export const HEALTH_CHECK: Method = {
  path: '/grpc.health.v1.Health/Check',
  request: message('grpc.health.v1.HealthCheckRequest', { service: [1, 'string'] }),
  response: message('grpc.health.v1.HealthCheckResponse', { status: [1, 'enum'] }),
}

/** The status of what is well. */
export const SERVING = 1
