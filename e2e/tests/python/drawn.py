"""Requests drawn by schemathesis from the OpenAPI documents that a running server publishes, as the schemas say and broken.

Of every answer: it comes in time, it is no failure of the server, a success has a code, a media type and a body that its document
promises, and a refusal is a Status. Of every write: what was answered 2xx can be read as it was answered, and what was refused, or only tried,
has changed nothing. Nobody else may write while this runs.

Prints the seed, which draws the same requests again, and every surprise with a curl line; ends with 1 if there was any.

usage: drawn.py KUBECONFIG SECONDS SEED MOST [WORD...]     most: so many operations, once each; 0: all, until the time is over
                                                          words: only operations whose "METHOD path" has one of them"""

import base64
import collections
import json
import random
import sys
import tempfile
import time
import zlib

import requests
import schemathesis
import yaml
from hypothesis import HealthCheck, Phase, given, seed, settings
from hypothesis import strategies as st
from schemathesis import GenerationMode
from schemathesis.checks import CHECKS, load_all_checks
from schemathesis.core.failures import FailureGroup

# No answer may take longer, with other tests on both cores.
ANSWER_SECONDS = 60
# The first that Hypothesis draws of anything is the smallest; the others are not.
EXAMPLES = 6
# The documents whose schemas are largest take long to draw from: no operation may have all the time.
OPERATION_SECONDS = 5
# Streams, and what needs a node: other tests have them.
LEFT_OUT = ("/watch/", "/proxy", "/exec", "/attach", "/portforward", "/log")
STREAMING = ("watch", "follow")
# Objects that would change the answers to all later requests: they are only tried.
FAR_REACHING = ("admissionregistration.k8s.io", "resourcequotas", "limitranges")
# The server itself writes these some time after a client did.
SELF_CHANGING = ("customresourcedefinitions",)
NAMES = ["a", "b", "c", "default", "x.example.com"]
WRITES = ("POST", "PUT", "PATCH", "DELETE")

CONTAINERS = {"containers": [{"name": "a", "image": "i"}]}
TEMPLATE = {"metadata": {"labels": {"a": "b"}}, "spec": CONTAINERS}
WORKLOAD = {"spec": {"selector": {"matchLabels": {"a": "b"}}, "template": TEMPLATE}}
ENDING = {"spec": {"template": {"spec": dict(CONTAINERS, restartPolicy="Never")}}}
# What an object of a kind cannot be without, beside its name.
LEAST = {
    "Pod": {"spec": CONTAINERS},
    "Deployment": WORKLOAD, "ReplicaSet": WORKLOAD, "DaemonSet": WORKLOAD, "StatefulSet": WORKLOAD,
    "ReplicationController": {"spec": {"template": TEMPLATE}},
    "PodTemplate": {"template": TEMPLATE},
    "Job": ENDING,
    "CronJob": {"spec": {"schedule": "* * * * *", "jobTemplate": ENDING}},
    "Service": {"spec": {"ports": [{"port": 80}]}},
    "RoleBinding": {"roleRef": {"apiGroup": "rbac.authorization.k8s.io", "kind": "ClusterRole", "name": "view"}},
    "ClusterRoleBinding": {"roleRef": {"apiGroup": "rbac.authorization.k8s.io", "kind": "ClusterRole", "name": "view"}},
    "PersistentVolume": {"spec": {"capacity": {"storage": "1Gi"}, "accessModes": ["ReadWriteOnce"], "hostPath": {"path": "/a"}}},
    "PersistentVolumeClaim": {"spec": {"accessModes": ["ReadWriteOnce"], "resources": {"requests": {"storage": "1Gi"}}}},
    "Ingress": {"spec": {"defaultBackend": {"service": {"name": "a", "port": {"number": 80}}}}},
    "StorageClass": {"provisioner": "example.com/p"},
    "PriorityClass": {"value": 7},
    "RuntimeClass": {"handler": "h"},
    "EndpointSlice": {"addressType": "IPv4", "endpoints": []},
    "ControllerRevision": {"revision": 1, "data": {}},
    "HorizontalPodAutoscaler": {"spec": {"maxReplicas": 3, "scaleTargetRef": {"apiVersion": "apps/v1", "kind": "Deployment", "name": "a"}}},
}


