// Field numbers that came after Kubernetes 1.20, whose kubectl Debian 12 has: of messages it does not know, and of
// those it does. Stable versions only. Source: the generated.proto files of k8s.io/api and k8s.io/apimachinery.

/** By package, as in protobuf-fields.ts. */
export const NEWER_FIELDS: Readonly<Record<string, string>> = {
  'k8s.io.api.admissionregistration.v1': `
    AuditAnnotation: key 1, valueExpression 2
    ExpressionWarning: fieldRef 2, warning 3
    MatchCondition: name 1, expression 2
    MatchResources: namespaceSelector 1 LabelSelector, objectSelector 2 LabelSelector, resourceRules 3 NamedRuleWithOperations[], excludeResourceRules 4 NamedRuleWithOperations[], matchPolicy 7
    MutatingWebhook: matchConditions 12 MatchCondition[]
    NamedRuleWithOperations: resourceNames 1 [], ruleWithOperations 2 RuleWithOperations
    ParamKind: apiVersion 1, kind 2
    ParamRef: name 1, namespace 2, selector 3 LabelSelector, parameterNotFoundAction 4
    TypeChecking: expressionWarnings 1 ExpressionWarning[]
    ValidatingAdmissionPolicy: metadata 1 ObjectMeta, spec 2 ValidatingAdmissionPolicySpec, status 3 ValidatingAdmissionPolicyStatus
    ValidatingAdmissionPolicyBinding: metadata 1 ObjectMeta, spec 2 ValidatingAdmissionPolicyBindingSpec
    ValidatingAdmissionPolicyBindingSpec: policyName 1, paramRef 2 ParamRef, matchResources 3 MatchResources, validationActions 4 []
    ValidatingAdmissionPolicySpec: paramKind 1 ParamKind, matchConstraints 2 MatchResources, validations 3 Validation[], failurePolicy 4, auditAnnotations 5 AuditAnnotation[], matchConditions 6 MatchCondition[], variables 7 Variable[]
    ValidatingAdmissionPolicyStatus: observedGeneration 1 int64, typeChecking 2 TypeChecking, conditions 3 Condition[]
    ValidatingWebhook: matchConditions 11 MatchCondition[]
    Validation: Expression 1, message 2, reason 3, messageExpression 4
    Variable: Name 1, Expression 2`,
  'k8s.io.api.apps.v1': `
    RollingUpdateDaemonSet: maxSurge 2 IntOrString
    RollingUpdateStatefulSetStrategy: maxUnavailable 2 IntOrString
    StatefulSetOrdinals: start 1 int32
    StatefulSetPersistentVolumeClaimRetentionPolicy: whenDeleted 1, whenScaled 2
    StatefulSetSpec: minReadySeconds 9 int32, persistentVolumeClaimRetentionPolicy 10 StatefulSetPersistentVolumeClaimRetentionPolicy, ordinals 11 StatefulSetOrdinals
    StatefulSetStatus: availableReplicas 11 int32`,
  'k8s.io.api.authentication.v1': `
    BoundObjectReference: apiVersion 2
    SelfSubjectReview: metadata 1 ObjectMeta, status 2 SelfSubjectReviewStatus
    SelfSubjectReviewStatus: userInfo 1 UserInfo`,
  'k8s.io.api.authorization.v1': `
    FieldSelectorAttributes: rawSelector 1, requirements 2 k8s.io.apimachinery.pkg.apis.meta.v1.FieldSelectorRequirement[]
    LabelSelectorAttributes: rawSelector 1, requirements 2 k8s.io.apimachinery.pkg.apis.meta.v1.LabelSelectorRequirement[]
    ResourceAttributes: fieldSelector 8 FieldSelectorAttributes, labelSelector 9 LabelSelectorAttributes`,
  'k8s.io.api.autoscaling.v2': `
    ContainerResourceMetricSource: name 1, target 2 MetricTarget, container 3
    ContainerResourceMetricStatus: name 1, current 2 MetricValueStatus, container 3
    CrossVersionObjectReference: kind 1, name 2, apiVersion 3
    ExternalMetricSource: metric 1 MetricIdentifier, target 2 MetricTarget
    ExternalMetricStatus: metric 1 MetricIdentifier, current 2 MetricValueStatus
    HPAScalingPolicy: type 1, value 2 int32, periodSeconds 3 int32
    HPAScalingRules: stabilizationWindowSeconds 3 int32, selectPolicy 1, policies 2 HPAScalingPolicy[]
    HorizontalPodAutoscaler: metadata 1 ObjectMeta, spec 2 HorizontalPodAutoscalerSpec, status 3 HorizontalPodAutoscalerStatus
    HorizontalPodAutoscalerBehavior: scaleUp 1 HPAScalingRules, scaleDown 2 HPAScalingRules
    HorizontalPodAutoscalerCondition: type 1, status 2, lastTransitionTime 3 Time, reason 4, message 5
    HorizontalPodAutoscalerSpec: scaleTargetRef 1 CrossVersionObjectReference, minReplicas 2 int32, maxReplicas 3 int32, metrics 4 MetricSpec[], behavior 5 HorizontalPodAutoscalerBehavior
    HorizontalPodAutoscalerStatus: observedGeneration 1 int64, lastScaleTime 2 Time, currentReplicas 3 int32, desiredReplicas 4 int32, currentMetrics 5 MetricStatus[], conditions 6 HorizontalPodAutoscalerCondition[]
    MetricIdentifier: name 1, selector 2 LabelSelector
    MetricSpec: type 1, object 2 ObjectMetricSource, pods 3 PodsMetricSource, resource 4 ResourceMetricSource, containerResource 7 ContainerResourceMetricSource, external 5 ExternalMetricSource
    MetricStatus: type 1, object 2 ObjectMetricStatus, pods 3 PodsMetricStatus, resource 4 ResourceMetricStatus, containerResource 7 ContainerResourceMetricStatus, external 5 ExternalMetricStatus
    MetricTarget: type 1, value 2 Quantity, averageValue 3 Quantity, averageUtilization 4 int32
    MetricValueStatus: value 1 Quantity, averageValue 2 Quantity, averageUtilization 3 int32
    ObjectMetricSource: describedObject 1 CrossVersionObjectReference, target 2 MetricTarget, metric 3 MetricIdentifier
    ObjectMetricStatus: metric 1 MetricIdentifier, current 2 MetricValueStatus, describedObject 3 CrossVersionObjectReference
    PodsMetricSource: metric 1 MetricIdentifier, target 2 MetricTarget
    PodsMetricStatus: metric 1 MetricIdentifier, current 2 MetricValueStatus
    ResourceMetricSource: name 1, target 2 MetricTarget
    ResourceMetricStatus: name 1, current 2 MetricValueStatus`,
  'k8s.io.api.batch.v1': `
    CronJob: metadata 1 ObjectMeta, spec 2 CronJobSpec, status 3 CronJobStatus
    CronJobSpec: schedule 1, timeZone 8, startingDeadlineSeconds 2 int64, concurrencyPolicy 3, suspend 4 bool, jobTemplate 5 JobTemplateSpec, successfulJobsHistoryLimit 6 int32, failedJobsHistoryLimit 7 int32
    CronJobStatus: active 1 ObjectReference[], lastScheduleTime 4 Time, lastSuccessfulTime 5 Time
    JobSpec: podFailurePolicy 11 PodFailurePolicy, successPolicy 16 SuccessPolicy, backoffLimitPerIndex 12 int32, maxFailedIndexes 13 int32, completionMode 9, suspend 10 bool, podReplacementPolicy 14, managedBy 15
    JobStatus: terminating 11 int32, completedIndexes 7, failedIndexes 10, uncountedTerminatedPods 8 UncountedTerminatedPods, ready 9 int32
    JobTemplateSpec: metadata 1 ObjectMeta, spec 2 JobSpec
    PodFailurePolicy: rules 1 PodFailurePolicyRule[]
    PodFailurePolicyOnExitCodesRequirement: containerName 1, operator 2, values 3 int32[]
    PodFailurePolicyOnPodConditionsPattern: type 1, status 2
    PodFailurePolicyRule: action 1, onExitCodes 2 PodFailurePolicyOnExitCodesRequirement, onPodConditions 3 PodFailurePolicyOnPodConditionsPattern[]
    SuccessPolicy: rules 1 SuccessPolicyRule[]
    SuccessPolicyRule: succeededIndexes 1, succeededCount 2 int32
    UncountedTerminatedPods: succeeded 1 [], failed 2 []`,
  'k8s.io.api.certificates.v1': `
    CertificateSigningRequestSpec: expirationSeconds 8 int32`,
  'k8s.io.api.coordination.v1': `
    LeaseSpec: strategy 6, preferredHolder 7`,
  'k8s.io.api.core.v1': `
    AppArmorProfile: type 1, localhostProfile 2
    CSIPersistentVolumeSource: nodeExpandSecretRef 10 SecretReference
    ClusterTrustBundleProjection: name 1, signerName 2, labelSelector 3 LabelSelector, optional 5 bool, path 4
    Container: resizePolicy 23 ContainerResizePolicy[], restartPolicy 24
    ContainerResizePolicy: resourceName 1, restartPolicy 2
    ContainerStatus: allocatedResources 10 Quantity{}, resources 11 ResourceRequirements, volumeMounts 12 VolumeMountStatus[], user 13 ContainerUser, allocatedResourcesStatus 14 ResourceStatus[]
    ContainerUser: linux 1 LinuxContainerUser
    EphemeralContainerCommon: resizePolicy 23 ContainerResizePolicy[], restartPolicy 24
    GRPCAction: port 1 int32, service 2
    HostIP: ip 1
    ImageVolumeSource: reference 1, pullPolicy 2
    LifecycleHandler: exec 1 ExecAction, httpGet 2 HTTPGetAction, tcpSocket 3 TCPSocketAction, sleep 4 SleepAction
    LinuxContainerUser: uid 1 int64, gid 2 int64, supplementalGroups 3 int64[]
    LoadBalancerIngress: ipMode 3
    ModifyVolumeStatus: targetVolumeAttributesClassName 1, status 2
    NodeFeatures: supplementalGroupsPolicy 1 bool
    NodeRuntimeHandler: name 1, features 2 NodeRuntimeHandlerFeatures
    NodeRuntimeHandlerFeatures: recursiveReadOnlyMounts 1 bool, userNamespaces 2 bool
    NodeStatus: runtimeHandlers 12 NodeRuntimeHandler[], features 13 NodeFeatures
    PersistentVolumeClaimSpec: dataSourceRef 8 TypedObjectReference, volumeAttributesClassName 9
    PersistentVolumeClaimStatus: allocatedResources 5 Quantity{}, allocatedResourceStatuses 7 {}, currentVolumeAttributesClassName 8, modifyVolumeStatus 9 ModifyVolumeStatus
    PersistentVolumeSpec: volumeAttributesClassName 10
    PersistentVolumeStatus: lastPhaseTransitionTime 4 Time
    PodAffinityTerm: namespaceSelector 4 LabelSelector, matchLabelKeys 5 [], mismatchLabelKeys 6 []
    PodLogOptions: stream 10
    PodOS: name 1
    PodResourceClaim: name 1, resourceClaimName 3, resourceClaimTemplateName 4
    PodResourceClaimStatus: name 1, resourceClaimName 2
    PodSchedulingGate: name 1
    PodSecurityContext: supplementalGroupsPolicy 12, appArmorProfile 11 AppArmorProfile, seLinuxChangePolicy 13
    PodSpec: os 36 PodOS, hostUsers 37 bool, schedulingGates 38 PodSchedulingGate[], resourceClaims 39 PodResourceClaim[], resources 40 ResourceRequirements
    PodStatus: hostIPs 16 HostIP[], resize 14, resourceClaimStatuses 15 PodResourceClaimStatus[]
    Probe: terminationGracePeriodSeconds 7 int64
    ProbeHandler: exec 1 ExecAction, httpGet 2 HTTPGetAction, tcpSocket 3 TCPSocketAction, grpc 4 GRPCAction
    ResourceClaim: name 1, request 2
    ResourceHealth: resourceID 1, health 2
    ResourceRequirements: claims 3 ResourceClaim[]
    ResourceStatus: name 1, resources 2 ResourceHealth[]
    SecurityContext: appArmorProfile 12 AppArmorProfile
    ServiceSpec: loadBalancerClass 21, internalTrafficPolicy 22, trafficDistribution 23
    SleepAction: seconds 1 int64
    TopologySpreadConstraint: minDomains 5 int32, nodeAffinityPolicy 6, nodeTaintsPolicy 7, matchLabelKeys 8 []
    TypedObjectReference: apiGroup 1, kind 2, name 3, namespace 4
    VolumeMount: recursiveReadOnly 7
    VolumeMountStatus: name 1, mountPath 2, readOnly 3 bool, recursiveReadOnly 4
    VolumeProjection: clusterTrustBundle 5 ClusterTrustBundleProjection
    VolumeResourceRequirements: limits 1 Quantity{}, requests 2 Quantity{}
    VolumeSource: image 30 ImageVolumeSource
    WindowsSecurityContextOptions: hostProcess 4 bool`,
  'k8s.io.api.discovery.v1': `
    Endpoint: addresses 1 [], conditions 2 EndpointConditions, hostname 3, targetRef 4 ObjectReference, deprecatedTopology 5 {}, nodeName 6, zone 7, hints 8 EndpointHints
    EndpointConditions: ready 1 bool, serving 2 bool, terminating 3 bool
    EndpointHints: forZones 1 ForZone[]
    EndpointPort: name 1, protocol 2, port 3 int32, appProtocol 4
    EndpointSlice: metadata 1 ObjectMeta, addressType 4, endpoints 2 Endpoint[], ports 3 EndpointPort[]
    ForZone: name 1`,
  'k8s.io.api.flowcontrol.v1': `
    ExemptPriorityLevelConfiguration: nominalConcurrencyShares 1 int32, lendablePercent 2 int32
    FlowDistinguisherMethod: type 1
    FlowSchema: metadata 1 ObjectMeta, spec 2 FlowSchemaSpec, status 3 FlowSchemaStatus
    FlowSchemaCondition: type 1, status 2, lastTransitionTime 3 Time, reason 4, message 5
    FlowSchemaSpec: priorityLevelConfiguration 1 PriorityLevelConfigurationReference, matchingPrecedence 2 int32, distinguisherMethod 3 FlowDistinguisherMethod, rules 4 PolicyRulesWithSubjects[]
    FlowSchemaStatus: conditions 1 FlowSchemaCondition[]
    GroupSubject: name 1
    LimitResponse: type 1, queuing 2 QueuingConfiguration
    LimitedPriorityLevelConfiguration: nominalConcurrencyShares 1 int32, limitResponse 2 LimitResponse, lendablePercent 3 int32, borrowingLimitPercent 4 int32
    NonResourcePolicyRule: verbs 1 [], nonResourceURLs 6 []
    PolicyRulesWithSubjects: subjects 1 Subject[], resourceRules 2 ResourcePolicyRule[], nonResourceRules 3 NonResourcePolicyRule[]
    PriorityLevelConfiguration: metadata 1 ObjectMeta, spec 2 PriorityLevelConfigurationSpec, status 3 PriorityLevelConfigurationStatus
    PriorityLevelConfigurationCondition: type 1, status 2, lastTransitionTime 3 Time, reason 4, message 5
    PriorityLevelConfigurationReference: name 1
    PriorityLevelConfigurationSpec: type 1, limited 2 LimitedPriorityLevelConfiguration, exempt 3 ExemptPriorityLevelConfiguration
    PriorityLevelConfigurationStatus: conditions 1 PriorityLevelConfigurationCondition[]
    QueuingConfiguration: queues 1 int32, handSize 2 int32, queueLengthLimit 3 int32
    ResourcePolicyRule: verbs 1 [], apiGroups 2 [], resources 3 [], clusterScope 4 bool, namespaces 5 []
    ServiceAccountSubject: namespace 1, name 2
    Subject: kind 1, user 2 UserSubject, group 3 GroupSubject, serviceAccount 4 ServiceAccountSubject
    UserSubject: name 1`,
  'k8s.io.api.networking.v1': `
    IngressClassParametersReference: aPIGroup 1, kind 2, name 3, scope 4, namespace 5
    IngressLoadBalancerIngress: ip 1, hostname 2, ports 4 IngressPortStatus[]
    IngressLoadBalancerStatus: ingress 1 IngressLoadBalancerIngress[]
    IngressPortStatus: port 1 int32, protocol 2, error 3
    NetworkPolicyPort: endPort 3 int32`,
  'k8s.io.api.policy.v1': `
    Eviction: metadata 1 ObjectMeta, deleteOptions 2 k8s.io.apimachinery.pkg.apis.meta.v1.DeleteOptions
    PodDisruptionBudget: metadata 1 ObjectMeta, spec 2 PodDisruptionBudgetSpec, status 3 PodDisruptionBudgetStatus
    PodDisruptionBudgetSpec: minAvailable 1 IntOrString, selector 2 LabelSelector, maxUnavailable 3 IntOrString, unhealthyPodEvictionPolicy 4
    PodDisruptionBudgetStatus: observedGeneration 1 int64, disruptedPods 2 Time{}, disruptionsAllowed 3 int32, currentHealthy 4 int32, desiredHealthy 5 int32, expectedPods 6 int32, conditions 7 Condition[]`,
  'k8s.io.api.storage.v1': `
    CSIDriverSpec: seLinuxMount 8 bool
    CSIStorageCapacity: metadata 1 ObjectMeta, nodeTopology 2 LabelSelector, storageClassName 3, capacity 4 Quantity, maximumVolumeSize 5 Quantity`,
  'k8s.io.apimachinery.pkg.apis.meta.v1': `
    ApplyOptions: dryRun 1 [], force 2 bool, fieldManager 3
    CreateOptions: fieldValidation 4
    DeleteOptions: ignoreStoreReadErrorWithClusterBreakingPotential 6 bool
    FieldSelectorRequirement: key 1, operator 2, values 3 []
    ListOptions: sendInitialEvents 11 bool
    ManagedFieldsEntry: subresource 8
    PatchOptions: fieldValidation 4
    UpdateOptions: fieldValidation 3`,
}
