// Trace context on its way through: W3C's traceparent and Zipkin's B3, each kept, or begun where there is none.

import { fieldOf, setField } from '../http/request.ts'

const TRACEPARENT = /^([0-9a-f]{2})-([0-9a-f]{32})-([0-9a-f]{16})-([0-9a-f]{2})$/
const B3 = /^([0-9a-f]{16}(?:[0-9a-f]{16})?)-([0-9a-f]{16})(?:-([01d]))?/i

const hex = (random: () => number, digits: number) => {
  let text = ''
  while (text.length < digits) text += ((random() * 0x1_0000_0000) >>> 0).toString(16).padStart(8, '0')
  return text.slice(0, digits)
}

/** Gives a request's trace a span of this proxy, child of the one before; returns the trace's id. */
export function traceRequest(fields: string[], sampling: number, random: () => number): string {
  const span = hex(random, 16)
  const parent = TRACEPARENT.exec(fieldOf(fields, 'traceparent') ?? '')
  const single = B3.exec(fieldOf(fields, 'b3') ?? '')
  const trace = fieldOf(fields, 'x-b3-traceid')
  if (parent) setField(fields, 'traceparent', `00-${parent[2]}-${span}-${parent[4]}`)
  if (single) setField(fields, 'b3', `${single[1]}-${span}-${single[3] ?? '1'}-${single[2]}`)
  if (trace) {
    const before = fieldOf(fields, 'x-b3-spanid')
    if (before) setField(fields, 'x-b3-parentspanid', before)
    setField(fields, 'x-b3-spanid', span)
  }
  const known = parent?.[2] ?? trace ?? single?.[1]
  if (known) return known
  const id = hex(random, 32)
  const sampled = random() < sampling
  fields.push('traceparent', `00-${id}-${span}-${sampled ? '01' : '00'}`)
  fields.push('x-b3-traceid', id, 'x-b3-spanid', span, 'x-b3-sampled', sampled ? '1' : '0')
  return id
}
