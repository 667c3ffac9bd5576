"""The Python client from PyPI against a running server: create, read, change, watch and delete, with the typed and the dynamic client
and every kind of patch, and its leader election. Prints a line per part; the first surprise ends it with an exception.

usage: client.py KUBECONFIG"""

import os
import sys
import threading

from kubernetes import client, config, dynamic, watch
from kubernetes.client.rest import ApiException
from kubernetes.leaderelection import electionconfig, leaderelection
from kubernetes.leaderelection.resourcelock.leaselock import LeaseLock

NAMESPACE = "python"
GROUP, VERSION, PLURAL = "example.com", "v1", "boats"


def refused(status, call, *arguments, **named):
    """The call has to fail with this status."""
    try:
        call(*arguments, **named)
    except (ApiException, dynamic.exceptions.DynamicApiError) as error:
        assert error.status == status, error
        return error
    raise AssertionError(f"{call} was not refused")


def part(function):
    print(function.__name__.replace("_", " "), flush=True)
    function()


def typed_objects():
    core = client.CoreV1Api()
    core.create_namespace(client.V1Namespace(metadata=client.V1ObjectMeta(name=NAMESPACE)))
    made = core.create_namespaced_config_map(NAMESPACE, client.V1ConfigMap(metadata=client.V1ObjectMeta(name="a"), data={"k": "v"}))
    assert made.metadata.uid and made.data == {"k": "v"}
    refused(409, core.create_namespaced_config_map, NAMESPACE, client.V1ConfigMap(metadata=client.V1ObjectMeta(name="a")))
    made.data["k"] = "w"
    changed = core.replace_namespaced_config_map("a", NAMESPACE, made)
    assert changed.metadata.resource_version != made.metadata.resource_version
    refused(409, core.replace_namespaced_config_map, "a", NAMESPACE, made)
    assert core.read_namespaced_config_map("a", NAMESPACE).data == {"k": "w"}
    generated = core.create_namespaced_secret(NAMESPACE, client.V1Secret(metadata=client.V1ObjectMeta(generate_name="s-"), string_data={"p": "q"}))
    assert generated.metadata.name.startswith("s-") and generated.data == {"p": "cQ=="}
    for at in range(5):
        meta = client.V1ObjectMeta(name=f"page-{at}", labels={"page": "yes"})
        core.create_namespaced_config_map(NAMESPACE, client.V1ConfigMap(metadata=meta))
    first = core.list_namespaced_config_map(NAMESPACE, limit=2, label_selector="page=yes")
    rest = core.list_namespaced_config_map(NAMESPACE, limit=9, label_selector="page=yes", _continue=first.metadata._continue)
    assert [it.metadata.name for it in first.items + rest.items] == [f"page-{at}" for at in range(5)]
    core.delete_collection_namespaced_config_map(NAMESPACE, label_selector="page=yes")
    assert [it.metadata.name for it in core.list_namespaced_config_map(NAMESPACE).items if it.metadata.name != "kube-root-ca.crt"] == ["a"]
    deleted = core.delete_namespaced_config_map("a", NAMESPACE)
    assert (deleted["status"] if isinstance(deleted, dict) else deleted.status) == "Success", deleted
    refused(404, core.read_namespaced_config_map, "a", NAMESPACE)


def workloads():
    apps = client.AppsV1Api()
    template = client.V1PodTemplateSpec(
        metadata=client.V1ObjectMeta(labels={"app": "web"}),
        spec=client.V1PodSpec(containers=[client.V1Container(name="c", image="registry.local/c:1")]),
    )
    spec = client.V1DeploymentSpec(replicas=2, selector=client.V1LabelSelector(match_labels={"app": "web"}), template=template)
    made = apps.create_namespaced_deployment(NAMESPACE, client.V1Deployment(metadata=client.V1ObjectMeta(name="web"), spec=spec))
    assert made.metadata.generation == 1 and made.spec.strategy.type == "RollingUpdate"
    scaled = apps.patch_namespaced_deployment_scale("web", NAMESPACE, {"spec": {"replicas": 5}})
    assert scaled.spec.replicas == 5
    # The controllers' annotations count, too.
    assert apps.read_namespaced_deployment("web", NAMESPACE).metadata.generation > made.metadata.generation
    status = apps.patch_namespaced_deployment_status("web", NAMESPACE, {"status": {"replicas": 5, "observedGeneration": 2}})
    assert status.status.replicas == 5 and status.spec.replicas == 5
    invalid = client.V1Deployment(metadata=client.V1ObjectMeta(name="Bad_Name"), spec=spec)
    refused(422, apps.create_namespaced_deployment, NAMESPACE, invalid)


