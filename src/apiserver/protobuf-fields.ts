// Field numbers of messages that set-up does not find in kubectl: kinds of servers beside it, and newer ones.
// (Those of kinds that kubectl may know in part: protobuf-newer-fields.ts.)
// Source: the generated.proto files of k8s.io/api, k8s.io/apiextensions-apiserver and k8s.io/kube-aggregator.

import { NEWER_FIELDS } from './protobuf-newer-fields.ts'

type FieldEntry = readonly [number: number, type: string, shape?: 'many' | 'map']

/** Messages of other packages that these refer to. */
const OUTSIDE: Readonly<Record<string, string>> = {
  ObjectMeta: 'k8s.io.apimachinery.pkg.apis.meta.v1.ObjectMeta',
  ListMeta: 'k8s.io.apimachinery.pkg.apis.meta.v1.ListMeta',
  Condition: 'k8s.io.apimachinery.pkg.apis.meta.v1.Condition',
  Time: 'k8s.io.apimachinery.pkg.apis.meta.v1.Time',
  Quantity: 'k8s.io.apimachinery.pkg.api.resource.Quantity',
  RawExtension: 'k8s.io.apimachinery.pkg.runtime.RawExtension',
  NodeSelector: 'k8s.io.api.core.v1.NodeSelector',
  LabelSelector: 'k8s.io.apimachinery.pkg.apis.meta.v1.LabelSelector',
  MicroTime: 'k8s.io.apimachinery.pkg.apis.meta.v1.MicroTime',
  IntOrString: 'k8s.io.apimachinery.pkg.util.intstr.IntOrString',
  ObjectReference: 'k8s.io.api.core.v1.ObjectReference',
  PodTemplateSpec: 'k8s.io.api.core.v1.PodTemplateSpec',
}

const SCALARS = new Set(['bool', 'bytes', 'double', 'int32', 'int64'])

/**
 * By package, a message a line: "Name: field number type ...". Without a type a field is a string; "[]" stands
 * behind a list, "{}" behind a map; a name with dots is one of another package.
 */