class Server:
    """The server, asked with the administrator's certificate."""

    def __init__(self, kubeconfig):
        with open(kubeconfig) as file:
            config = yaml.safe_load(file)
        cluster, user = config["clusters"][0]["cluster"], config["users"][0]["user"]
        self.folder = tempfile.TemporaryDirectory(prefix="orlop-drawn-")
        self.url = cluster["server"]
        self.session = requests.Session()
        self.session.trust_env = False
        # Schemathesis asks with settings of its own: the session's do not count there.
        self.means = {"verify": self.file("ca.crt", cluster["certificate-authority-data"]), "timeout": ANSWER_SECONDS}
        self.means["cert"] = (self.file("crt", user["client-certificate-data"]), self.file("key", user["client-key-data"]))

    def file(self, name, data):
        path = f"{self.folder.name}/{name}"
        with open(path, "wb") as file:
            file.write(base64.b64decode(data))
        return path

    def get(self, path, **headers):
        return self.session.get(self.url + path, headers=headers, **self.means)

    def versions(self, collection):
        """Which objects there are, and in which state."""
        heads = "application/json;as=PartialObjectMetadataList;g=meta.k8s.io;v=v1"
        answer = self.get(collection, Accept=heads)
        assert answer.status_code == 200, f"GET {collection}: {answer.text}"
        own = any(it in collection for it in SELF_CHANGING)
        meta = [it["metadata"] for it in answer.json()["items"]]
        return {(it.get("namespace"), it["name"], it["uid"]): own or it["resourceVersion"] for it in meta}


class Operation:
    """One operation of one document."""

    def __init__(self, document, operation):
        self.operation = operation
        self.method, self.path = operation.method.upper(), operation.path
        self.label = f"{self.method} {self.path}"
        raw = document["paths"][self.path]
        self.kind = (raw[operation.method].get("x-kubernetes-group-version-kind") or {}).get("kind", "")
        self.readable = "get" in raw
        self.far = any(it in self.path for it in FAR_REACHING)
        whole = self.path.split("/{name}")[0]
        # All objects of the kind, in all namespaces, where they can be listed.
        everywhere = whole.replace("/namespaces/{namespace}", "")
        listed = all("get" in document["paths"].get(it, {}) for it in (whole, everywhere))
        self.collection = everywhere if listed and self.method in WRITES else None
        self.document = document
        self.put = raw.get("put") and "{name}" in self.path and not self.path.split("{name}")[1]

    def strategy(self, siblings):
        """Requests for it, as the schemas say and broken."""
        modes = [GenerationMode.POSITIVE, GenerationMode.POSITIVE, GenerationMode.NEGATIVE]

        @st.composite
        def request(draw):
            case = draw(st.sampled_from(modes).flatmap(self.of_mode))
            usual = draw(st.integers(0, 5)) > 0
            name = draw(st.sampled_from(NAMES))
            case.query = {key: value for key, value in (case.query or {}).items() if key not in STREAMING}
            if usual:
                self.steer(draw, case, name, siblings)
            if self.far:
                case.query["dryRun"] = "All"
            return case

        return request()

    def of_mode(self, mode):
        return self.operation.as_strategy(generation_mode=mode)

    def steer(self, draw, case, name, siblings):
        """Leads a request to where something may happen: to objects that there are, without conditions on what they are."""
        places = case.path_parameters or {}
        for key, value in (("namespace", "default"), ("name", name)):
            if key in places:
                places[key] = value
        for key in ("resourceVersion", "resourceVersionMatch", "continue", "sendInitialEvents", "fieldSelector", "labelSelector"):
            if draw(st.integers(0, 3)) > 0:
                case.query.pop(key, None)
        for key in ("pretty", "fieldManager", "fieldValidation", "dryRun"):
            if draw(st.integers(0, 2)) > 0:
                case.query.pop(key, None)
        if self.method == "PATCH":
            case.query.setdefault("fieldManager", "drawn")
            # A patch of the document is any object: one of the kind says more.
            whole = siblings.get(("PUT", self.path))
            if whole and case.media_type != "application/json-patch+json":
                case.body = draw(whole.of_mode(GenerationMode.POSITIVE)).body
        if self.method not in ("POST", "PUT", "PATCH") or not isinstance(case.body, dict):
            return
        version = self.operation.path.split("/")
        version = version[2] if version[1] == "api" else f"{version[2]}/{version[3]}"
        if "kind" in case.body or "apply" in str(case.media_type):
            case.body.update(kind=self.kind, apiVersion=version)
        else:
            case.body.pop("apiVersion", None)
        meta = case.body.get("metadata")
        kept = {key: value for key, value in meta.items() if key in ("annotations", "finalizers")} if isinstance(meta, dict) else {}
        case.body["metadata"] = dict(kept if draw(st.booleans()) else {}, name=name)
        if draw(st.integers(0, 2)) > 0 and self.kind in LEAST:
            # Mostly nothing but what it needs: then it is likely to be taken.
            for key, value in LEAST[self.kind].items():
                case.body[key] = value
            case.body.pop("status", None)


def curl(case, server):
    return case.as_curl_command(headers={}).replace(server.folder.name, "FOLDER")


def declared(case, response):
    """A success has to be what the document says; a refusal is a Status."""
    if response.status_code < 300:
        checks = ["status_code_conformance", "content_type_conformance", "response_schema_conformance"]
        # The document promises a Status; what waits for its finalizers is answered with itself, in Kubernetes, too.
        if response.request.method == "DELETE" and response.json().get("kind") != "Status":
            checks.pop()
        case.validate_response(response, checks=[CHECKS.get_one(it) for it in checks])
        return
    status = response.json()
    assert status["kind"] == "Status" and status["code"] == response.status_code, f"no Status: {status}"
    assert status.get("reason") and status.get("message"), f"a Status that says nothing: {status}"


