"""Python's client as Debian packages it, against a cluster: prints one line a step, fails with a traceback."""

import sys
import time

from kubernetes import client, config, dynamic, watch
from kubernetes.client.rest import ApiException
from kubernetes.stream import stream

config.load_kube_config(sys.argv[1])
core, apps, ext = client.CoreV1Api(), client.AppsV1Api(), client.ApiextensionsV1Api()
NAMESPACE = "python"


def step(text):
    print(text, flush=True)


core.create_namespace({"metadata": {"name": NAMESPACE}})
for _ in range(100):
    if core.list_namespaced_service_account(NAMESPACE).items:
        break
    time.sleep(0.05)

made = core.create_namespaced_config_map(NAMESPACE, {"metadata": {"name": "c"}, "data": {"a": "1"}})
assert made.metadata.uid
core.patch_namespaced_config_map("c", NAMESPACE, {"data": {"b": "2"}})
read = core.read_namespaced_config_map("c", NAMESPACE)
assert read.data == {"a": "1", "b": "2"}, read.data
read.data["a"] = "3"
core.replace_namespaced_config_map("c", NAMESPACE, read)
try:
    core.replace_namespaced_config_map("c", NAMESPACE, read)
    raise AssertionError("a stale write was taken")
except ApiException as e:
    assert e.status == 409, e
step("create, patch, read, replace, conflict")

seen = []
since = core.list_namespaced_config_map(NAMESPACE).metadata.resource_version
core.create_namespaced_config_map(NAMESPACE, {"metadata": {"name": "d"}})
core.delete_namespaced_config_map("d", NAMESPACE)
for event in watch.Watch().stream(
    core.list_namespaced_config_map, NAMESPACE, resource_version=since, timeout_seconds=10
):
    seen.append((event["type"], event["object"].metadata.name))
    if event["type"] == "DELETED":
        break
assert seen == [("ADDED", "d"), ("DELETED", "d")], seen
step("watch")

apps.create_namespaced_deployment(
    NAMESPACE,
    client.V1Deployment(
        metadata=client.V1ObjectMeta(name="web"),
        spec=client.V1DeploymentSpec(
            replicas=1,
            selector=client.V1LabelSelector(match_labels={"app": "web"}),
            template=client.V1PodTemplateSpec(
                metadata=client.V1ObjectMeta(labels={"app": "web"}),
                spec=client.V1PodSpec(
                    containers=[
                        client.V1Container(
                            name="c", image="busybox:1", command=["sh", "-c", "echo started; sleep 1000"]
                        )
                    ]
                ),
            ),
        ),
    ),
)
for event in watch.Watch().stream(apps.list_namespaced_deployment, NAMESPACE, timeout_seconds=60):
    if event["object"].status.ready_replicas == 1:
        break
else:
    raise AssertionError("the Deployment is not ready")
scale = apps.read_namespaced_deployment_scale("web", NAMESPACE)
assert scale.spec.replicas == 1
pod = core.list_namespaced_pod(NAMESPACE, label_selector="app=web").items[0].metadata.name
assert "started" in core.read_namespaced_pod_log(pod, NAMESPACE)
step("deployment, scale, log")

out = stream(
    core.connect_get_namespaced_pod_exec,
    pod,
    NAMESPACE,
    command=["sh", "-c", "echo out; echo err >&2"],
    stderr=True,
    stdin=False,
    stdout=True,
    tty=False,
)
assert "out" in out and "err" in out, out
step("exec")

name = "crontabs.stable.example.com"
schema = {"type": "object", "properties": {"spec": {"type": "object", "properties": {"every": {"type": "integer"}}}}}
ext.create_custom_resource_definition(
    {
        "apiVersion": "apiextensions.k8s.io/v1",
        "kind": "CustomResourceDefinition",
        "metadata": {"name": name},
        "spec": {
            "group": "stable.example.com",
            "scope": "Namespaced",
            "names": {"plural": "crontabs", "kind": "CronTab"},
            "versions": [
                {"name": "v1", "served": True, "storage": True, "schema": {"openAPIV3Schema": schema}}
            ],
        },
    }
)
for _ in range(100):
    conditions = ext.read_custom_resource_definition(name).status.conditions or []
    if any(c.type == "Established" and c.status == "True" for c in conditions):
        break
    time.sleep(0.05)
tabs = dynamic.DynamicClient(client.ApiClient()).resources.get(api_version="stable.example.com/v1", kind="CronTab")
tabs.create(
    body={"apiVersion": "stable.example.com/v1", "kind": "CronTab", "metadata": {"name": "t"}, "spec": {"every": 5}},
    namespace=NAMESPACE,
)
assert tabs.get(name="t", namespace=NAMESPACE).spec.every == 5
custom = client.CustomObjectsApi()
custom.patch_namespaced_custom_object("stable.example.com", "v1", NAMESPACE, "crontabs", "t", {"spec": {"every": 6}})
assert custom.get_namespaced_custom_object("stable.example.com", "v1", NAMESPACE, "crontabs", "t")["spec"]["every"] == 6
ext.delete_custom_resource_definition(name)
step("custom resources")

core.delete_namespace(NAMESPACE)
step("done")
