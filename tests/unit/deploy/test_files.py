"""What the deployment files say must be what the programs understand."""

from __future__ import annotations

import configparser
import dataclasses
import re
import tomllib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

from services.settings import Settings as ServerSettings
from tailrace.console.guard import allowed_names
from tailrace.console.settings import Settings as ConsoleSettings
from tailrace.formats.spec.run_spec import StageExecution
from tailrace.worker_token import VARIABLE
from workers.settings import Settings as WorkerSettings

ROOT = Path(__file__).parents[3]
DEPLOY = ROOT / "deploy"
MANIFESTS = sorted((DEPLOY / "kubernetes").glob("*.yaml"))
UNITS = {
    "services": DEPLOY / "systemd/tailrace-control-plane.service",
    "workers": DEPLOY / "systemd/tailrace-worker.service",
}
PROGRAMS = {"control-plane": "services", "console": "console", "flower": "", "rabbitmq-users": ""}
SETTINGS = {"services": ServerSettings, "workers": WorkerSettings, "console": ConsoleSettings}
PREFIXES = {"console": "TAILRACE_CONSOLE_"}
CLIENT = {"TAILRACE_SERVER", "TAILRACE_INSECURE"}
"""Settings that the console has as a client."""


def documents(path: Path) -> list[dict[str, Any]]:
    return list(yaml.safe_load_all(path.read_text()))


def deployments() -> dict[str, dict[str, Any]]:
    found = [d for path in MANIFESTS for d in documents(path) if d["kind"] == "Deployment"]
    return {d["metadata"]["name"]: d for d in found}


def container(name: str) -> dict[str, Any]:
    made: dict[str, Any] = deployments()[name]["spec"]["template"]["spec"]["containers"][0]
    return made


def compose() -> dict[str, Any]:
    made: dict[str, Any] = yaml.safe_load((DEPLOY / "compose.yaml").read_text())
    return made


def unit(path: Path) -> dict[str, list[str]]:
    """The [Service] section; systemd allows a key several times."""
    found: dict[str, list[str]] = {}
    section = ""
    for line in path.read_text().splitlines():
        if line.startswith("["):
            section = line.strip("[]")
        elif section == "Service" and "=" in line and not line.startswith("#"):
            key, value = line.split("=", 1)
            found.setdefault(key, []).append(value)
    return found


def variables() -> Iterator[tuple[str, str, str]]:
    """(where, program, variable) of every TAILRACE_ setting that a file gives to a program."""
    for name, made in compose()["services"].items():
        program = PROGRAMS.get(name, "workers")
        for variable in made.get("environment", {}):
            yield f"compose {name}", program, variable
    for name in deployments():
        program = PROGRAMS.get(name, "workers")
        for entry in container(name)["env"]:
            yield f"kubernetes {name}", program, entry["name"]
    for program, path in UNITS.items():
        for assignment in unit(path)["Environment"]:
            yield path.name, program, assignment.split("=")[0]
    for program, name in (("services", "control-plane"), ("workers", "worker")):
        example = (DEPLOY / f"systemd/{name}.env.example").read_text()
        for variable in re.findall(r"^(\w+)=", example, re.M):
            yield f"{name}.env.example", program, variable


@pytest.mark.parametrize(("where", "program", "variable"), [v for v in variables() if v[1]])
def test_every_setting_exists(where: str, program: str, variable: str) -> None:
    if variable.startswith("TAILRACE_") and not (program == "console" and variable in CLIENT):
        known = SETTINGS[program].model_fields
        prefix = PREFIXES.get(program, "TAILRACE_")
        assert variable.removeprefix(prefix).lower() in known, where


def test_the_dockerfiles_settings_and_extras_exist() -> None:
    text = (DEPLOY / "Dockerfile").read_text()
    known = {name for made in SETTINGS.values() for name in made.model_fields}
    known |= {f"console_{name}" for name in ConsoleSettings.model_fields}
    for variable in re.findall(r"TAILRACE_(\w+)=", text):
        assert variable.lower() in known
    extras = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"][
        "optional-dependencies"
    ]
    used = {extra for group in re.findall(r'"\.\[([\w,]+)\]"', text) for extra in group.split(",")}
    assert used == {"server", "worker", "training", "console"}
    assert used <= set(extras)


def test_the_dockerfile_copies_what_is_there_and_not_ignored() -> None:
    text = (DEPLOY / "Dockerfile").read_text()
    allowed = (DEPLOY / "Dockerfile.dockerignore").read_text().splitlines()
    copied = [
        source
        for line in re.findall(r"^COPY (?!--from)(.+)$", text, re.M)
        for source in line.split()[:-1]
    ]
    assert copied
    for source in copied:
        assert (ROOT / source).exists(), source
        assert f"!{source}" in allowed