const PACKAGES: Readonly<Record<string, string>> = {
  'k8s.io.api.apiregistration.v1': `
    APIService: metadata 1 ObjectMeta, spec 2 APIServiceSpec, status 3 APIServiceStatus
    APIServiceSpec: service 1 ServiceReference, group 2, version 3, insecureSkipTLSVerify 4 bool, caBundle 5 bytes, groupPriorityMinimum 7 int32, versionPriority 8 int32
    APIServiceStatus: conditions 1 APIServiceCondition[]
    APIServiceCondition: type 1, status 2, lastTransitionTime 3 Time, reason 4, message 5
    ServiceReference: namespace 1, name 2, port 3 int32`,
  'k8s.io.api.apiextensions.v1': `
    CustomResourceDefinition: metadata 1 ObjectMeta, spec 2 CustomResourceDefinitionSpec, status 3 CustomResourceDefinitionStatus
    CustomResourceDefinitionSpec: group 1, names 3 CustomResourceDefinitionNames, scope 4, versions 7 CustomResourceDefinitionVersion[], conversion 9 CustomResourceConversion, preserveUnknownFields 10 bool
    CustomResourceDefinitionNames: plural 1, singular 2, shortNames 3 [], kind 4, listKind 5, categories 6 []
    CustomResourceDefinitionStatus: conditions 1 CustomResourceDefinitionCondition[], acceptedNames 2 CustomResourceDefinitionNames, storedVersions 3 [], observedGeneration 4 int64
    CustomResourceDefinitionCondition: type 1, status 2, lastTransitionTime 3 Time, reason 4, message 5, observedGeneration 6 int64
    CustomResourceDefinitionVersion: name 1, served 2 bool, storage 3 bool, schema 4 CustomResourceValidation, subresources 5 CustomResourceSubresources, additionalPrinterColumns 6 CustomResourceColumnDefinition[], deprecated 7 bool, deprecationWarning 8, selectableFields 9 SelectableField[]
    SelectableField: jsonPath 1
    CustomResourceColumnDefinition: name 1, type 2, format 3, description 4, priority 5 int32, jsonPath 6
    CustomResourceSubresources: status 1 CustomResourceSubresourceStatus, scale 2 CustomResourceSubresourceScale
    CustomResourceSubresourceStatus:
    CustomResourceSubresourceScale: specReplicasPath 1, statusReplicasPath 2, labelSelectorPath 3
    CustomResourceConversion: strategy 1, webhook 2 WebhookConversion
    WebhookConversion: clientConfig 2 WebhookClientConfig, conversionReviewVersions 3 []
    WebhookClientConfig: service 1 ServiceReference, caBundle 2 bytes, url 3
    ServiceReference: namespace 1, name 2, path 3, port 4 int32
    CustomResourceValidation: openAPIV3Schema 1 JSONSchemaProps
    ExternalDocumentation: description 1, url 2
    JSON: raw 1 bytes
    JSONSchemaPropsOrArray: schema 1 JSONSchemaProps, jSONSchemas 2 JSONSchemaProps[]
    JSONSchemaPropsOrBool: allows 1 bool, schema 2 JSONSchemaProps
    JSONSchemaPropsOrStringArray: schema 1 JSONSchemaProps, property 2 []
    ValidationRule: rule 1, message 2, messageExpression 3, reason 4, fieldPath 5, optionalOldSelf 6 bool
    JSONSchemaProps: id 1, schema 2, ref 3, description 4, type 5, format 6, title 7, default 8 JSON, maximum 9 double, exclusiveMaximum 10 bool, minimum 11 double, exclusiveMinimum 12 bool, maxLength 13 int64, minLength 14 int64, pattern 15, maxItems 16 int64, minItems 17 int64, uniqueItems 18 bool, multipleOf 19 double, enum 20 JSON[], maxProperties 21 int64, minProperties 22 int64, required 23 [], items 24 JSONSchemaPropsOrArray, allOf 25 JSONSchemaProps[], oneOf 26 JSONSchemaProps[], anyOf 27 JSONSchemaProps[], not 28 JSONSchemaProps, properties 29 JSONSchemaProps{}, additionalProperties 30 JSONSchemaPropsOrBool, patternProperties 31 JSONSchemaProps{}, dependencies 32 JSONSchemaPropsOrStringArray{}, additionalItems 33 JSONSchemaPropsOrBool, definitions 34 JSONSchemaProps{}, externalDocs 35 ExternalDocumentation, example 36 JSON, nullable 37 bool, xKubernetesPreserveUnknownFields 38 bool, xKubernetesEmbeddedResource 39 bool, xKubernetesIntOrString 40 bool, xKubernetesListMapKeys 41 [], xKubernetesListType 42, xKubernetesMapType 43, xKubernetesValidations 44 ValidationRule[]`,
  'k8s.io.api.networking.v1': `
    IPAddress: metadata 1 ObjectMeta, spec 2 IPAddressSpec
    IPAddressSpec: parentRef 1 ParentReference
    ParentReference: group 1, resource 2, namespace 3, name 4
    ServiceCIDR: metadata 1 ObjectMeta, spec 2 ServiceCIDRSpec, status 3 ServiceCIDRStatus
    ServiceCIDRSpec: cidrs 1 []
    ServiceCIDRStatus: conditions 1 Condition[]`,
  'k8s.io.api.storage.v1': `
    VolumeAttributesClass: metadata 1 ObjectMeta, driverName 2, parameters 3 {}`,
  'k8s.io.api.admissionregistration.v1': `
    MutatingAdmissionPolicy: metadata 1 ObjectMeta, spec 2 MutatingAdmissionPolicySpec
    MutatingAdmissionPolicySpec: paramKind 1 ParamKind, matchConstraints 2 MatchResources, variables 3 Variable[], mutations 4 Mutation[], failurePolicy 5, matchConditions 6 MatchCondition[], reinvocationPolicy 7
    Mutation: patchType 2, applyConfiguration 3 ApplyConfiguration, jsonPatch 4 JSONPatch
    ApplyConfiguration: expression 1
    JSONPatch: expression 1
    MutatingAdmissionPolicyBinding: metadata 1 ObjectMeta, spec 2 MutatingAdmissionPolicyBindingSpec
    MutatingAdmissionPolicyBindingSpec: policyName 1, paramRef 2 ParamRef, matchResources 3 MatchResources`,
  'k8s.io.api.resource.v1': `
    DeviceClass: metadata 1 ObjectMeta, spec 2 DeviceClassSpec
    DeviceClassSpec: selectors 1 DeviceSelector[], config 2 DeviceClassConfiguration[], extendedResourceName 4
    DeviceClassConfiguration: deviceConfiguration 1 DeviceConfiguration
    DeviceConfiguration: opaque 1 OpaqueDeviceConfiguration
    OpaqueDeviceConfiguration: driver 1, parameters 2 RawExtension
    DeviceSelector: cel 1 CELDeviceSelector
    CELDeviceSelector: expression 1
    ResourceClaim: metadata 1 ObjectMeta, spec 2 ResourceClaimSpec, status 3 ResourceClaimStatus
    ResourceClaimTemplate: metadata 1 ObjectMeta, spec 2 ResourceClaimTemplateSpec
    ResourceClaimTemplateSpec: metadata 1 ObjectMeta, spec 2 ResourceClaimSpec
    ResourceClaimSpec: devices 1 DeviceClaim
    DeviceClaim: requests 1 DeviceRequest[], constraints 2 DeviceConstraint[], config 3 DeviceClaimConfiguration[]
    DeviceRequest: name 1, exactly 2 ExactDeviceRequest, firstAvailable 3 DeviceSubRequest[]
    ExactDeviceRequest: deviceClassName 1, selectors 2 DeviceSelector[], allocationMode 3, count 4 int64, adminAccess 5 bool, tolerations 6 DeviceToleration[], capacity 7 CapacityRequirements
    DeviceSubRequest: name 1, deviceClassName 2, selectors 3 DeviceSelector[], allocationMode 4, count 5 int64, tolerations 6 DeviceToleration[], capacity 7 CapacityRequirements
    CapacityRequirements: requests 1 Quantity{}
    DeviceToleration: key 1, operator 2, value 3, effect 4, tolerationSeconds 5 int64
    DeviceConstraint: requests 1 [], matchAttribute 2, distinctAttribute 3
    DeviceClaimConfiguration: requests 1 [], deviceConfiguration 2 DeviceConfiguration
    ResourceClaimStatus: allocation 1 AllocationResult, reservedFor 2 ResourceClaimConsumerReference[], devices 4 AllocatedDeviceStatus[]
    ResourceClaimConsumerReference: apiGroup 1, resource 3, name 4, uid 5
    AllocationResult: devices 1 DeviceAllocationResult, nodeSelector 3 NodeSelector, allocationTimestamp 5 Time
    DeviceAllocationResult: results 1 DeviceRequestAllocationResult[], config 2 DeviceAllocationConfiguration[]
    DeviceAllocationConfiguration: source 1, requests 2 [], deviceConfiguration 3 DeviceConfiguration
    DeviceRequestAllocationResult: request 1, driver 2, pool 3, device 4, adminAccess 5 bool, tolerations 6 DeviceToleration[], bindingConditions 7 [], bindingFailureConditions 8 [], shareID 9, consumedCapacity 10 Quantity{}
    AllocatedDeviceStatus: driver 1, pool 2, device 3, conditions 4 Condition[], data 5 RawExtension, networkData 6 NetworkDeviceData, shareID 7
    NetworkDeviceData: interfaceName 1, ips 2 [], hardwareAddress 3
    ResourceSlice: metadata 1 ObjectMeta, spec 2 ResourceSliceSpec
    ResourceSliceSpec: driver 1, pool 2 ResourcePool, nodeName 3, nodeSelector 4 NodeSelector, allNodes 5 bool, devices 6 Device[], perDeviceNodeSelection 7 bool, sharedCounters 8 CounterSet[]
    ResourcePool: name 1, generation 2 int64, resourceSliceCount 3 int64
    Device: name 1, attributes 2 DeviceAttribute{}, capacity 3 DeviceCapacity{}, consumesCounters 4 DeviceCounterConsumption[], nodeName 5, nodeSelector 6 NodeSelector, allNodes 7 bool, taints 8 DeviceTaint[], bindsToNode 9 bool, bindingConditions 10 [], bindingFailureConditions 11 [], allowMultipleAllocations 12 bool
    DeviceAttribute: int 2 int64, bool 3 bool, string 4, version 5
    DeviceCapacity: value 1 Quantity, requestPolicy 2 CapacityRequestPolicy
    CapacityRequestPolicy: default 1 Quantity, validValues 3 Quantity[], validRange 4 CapacityRequestPolicyRange
    CapacityRequestPolicyRange: min 1 Quantity, max 2 Quantity, step 3 Quantity
    DeviceTaint: key 1, value 2, effect 3, timeAdded 4 Time
    DeviceCounterConsumption: counterSet 1, counters 2 Counter{}
    CounterSet: name 1, counters 2 Counter{}
    Counter: value 1 Quantity`,
}

