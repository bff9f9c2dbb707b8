// Fields that tie the requests of one visit together: each service passes them on, for tracing and routing.
const PASSED_ON = [
  'x-request-id',
  'x-ot-span-context',
  'x-datadog-trace-id',
  'x-datadog-parent-id',
  'x-datadog-sampling-priority',
  'traceparent',
  'tracestate',
  'x-cloud-trace-context',
  'grpc-trace-bin',
  'x-b3-traceid',
  'x-b3-spanid',
  'x-b3-parentspanid',
  'x-b3-sampled',
  'x-b3-flags',
  'b3',
  'sw8',
  'user-agent',
  'end-user',
  'cookie',
  'authorization',
  'jwt',
]

/** The fields of a request that go along with the requests made for it. */
export function passedOn(headers) {
  return Object.fromEntries(PASSED_ON.filter((n) => headers[n] !== undefined).map((n) => [n, headers[n]]))
}