def watching():
    core = client.CoreV1Api()
    start = core.list_namespaced_config_map(NAMESPACE).metadata.resource_version

    def write():
        meta = client.V1ObjectMeta(name="seen", labels={"seen": "yes"})
        core.create_namespaced_config_map(NAMESPACE, client.V1ConfigMap(metadata=meta))
        core.patch_namespaced_config_map("seen", NAMESPACE, {"data": {"k": "v"}})
        core.patch_namespaced_config_map("seen", NAMESPACE, {"metadata": {"labels": {"seen": "no"}}})
        core.delete_namespaced_config_map("seen", NAMESPACE)

    writer = threading.Thread(target=write)
    writer.start()
    events = []
    watcher = watch.Watch()
    for event in watcher.stream(core.list_namespaced_config_map, NAMESPACE, label_selector="seen=yes", resource_version=start, timeout_seconds=30):
        events.append(event["type"])
        if event["type"] == "DELETED":
            watcher.stop()
    writer.join()
    assert events == ["ADDED", "MODIFIED", "DELETED"], events


def watching_resumed():
    """A watch that broke off goes on after the last version that it has told, and tells nothing twice."""
    core = client.CoreV1Api()
    made = core.create_namespaced_config_map(NAMESPACE, client.V1ConfigMap(metadata=client.V1ObjectMeta(name="resumed"), data={"k": "0"}))
    for number in range(1, 6):
        core.patch_namespaced_config_map("resumed", NAMESPACE, {"data": {"k": str(number)}})
    seen, version = [], made.metadata.resource_version
    while len(seen) < 5:
        watcher = watch.Watch()
        stream = watcher.stream(
            core.list_namespaced_config_map, NAMESPACE, field_selector="metadata.name=resumed", resource_version=version,
            allow_watch_bookmarks=True, timeout_seconds=30,
        )
        for event in stream:
            version = event["object"].metadata.resource_version
            if event["type"] != "BOOKMARK":
                seen.append((event["type"], event["object"].data["k"]))
                # Each watch tells one event and is left.
                watcher.stop()
    assert seen == [("MODIFIED", str(it)) for it in range(1, 6)], seen
    # Everything that there is, and then the end of it, without a list before.
    told = []
    for event in watch.Watch().stream(
        core.list_namespaced_config_map, NAMESPACE, field_selector="metadata.name=resumed", send_initial_events=True,
        resource_version_match="NotOlderThan", allow_watch_bookmarks=True, timeout_seconds=2,
    ):
        told.append(event["type"])
    assert told[:2] == ["ADDED", "BOOKMARK"], told
    core.delete_namespaced_config_map("resumed", NAMESPACE)