/** The same as entries by message. */
export function knownMessages(): Record<string, Record<string, FieldEntry>> {
  const table: Record<string, Record<string, FieldEntry>> = {}
  for (const [prefix, text] of [...Object.entries(PACKAGES), ...Object.entries(NEWER_FIELDS)])
    for (const line of text.trim().split('\n')) {
      const [name = '', list = ''] = line.trim().split(/:\s*/)
      const fields: Record<string, FieldEntry> = {}
      for (const part of list.split(', ').filter(Boolean)) {
        const [field = '', number = '', ref = ''] = part.split(' ')
        const shape = ref.endsWith('[]') ? 'many' : ref.endsWith('{}') ? 'map' : undefined
        const bare = shape ? ref.slice(0, -2) : ref
        const type =
          bare === ''
            ? 'string'
            : SCALARS.has(bare) || bare.includes('.')
              ? bare
              : (OUTSIDE[bare] ?? `${prefix}.${bare}`)
        fields[field] = shape ? [Number(number), type, shape] : [Number(number), type]
      }
      table[`${prefix}.${name}`] = { ...table[`${prefix}.${name}`], ...fields }
      // Kinds come in lists too.
      if (fields.metadata?.[1] === OUTSIDE.ObjectMeta)
        table[`${prefix}.${name}List`] = {
          metadata: [1, OUTSIDE.ListMeta!],
          items: [2, `${prefix}.${name}`, 'many'],
        }
    }
  return table
}