def test_compose_builds_targets_that_exist() -> None:
    targets = set(re.findall(r"^FROM \S+ AS (\S+)$", (DEPLOY / "Dockerfile").read_text(), re.M))
    built = [made["build"] for made in compose()["services"].values() if "build" in made]
    assert {build["target"] for build in built} == {"server", "worker", "console", "flower"}
    for build in built:
        assert build["target"] in targets
        assert (DEPLOY / build["context"] / build["dockerfile"]) == DEPLOY / "../deploy/Dockerfile"


def test_compose_asks_for_passwords_and_shows_nothing_to_the_network() -> None:
    text = (DEPLOY / "compose.yaml").read_text()
    asked = set(re.findall(r"\$\{(\w+):\?", text))
    example = set(re.findall(r"^(\w+)=$", (DEPLOY / "compose.env.example").read_text(), re.M))
    assert asked == example
    assert not re.findall(r"\$\{\w+(:-|\})", text)
    for made in compose()["services"].values():
        assert all(port.startswith("127.0.0.1:") for port in made.get("ports", []))


def test_what_compose_starts_waits_for_what_is_healthy() -> None:
    services = compose()["services"]
    checked = {name for name, made in services.items() if "healthcheck" in made}
    image_checks = (DEPLOY / "Dockerfile").read_text().count("HEALTHCHECK")
    assert (checked, image_checks) == ({"postgres", "rabbitmq"}, 4)
    for made in services.values():
        for name, condition in made.get("depends_on", {}).items():
            ends = name == "rabbitmq-users"
            wanted = "service_completed_successfully" if ends else "service_healthy"
            assert condition == {"condition": wanted}


def test_the_broker_outwaits_the_longest_stage() -> None:
    text = (DEPLOY / "rabbitmq/rabbitmq.conf").read_text()
    parser = configparser.ConfigParser()
    parser.read_string(f"[conf]\n{text}")
    rule = {f.name: f.metadata["rule"] for f in dataclasses.fields(StageExecution)}["timeout"]
    assert parser.getint("conf", "consumer_timeout") > rule.maximum * 1000


def test_kustomize_names_every_manifest_and_image() -> None:
    (kustomization,) = documents(DEPLOY / "kubernetes/kustomization.yaml")
    others = {"kustomization.yaml", "secret.example.yaml"}
    assert set(kustomization["resources"]) == {path.name for path in MANIFESTS} - others
    images = {container(name)["image"] for name in deployments()}
    assert images == {image["name"] for image in kustomization["images"]}


def test_the_control_planes_probes_ask_where_it_listens() -> None:
    made = container("control-plane")
    env = {entry["name"]: entry.get("value") for entry in made["env"]}
    listen = int(env["TAILRACE_LISTEN"].rpartition(":")[2])
    ports = {port["name"]: port["containerPort"] for port in made["ports"]}
    assert ports == {"grpc": listen, "metrics": int(env["TAILRACE_METRICS_PORT"])}
    assert made["startupProbe"]["grpc"]["port"] == listen
    assert made["readinessProbe"]["grpc"]["port"] == listen
    ServerSettings(
        listen=env["TAILRACE_LISTEN"],
        metrics_port=env["TAILRACE_METRICS_PORT"],
        insecure=env["TAILRACE_INSECURE"],
    )


def test_what_listens_for_other_machines_says_what_it_waives() -> None:
    made = compose()["services"]
    assert made["control-plane"]["environment"]["TAILRACE_INSECURE"] == "true"
    for name in ("control-plane", "worker-cpu", "worker-gpu"):
        env = {entry["name"]: entry.get("value") for entry in container(name)["env"]}
        assert env["TAILRACE_INSECURE"] == made[name]["environment"]["TAILRACE_INSECURE"] == "true"


@pytest.mark.parametrize("name", sorted(deployments()))
def test_containers_run_with_as_little_as_they_need(name: str) -> None:
    pod = deployments()[name]["spec"]["template"]["spec"]
    assert pod["securityContext"]["runAsNonRoot"]
    assert not pod["automountServiceAccountToken"]
    context = container(name)["securityContext"]
    assert context["readOnlyRootFilesystem"]
    assert not context["allowPrivilegeEscalation"]
    mounted = {mount["name"] for mount in container(name)["volumeMounts"]}
    assert mounted == {volume["name"] for volume in pod["volumes"]}