def typed_patches():
    """Every kind of patch with the typed client."""
    core = client.CoreV1Api()
    core.create_namespaced_config_map(NAMESPACE, client.V1ConfigMap(metadata=client.V1ObjectMeta(name="t"), data={"a": "1", "b": "2"}))

    def patch(body, content_type, **named):
        return core.patch_namespaced_config_map("t", NAMESPACE, body, _content_type=content_type, **named).data

    assert patch([{"op": "replace", "path": "/data/a", "value": "2"}], "application/json-patch+json") == {"a": "2", "b": "2"}
    assert patch({"data": {"b": None}}, "application/merge-patch+json") == {"a": "2"}
    assert patch({"data": {"$patch": "replace", "c": "3"}}, "application/strategic-merge-patch+json") == {"c": "3"}
    apply = "application/apply-patch+yaml"
    whole = {"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "t"}, "data": {"d": "4"}}
    assert patch(whole, apply, field_manager="typed") == {"c": "3", "d": "4"}
    whole["data"] = {"e": "5"}
    # What it applied before and does not name any more is gone.
    assert patch(whole, apply, field_manager="typed") == {"c": "3", "e": "5"}
    whole["data"] = {"c": "mine"}
    conflict = refused(409, patch, whole, apply, field_manager="typed")
    assert "conflict" in conflict.body, conflict.body
    assert patch(whole, apply, field_manager="typed", force=True) == {"c": "mine"}
    assert patch({"data": {"f": "6"}}, "application/merge-patch+json", dry_run="All") == {"c": "mine", "f": "6"}
    assert core.read_namespaced_config_map("t", NAMESPACE).data == {"c": "mine"}
    core.delete_namespaced_config_map("t", NAMESPACE)


def leading():
    """The client's own leader election: one leads, stops when the lease is another's, and the next leads when that has run out."""
    coordination = client.CoordinationV1Api()

    def candidate(name):
        started, stopped = threading.Event(), threading.Event()
        lock = LeaseLock("leader", NAMESPACE, name)
        settings = electionconfig.Config(
            lock, lease_duration=4, renew_deadline=3, retry_period=1, onstarted_leading=started.set, onstopped_leading=stopped.set,
        )
        threading.Thread(target=leaderelection.LeaderElection(settings).run, daemon=True).start()
        return started, stopped

    started, stopped = candidate("first")
    assert started.wait(60), "nobody leads"
    lease = coordination.read_namespaced_lease("leader", NAMESPACE)
    assert lease.spec.holder_identity == "first" and lease.spec.lease_duration_seconds == 4, lease
    # The candidate may renew in between: the version decides.
    for _ in range(20):
        lease = coordination.read_namespaced_lease("leader", NAMESPACE)
        lease.spec.holder_identity = "usurper"
        try:
            coordination.replace_namespaced_lease("leader", NAMESPACE, lease)
            break
        except ApiException as error:
            assert error.status == 409, error
    assert stopped.wait(60), "it leads without the lease"
    started, _ = candidate("second")
    assert started.wait(60), "a lease that has run out is not taken"
    assert coordination.read_namespaced_lease("leader", NAMESPACE).spec.holder_identity == "second"


def patches(resource, make, path):
    """Every kind of patch that the resource takes, with the dynamic client."""
    resource.create(body=make("p"), namespace=NAMESPACE)
    merged = resource.patch(name="p", namespace=NAMESPACE, body={path: {"a": "1", "b": "2"}}, content_type="application/merge-patch+json")
    assert merged[path]["a"] == "1"
    edited = resource.patch(
        name="p", namespace=NAMESPACE, content_type="application/json-patch+json",
        body=[{"op": "test", "path": f"/{path}/a", "value": "1"}, {"op": "replace", "path": f"/{path}/a", "value": "3"}],
    )
    assert edited[path]["a"] == "3" and edited[path]["b"] == "2"
    failing = [{"op": "test", "path": f"/{path}/a", "value": "1"}]
    refused(422, resource.patch, name="p", namespace=NAMESPACE, body=failing, content_type="application/json-patch+json")
    whole = make("applied")
    whole[path] = {"a": "mine"}
    applied = resource.server_side_apply(body=whole, name="applied", namespace=NAMESPACE, field_manager="one")
    assert applied[path]["a"] == "mine"
    whole[path] = {"a": "yours"}
    refused(409, resource.server_side_apply, body=whole, name="applied", namespace=NAMESPACE, field_manager="two")
    forced = resource.server_side_apply(body=whole, name="applied", namespace=NAMESPACE, field_manager="two", force_conflicts=True)
    assert forced[path]["a"] == "yours"
    assert {it.manager for it in forced.metadata.managedFields} >= {"two"}
    names = [it.metadata.name for it in resource.get(namespace=NAMESPACE).items]
    assert "p" in names and "applied" in names, names
    for name in ("p", "applied"):
        resource.delete(name=name, namespace=NAMESPACE)
    refused(404, resource.get, name="p", namespace=NAMESPACE)


def dynamic_built_in_objects():
    cluster = dynamic.DynamicClient(client.ApiClient())
    maps = cluster.resources.get(api_version="v1", kind="ConfigMap")

    def make(name):
        return {"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": name}}

    patches(maps, make, "data")
    deployments = cluster.resources.get(api_version="apps/v1", kind="Deployment")
    container = {"name": "side", "image": "registry.local/side:1"}
    body = {"spec": {"template": {"spec": {"containers": [container]}}}}
    patched = deployments.patch(name="web", namespace=NAMESPACE, body=body, content_type="application/strategic-merge-patch+json")
    names = sorted(it.name for it in patched.spec.template.spec.containers)
    assert names == ["c", "side"], names


