// SMI: split.smi-spec.io and specs.smi-spec.io (servicemeshinterface/smi-spec, archived), message by message.

import type { Json } from '#api'
import { openApi, parseIdl } from './idl.ts'

const MESSAGES = parseIdl(`
TrafficSplit < service! string, backends! [Backend], matches [Reference] >
Backend < service! string, weight! integer >
Reference < apiGroup string, kind! string, name! string >
HTTPRouteGroup < matches [HTTPMatch] >
HTTPMatch < name string, pathRegex string, methods [string], headers any >
`)

/** The OpenAPI schema of a kind's spec. */
export const smiSchema = (kind: string): Json => openApi(MESSAGES, kind)
