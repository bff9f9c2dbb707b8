// The data plane with one route to one cluster on a port. Arguments: kind, port, the back end's port, the folder of
// certificates, clusters besides.

import { shrinkAtRest } from '../src/proxy/idle.ts'
import { startProxy } from '../test/kit/proxy.ts'
import { type ProxyKind, proxyConfig } from './proxy-config.ts'

const [kind = 'http1', port = '0', backend = '0', folder = '', others = '0'] = process.argv.slice(2)
const config = proxyConfig(kind as ProxyKind, {
  at: Number(port),
  to: Number(backend),
  folder,
  others: Number(others),
})
const { context } = await startProxy(config)
// As the program itself does.
shrinkAtRest(context)
process.send?.('ready')