@pytest.mark.parametrize("name", sorted(deployments()))
def test_selectors_and_secrets_fit(name: str) -> None:
    spec = deployments()[name]["spec"]
    labels = spec["template"]["metadata"]["labels"]
    assert spec["selector"]["matchLabels"].items() <= labels.items()
    (secret,) = documents(DEPLOY / "kubernetes/secret.example.yaml")
    for entry in container(name)["env"]:
        if "valueFrom" in entry:
            key = entry["valueFrom"]["secretKeyRef"]
            assert key["name"] == secret["metadata"]["name"]
            assert key["key"] in secret["stringData"]


def test_control_plane_and_workers_get_the_worker_token_as_a_file() -> None:
    for name, made in compose()["services"].items():
        if name == "control-plane" or name.startswith("worker"):
            file = Path(made["environment"][VARIABLE])
            mounts = [volume.split(":") for volume in made["volumes"]]
            (mount,) = [mount for mount in mounts if mount[1] == str(file.parent)]
            assert (mount[0], mount[2:]) == ("token", [] if name == "control-plane" else ["ro"])
            # A new volume takes owner and mode of the image's folder.
            made_folders = (DEPLOY / "Dockerfile").read_text().count("mkdir --mode=0700 token")
            assert (str(file.parent), made_folders) == ("/var/lib/tailrace/token", 2)
    for name in set(deployments()) - {"console", "flower"}:
        env = {entry["name"]: entry.get("value") for entry in container(name)["env"]}
        file = Path(env[VARIABLE])
        (mount,) = [
            m for m in container(name)["volumeMounts"] if m["mountPath"] == str(file.parent)
        ]
        assert mount["readOnly"]
        volumes = deployments()[name]["spec"]["template"]["spec"]["volumes"]
        (secret,) = [v["secret"] for v in volumes if v["name"] == mount["name"]]
        assert secret["items"] == [{"key": "worker-token", "path": file.name}]
        assert secret["defaultMode"] == 0o440
    (example,) = documents(DEPLOY / "kubernetes/secret.example.yaml")
    assert "worker-token" in example["stringData"]
    for path in UNITS.values():
        assert unit(path)["LoadCredential"] == ["worker-token:/etc/tailrace/worker-token"]
        assert f"{VARIABLE}=%d/worker-token" in unit(path)["Environment"]


@pytest.mark.parametrize(("program", "path"), UNITS.items())
def test_units_start_the_programs_and_know_their_users(program: str, path: Path) -> None:
    made = unit(path)
    assert made["ExecStart"] == [f"/opt/tailrace/bin/python -m {program}"]
    assert made["NoNewPrivileges"] == ["yes"]
    assert made["DynamicUser"] == ["yes"]


def test_a_stopping_worker_gets_its_signal_alone_and_time_to_drain() -> None:
    made = unit(UNITS["workers"])
    assert made["KillMode"] == ["mixed"]
    assert made["OOMPolicy"] == ["continue"]
    grace = WorkerSettings.model_fields["grace_seconds"].default
    seconds = [int(made["TimeoutStopSec"][0])]
    for name, deployment in deployments().items():
        if name.startswith("worker"):
            seconds.append(deployment["spec"]["template"]["spec"]["terminationGracePeriodSeconds"])
    for name, service in compose()["services"].items():
        if name.startswith("worker"):
            seconds.append(60 * int(service["stop_grace_period"].removesuffix("m")))
    assert len(seconds) == 5
    assert min(seconds) >= 4 * grace


def test_the_console_answers_its_probes_and_reaches_the_control_plane() -> None:
    made = container("console")
    env = {entry["name"]: entry.get("value") for entry in made["env"]}
    names = allowed_names(env["TAILRACE_CONSOLE_LISTEN"], env["TAILRACE_CONSOLE_HOSTS"].split(","))
    for probe in ("readinessProbe", "livenessProbe"):
        (host,) = made[probe]["httpGet"]["httpHeaders"]
        assert host["name"] == "Host"
        assert host["value"] in names
    (policy,) = documents(DEPLOY / "kubernetes/network-policy.yaml")
    clients = [source["podSelector"] for source in policy["spec"]["ingress"][0]["from"]]
    labels = deployments()["console"]["spec"]["template"]["metadata"]["labels"]
    assert any(one["matchLabels"].items() <= labels.items() for one in clients)


def test_the_console_of_compose_is_called_as_a_browser_calls_it() -> None:
    made = compose()["services"]["console"]
    env = made["environment"]
    (port,) = made["ports"]
    assert env["TAILRACE_CONSOLE_LISTEN"].endswith(port.split(":")[-1])
    assert {"localhost", "127.0.0.1"} <= set(env["TAILRACE_CONSOLE_HOSTS"].split(","))
    assert env["TAILRACE_INSECURE"] == "true"
