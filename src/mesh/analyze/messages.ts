// Istio's analyzer messages: codes, names and levels (istio: pkg/config/analysis/msg/messages.yaml).

export type Level = 'Error' | 'Warning' | 'Info'

const TABLE = {
  DEPRECATED: ['IST0002', 'Deprecated', 'Warning'],
  REFERENCE: ['IST0101', 'ReferencedResourceNotFound', 'Error'],
  NOT_INJECTED: ['IST0102', 'NamespaceNotInjected', 'Info'],
  MISSING_PROXY: ['IST0103', 'PodMissingProxy', 'Warning'],
  SCHEMA: ['IST0106', 'SchemaValidationError', 'Error'],
  MISPLACED_ANNOTATION: ['IST0107', 'MisplacedAnnotation', 'Warning'],
  UNKNOWN_ANNOTATION: ['IST0108', 'UnknownAnnotation', 'Warning'],
  CONFLICTING_HOSTS: ['IST0109', 'ConflictingMeshGatewayVirtualServiceHosts', 'Error'],
  CONFLICTING_SIDECARS: ['IST0110', 'ConflictingSidecarWorkloadSelectors', 'Error'],
  MULTIPLE_SIDECARS: ['IST0111', 'MultipleSidecarsWithoutWorkloadSelectors', 'Error'],
  PORT_REQUIRED: ['IST0112', 'VirtualServiceDestinationPortSelectorRequired', 'Error'],
  DEPLOYMENT_PROTOCOLS: ['IST0116', 'DeploymentAssociatedToMultipleServices', 'Warning'],
  PORT_NAME: ['IST0118', 'PortNameIsNotUnderNamingConvention', 'Info'],
  INJECTION_LABELS: ['IST0123', 'NamespaceMultipleInjectionLabels', 'Warning'],
  INVALID_ANNOTATION: ['IST0125', 'InvalidAnnotation', 'Warning'],
  UNKNOWN_REGISTRY: ['IST0126', 'UnknownMeshNetworksServiceRegistry', 'Error'],
  NO_WORKLOADS: ['IST0127', 'NoMatchingWorkloadsFound', 'Warning'],
  NO_CA: ['IST0128', 'NoServerCertificateVerificationDestinationLevel', 'Warning'],
  NO_CA_PORT: ['IST0129', 'NoServerCertificateVerificationPortLevel', 'Warning'],
  UNREACHABLE: ['IST0130', 'VirtualServiceUnreachableRule', 'Warning'],
  INEFFECTIVE_MATCH: ['IST0131', 'VirtualServiceIneffectiveMatch', 'Info'],
  HOST_NOT_IN_GATEWAY: ['IST0132', 'VirtualServiceHostNotFoundInGateway', 'Warning'],
  SCHEMA_WARNING: ['IST0133', 'SchemaWarning', 'Warning'],
  ADDRESSES_REQUIRED: ['IST0134', 'ServiceEntryAddressesRequired', 'Warning'],
  DEPRECATED_ANNOTATION: ['IST0135', 'DeprecatedAnnotation', 'Info'],
  DEPLOYMENT_PORTS: ['IST0137', 'DeploymentConflictingPorts', 'Warning'],
  DUPLICATE_CERTIFICATE: ['IST0138', 'GatewayDuplicateCertificate', 'Warning'],
  APPLICATION_UID: ['IST0144', 'InvalidApplicationUID', 'Warning'],
  CONFLICTING_GATEWAYS: ['IST0145', 'ConflictingGateways', 'Error'],
  WEBHOOK: ['IST0139', 'InvalidWebhook', 'Error'],
  INGRESS_RULES: ['IST0140', 'IngressRouteRulesNotAffected', 'Warning'],
  IMAGE_AUTO: ['IST0146', 'ImageAutoWithoutInjectionWarning', 'Warning'],
  IMAGE_AUTO_POD: ['IST0147', 'ImageAutoWithoutInjectionError', 'Error'],
  INJECTED_BY_DEFAULT: ['IST0148', 'NamespaceInjectionEnabledByDefault', 'Info'],
  CLAIMS: ['IST0149', 'JwtClaimBasedRoutingWithoutRequestAuthN', 'Error'],
  FILTER_RELATIVE_VERSION: ['IST0155', 'EnvoyFilterUsesRelativeOperationWithProxyVersion', 'Warning'],
  TELEMETRY_PROVIDER: ['IST0157', 'InvalidTelemetryProvider', 'Warning'],
  PROXY_IMAGES: ['IST0158', 'PodsIstioProxyImageMismatchInNamespace', 'Warning'],
  CONFLICTING_TELEMETRIES: ['IST0159', 'ConflictingTelemetryWorkloadSelectors', 'Error'],
  MULTIPLE_TELEMETRIES: ['IST0160', 'MultipleTelemetriesWithoutWorkloadSelectors', 'Error'],
  INTERNAL_GATEWAY: ['IST0165', 'ReferencedInternalGateway', 'Warning'],
  INEFFECTIVE_SELECTOR: ['IST0166', 'IneffectiveSelector', 'Warning'],
  NEGATIVE_CONDITION: ['IST0171', 'NegativeConditionStatus', 'Warning'],
  EXTERNAL_NAME_PORT: ['IST0150', 'ExternalNameServiceTypeInvalidPortName', 'Warning'],
  FILTER_RELATIVE: ['IST0151', 'EnvoyFilterUsesRelativeOperation', 'Warning'],
  FILTER_REPLACE: ['IST0152', 'EnvoyFilterUsesReplaceOperationIncorrectly', 'Error'],
  FILTER_ADD: ['IST0153', 'EnvoyFilterUsesAddOperationIncorrectly', 'Error'],
  FILTER_REMOVE: ['IST0154', 'EnvoyFilterUsesRemoveOperationIncorrectly', 'Error'],
  CREDENTIAL: ['IST0161', 'InvalidGatewayCredential', 'Error'],
  GATEWAY_PORT: ['IST0162', 'GatewayPortNotDefinedOnService', 'Warning'],
  EXTERNAL_INVALID: ['IST0163', 'InvalidExternalControlPlaneConfig', 'Warning'],
  EXTERNAL_ADDRESS: ['IST0164', 'ExternalControlPlaneAddressIsNotAHostname', 'Info'],
  INEFFECTIVE_POLICY: ['IST0167', 'IneffectivePolicy', 'Warning'],
  SUBSET_WITHOUT_PODS: ['IST0173', 'DestinationRuleSubsetNotSelectPods', 'Error'],
  UNKNOWN_RULE_HOST: ['IST0174', 'UnknownDestinationRuleHost', 'Warning'],
  JWKS_FETCHES: ['IST0175', 'JwksUriFetchUnrestricted', 'Warning'],
  OLD_DEFINITION: ['IST0176', 'GatewayAPICRDVersionBelowMinimum', 'Warning'],
  ENTRY_PROTOCOLS: ['IST0177', 'ConflictingServiceEntryProtocol', 'Warning'],
  /** Ours: what of an EnvoyFilter this data plane does not do. */
  FILTER_UNSUPPORTED: ['SMP0001', 'EnvoyFilterNotSupported', 'Error'],
} as const

export type MessageId = keyof typeof TABLE

/** A message's code, name and level. */
export function messageType(id: MessageId): { code: string; name: string; level: Level } {
  const [code, name, level] = TABLE[id]
  return { code, name, level }
}
