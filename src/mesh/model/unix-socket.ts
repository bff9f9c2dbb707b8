// Addresses that are sockets of a file system: "unix:///path", or "unix://@name" for an abstract one
// (networking/v1, WorkloadEntry.address and IstioIngressListener.defaultEndpoint).

const UNIX = 'unix://'

/** Whether an address is that of a socket. */
export const isSocket = (address: unknown): boolean => typeof address === 'string' && address.startsWith(UNIX)

/** The path of a socket, or "@" and an abstract one's name. */
export const socketPath = (address: string): string => address.slice(UNIX.length)
