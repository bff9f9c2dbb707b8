// Labels and annotations by which gateways are known.

/** The label on the pods of a Gateway of the Gateway API: its name. */
export const GATEWAY_NAME = 'gateway.networking.k8s.io/gateway-name'
/** Marks Istio Gateways that are for pods of the namespace it names only. */
export const OWN_NAMESPACE = 'internal.istio.io/own-namespace'