def dynamic_custom_objects():
    schema = {
        "type": "object",
        "properties": {"spec": {"type": "object", "additionalProperties": {"type": "string"}}},
    }
    definition = {
        "apiVersion": "apiextensions.k8s.io/v1", "kind": "CustomResourceDefinition",
        "metadata": {"name": f"{PLURAL}.{GROUP}"},
        "spec": {
            "group": GROUP, "scope": "Namespaced",
            "names": {"plural": PLURAL, "singular": "boat", "kind": "Boat", "listKind": "BoatList"},
            "versions": [{"name": VERSION, "served": True, "storage": True, "schema": {"openAPIV3Schema": schema}}],
        },
    }
    extensions = client.ApiextensionsV1Api()
    extensions.create_custom_resource_definition(definition)
    watcher = watch.Watch()
    for event in watcher.stream(extensions.list_custom_resource_definition, field_selector=f"metadata.name={PLURAL}.{GROUP}", timeout_seconds=30):
        conditions = event["object"].status.conditions or [] if event["object"].status else []
        if any(it.type == "Established" and it.status == "True" for it in conditions):
            watcher.stop()
    custom = client.CustomObjectsApi()
    boat = {"apiVersion": f"{GROUP}/{VERSION}", "kind": "Boat", "metadata": {"name": "b"}, "spec": {"sail": "red"}}
    custom.create_namespaced_custom_object(GROUP, VERSION, NAMESPACE, PLURAL, boat)
    listed = custom.list_namespaced_custom_object(GROUP, VERSION, NAMESPACE, PLURAL)
    assert [it["spec"] for it in listed["items"]] == [{"sail": "red"}], listed
    bad = dict(boat, metadata={"name": "bad"}, spec={"sail": 7})
    refused(422, custom.create_namespaced_custom_object, GROUP, VERSION, NAMESPACE, PLURAL, bad)
    cluster = dynamic.DynamicClient(client.ApiClient())
    boats = cluster.resources.get(api_version=f"{GROUP}/{VERSION}", kind="Boat")

    def make(name):
        return {"apiVersion": f"{GROUP}/{VERSION}", "kind": "Boat", "metadata": {"name": name}}

    patches(boats, make, "spec")
    body = {"spec": {"sail": "blue"}}
    refused(415, boats.patch, name="b", namespace=NAMESPACE, body=body, content_type="application/strategic-merge-patch+json")
    seen = [it["type"] for it in boats.watch(namespace=NAMESPACE, timeout=1)]
    assert seen == ["ADDED"], seen
    extensions.delete_custom_resource_definition(f"{PLURAL}.{GROUP}")


def main():
    config.load_kube_config(sys.argv[1])
    version = client.VersionApi().get_code()
    assert version.major.isdigit() and version.minor.isdigit(), version
    for function in (
        typed_objects, typed_patches, workloads, watching, watching_resumed, dynamic_built_in_objects, dynamic_custom_objects, leading,
    ):
        part(function)


main()
# A candidate that leads never stops, and its thread may print while the interpreter is taken down, which then aborts.
sys.stdout.flush()
os._exit(0)