def read_back(server, operation, case, answer):
    """What was written can be read as it was answered."""
    path = case.formatted_path
    if operation.method == "DELETE":
        if "{name}" in operation.path and operation.readable:
            found = server.get(path)
            assert found.status_code == 404 or "deletionTimestamp" in found.json()["metadata"], f"deleted, but {found.text}"
        return
    meta = answer.get("metadata") or {}
    if operation.method == "POST":
        if operation.collection is None or "{name}" in operation.path:
            return
        path = f"{path}/{meta['name']}"
    elif not operation.readable:
        return
    found = server.get(path)
    if found.status_code == 404 and meta.get("deletionTimestamp") and not meta.get("finalizers"):
        return
    assert found.status_code == 200, f"{path} was written, but {found.text}"
    shown = found.json()
    if any(it in path for it in SELF_CHANGING):
        assert shown["metadata"]["uid"] == meta["uid"], f"another object: {shown}"
    else:
        assert shown == answer, f"answered\n  {json.dumps(answer)}\nread\n  {json.dumps(shown)}"


def check(server, operation, case, tally):
    """Sends a request, and says what is wrong with its answer."""
    collection = operation.collection
    before = server.versions(collection) if collection else None
    begun = time.monotonic()
    try:
        response = case.call(base_url=server.url, session=server.session, **server.means)
    except requests.exceptions.InvalidURL:
        return
    took = time.monotonic() - begun
    code = response.status_code
    tally[f"{code // 100}xx of {'writes' if operation.method in WRITES else 'reads'}"] += 1
    assert took < ANSWER_SECONDS, f"answered after {took:.0f} s"
    # That is Kubernetes' answer to a version that is still to come.
    future = code == 504 and "Too large resource version" in response.text
    assert code < 500 or future, f"{code}: {response.text[:2000]}"
    if code == 404 and response.headers.get("Content-Type", "").startswith("text/plain"):
        return
    declared(case, response)
    if before is None:
        return
    dry = "dryRun" in (case.query or {})
    if code < 300 and not dry:
        read_back(server, operation, case, response.json())
    else:
        after = server.versions(collection)
        assert before == after, f"{'only tried' if code < 300 else 'refused'}, but {set(before.items()) ^ set(after.items())} changed"


class Over(BaseException):
    """The time is over."""


def play(server, operation, siblings, number, until, tally, surprises):
    """Some requests for one operation."""
    until = min(until, time.monotonic() + OPERATION_SECONDS)

    @settings(
        max_examples=EXAMPLES, deadline=None, database=None, phases=[Phase.generate], suppress_health_check=list(HealthCheck),
    )
    @seed(number)
    @given(operation.strategy(siblings))
    def one(case):
        if time.monotonic() > until:
            raise Over
        try:
            check(server, operation, case, tally)
        except (Exception, FailureGroup) as error:
            told = "\n".join(str(it) for it in getattr(error, "exceptions", [error]))
            text = f"{operation.label}\n{curl(case, server)[:3000]}\n{told}"
            surprises.setdefault((operation.label, type(error).__name__, str(error)[:40]), text)
            print(f"--- {text}", flush=True)

    try:
        one()
    except Over:
        pass


def main():
    kubeconfig, seconds, number, most, *words = sys.argv[1:]
    seconds, number, most = float(seconds), int(number), int(most)
    print(f"seed {number}", flush=True)
    server = Server(kubeconfig)
    load_all_checks()
    operations = {}
    for name, entry in server.get("/openapi/v3").json()["paths"].items():
        document = server.get(entry["serverRelativeURL"]).json()
        if "paths" not in document:
            continue
        schema = schemathesis.openapi.from_dict(document)
        for found in schema.get_all_operations():
            operation = Operation(document, found.ok())
            if not any(it in operation.path for it in LEFT_OUT):
                operations[operation.method, operation.path] = operation
    chosen = [it for it in operations.values() if not words or any(word in it.label for word in words)]
    assert chosen, "no operation is left"
    tally, surprises, drawn = collections.Counter(), {}, set()
    until, turn = time.monotonic() + seconds, 0
    while time.monotonic() < until:
        random.Random(number + turn).shuffle(chosen)
        for operation in chosen[:most or None]:
            if time.monotonic() > until:
                break
            play(server, operation, operations, zlib.crc32(f"{number} {turn} {operation.label}".encode()), until, tally, surprises)
            drawn.add(operation.label)
        turn += 1
        if most:
            break
    print(f"{len(drawn)} of {len(chosen)} operations: {dict(sorted(tally.items()))}")
    # A run of refusals alone would show little.
    assert words or any(it.startswith("2xx") for it in tally), "nothing was taken"
    if surprises:
        sys.exit(f"{len(surprises)} surprises with seed {number}")


main()
