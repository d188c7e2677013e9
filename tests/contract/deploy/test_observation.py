"""Scrapes, alerts and boards name metrics that the code has; the real tools accept the files."""

import json
import os
import re
import shutil
import subprocess
from pathlib import Path
from typing import Any

import pytest
import yaml
from prometheus_client import REGISTRY

from common.docs.sources import METRICS, load
from tests.support.deploy import ALERTS, BOARDS, DEPLOY, SERVICES, containers, environment_of, image_environment
from tests.support.sonant import ROOT


def metrics_in_code() -> dict[str, set[str]]:
    """Every name a scrape can show, with its labels."""
    load(METRICS)
    found: dict[str, set[str]] = {"up": set()}
    for collector, names in REGISTRY._collector_to_names.items():
        labels = set(getattr(collector, "_labelnames", ()))
        found |= dict.fromkeys(names, labels)
    return found


# Given by the scrape, by histograms and by Prometheus itself.
COMMON_LABELS = {"job", "instance", "le", "alertname", "alertstate"}
NOT_METRICS = {"ALERTS"}
FAULTS = ROOT / "tests" / "data" / "alert_rules"


def check_expression(expression: str) -> None:
    """Fail where a PromQL expression names a metric or label that no process has."""
    known = metrics_in_code()
    bare = re.sub(r'"[^"]*"', "", expression)
    named = set(re.findall(r"\b(?:sonant|process|python)_\w+|\bup\b", bare)) - NOT_METRICS
    assert named or "ALERTS" in bare, f"no metric in {expression}"
    assert named <= set(known), f"unknown metric in {expression}"
    groups = [*re.findall(r"\bby \(([^)]*)\)", bare), *re.findall(r"\{([^}]*)\}", bare)]
    labels = {label for group in groups for label in re.findall(r"[a-z_]+", group)}
    assert labels <= COMMON_LABELS.union(*(known[name] for name in named)), f"unknown label in {expression}"


def rules() -> list[dict[str, Any]]:
    files = [yaml.safe_load(path.read_text()) for path in ALERTS]
    return [rule for file in files for group in file["groups"] for rule in group["rules"]]


def panels(path: Path) -> list[dict[str, Any]]:
    return [panel for panel in json.loads(path.read_text())["panels"] if panel["type"] != "row"]


def prometheus() -> dict[str, Any]:
    return dict(yaml.safe_load((DEPLOY / "prometheus" / "prometheus.yml").read_text()))


def faults(path: Path) -> dict[str, Any]:
    """What `promtool test rules` is given for a file of rules, timed as the shipped Prometheus is.

    The data leave out what is a rule's own: `severity`, and an annotation without labels or values in it.
    """
    told: dict[str, Any] = yaml.safe_load((FAULTS / path.name).read_text())
    own = {rule["alert"]: rule for rule in rules()}
    for test in told["tests"]:
        test["interval"] = prometheus()["global"]["scrape_interval"]
        for expected in test["alert_rule_test"]:
            rule = own[expected["alertname"]]
            constant = {name: text for name, text in rule["annotations"].items() if "{{" not in text}
            for alert in expected["exp_alerts"]:
                alert["exp_labels"] = {**rule["labels"], **alert["exp_labels"]}
                alert["exp_annotations"] = {**constant, **alert["exp_annotations"]}
        test["promql_expr_test"] = [nothing_else_fires(test, at) for at in moments(test)]
    interval = prometheus()["global"]["evaluation_interval"]
    return {"rule_files": [str(path)], "evaluation_interval": interval, **told}


def moments(test: dict[str, Any]) -> list[str]:
    return sorted({expected["eval_time"] for expected in test["alert_rule_test"]})


def nothing_else_fires(test: dict[str, Any], at: str) -> dict[str, Any]:
    named = {expected["alertname"] for expected in test["alert_rule_test"]}
    if not any(series["series"].startswith("up{") for series in test["input_series"]):
        # Without a scrape every service is down.
        named.add("ServiceDown")
    expression = f'ALERTS{{alertstate="firing",alertname!~"{"|".join(sorted(named))}"}}'
    return {"expr": expression, "eval_time": at, "exp_samples": []}


def seconds(time: str) -> int:
    return sum(int(number) * {"h": 3600, "m": 60, "s": 1}[unit] for number, unit in re.findall(r"(\d+)([hms])", time))


def fires_and_ends(test: dict[str, Any], alert: str) -> bool:
    """Whether a test expects an alert to fire, and some time after that not to."""
    expected = [
        (seconds(each["eval_time"]), bool(each["exp_alerts"]))
        for each in test["alert_rule_test"]
        if each["alertname"] == alert
    ]
    fired = [at for at, fires in expected if fires]
    return bool(fired) and any(not fires and at > min(fired) for at, fires in expected)


class TestObservation:
    def test_prometheus_scrapes_every_instance_of_every_service(self) -> None:
        scraped = {
            (job["job_name"], discovery["names"][0], discovery["type"], discovery["port"])
            for job in prometheus()["scrape_configs"]
            for discovery in job.get("dns_sd_configs", [])
        }
        port = int(image_environment()["SONANT_OPS_PORT"])
        assert scraped == {(name, name, "A", port) for name in SERVICES}

    def test_prometheus_reads_the_rules_where_compose_mounts_them(self) -> None:
        [mounted] = [text for text in containers()["prometheus"]["volumes"] if text.startswith("./deploy/alerts:")]
        assert prometheus()["rule_files"] == [f"{mounted.split(':')[1]}/*.yml"]

    @pytest.mark.parametrize("rule", rules(), ids=lambda rule: rule["alert"])
    def test_an_alert_says_what_and_what_to_do(self, rule: dict[str, Any]) -> None:
        assert rule["labels"]["severity"] in {"page", "ticket"}
        assert rule["annotations"]["summary"]
        assert rule["annotations"]["action"]
        check_expression(rule["expr"])

    def test_alert_names_are_unique(self) -> None:
        names = [rule["alert"] for rule in rules()]
        assert len(set(names)) == len(names)

    @pytest.mark.parametrize("path", ALERTS, ids=lambda path: path.stem)
    def test_every_alert_is_expected_to_fire_on_a_fault_and_to_end(self, path: Path) -> None:
        alerts = [rule["alert"] for group in yaml.safe_load(path.read_text())["groups"] for rule in group["rules"]]
        tests = faults(path)["tests"]
        untold = [alert for alert in alerts if not any(fires_and_ends(test, alert) for test in tests)]
        assert not untold, f"tests/data/alert_rules/{path.name} does not show how these fire and end"

    def test_faults_are_shaped_as_the_metrics_are(self) -> None:
        for path in ALERTS:
            for test in faults(path)["tests"]:
                for series in test["input_series"]:
                    check_expression(re.sub(r'="[^"]*"', "", series["series"]))

    @pytest.mark.parametrize("path", BOARDS, ids=lambda path: path.stem)
    def test_a_board_shows_what_the_code_measures(self, path: Path) -> None:
        for panel in panels(path):
            assert panel["targets"], panel["title"]
            for target in panel["targets"]:
                check_expression(target["expr"])

    @pytest.mark.parametrize("path", BOARDS, ids=lambda path: path.stem)
    def test_a_board_reads_the_provisioned_source(self, path: Path) -> None:
        sources = DEPLOY / "grafana" / "provisioning" / "datasources" / "prometheus.yml"
        [source] = yaml.safe_load(sources.read_text())["datasources"]
        assert {panel["datasource"]["uid"] for panel in panels(path)} == {source["uid"]}
        board = json.loads(path.read_text())
        ids = [panel["id"] for panel in board["panels"]]
        assert len(set(ids)) == len(ids)
        assert board["uid"] == f"sonant-{path.stem}"

    def test_grafana_finds_boards_where_compose_mounts_them(self) -> None:
        file = DEPLOY / "grafana" / "provisioning" / "dashboards" / "sonant.yml"
        [provider] = yaml.safe_load(file.read_text())["providers"]
        mounts = [text.split(":")[:2] for text in containers()["grafana"]["volumes"]]
        assert ["./deploy/grafana/dashboards", provider["options"]["path"]] in mounts
        for part in ("datasources", "dashboards"):
            assert [f"./deploy/grafana/provisioning/{part}", f"/etc/grafana/provisioning/{part}"] in mounts
        home = environment_of("grafana")["GF_DASHBOARDS_DEFAULT_HOME_DASHBOARD_PATH"] or ""
        assert Path(home).parent == Path(provider["options"]["path"])
        assert Path(home).name in {path.name for path in BOARDS}


class TestTools:
    """What only the real tools can tell, where they are installed."""

    def test_promtool_accepts_rules_and_configuration(self) -> None:
        promtool = shutil.which("promtool")
        if promtool is None:
            pytest.skip("promtool is not installed")
        config = DEPLOY / "prometheus" / "prometheus.yml"
        subprocess.run([promtool, "check", "rules", *ALERTS], check=True, capture_output=True)
        subprocess.run([promtool, "check", "config", "--syntax-only", config], check=True, capture_output=True)

    @pytest.mark.parametrize("path", ALERTS, ids=lambda path: path.stem)
    def test_alerts_fire_on_their_faults_and_end_and_nothing_else_fires(self, path: Path, tmp_path: Path) -> None:
        promtool = shutil.which("promtool")
        if promtool is None:
            pytest.skip("promtool is not installed")
        told = tmp_path / path.name
        told.write_text(yaml.safe_dump(faults(path), sort_keys=False))
        done = subprocess.run([promtool, "test", "rules", told], capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stdout + done.stderr

    def test_docker_compose_accepts_the_file(self, secrets: dict[str, str]) -> None:
        docker = shutil.which("docker")
        if (
            docker is None
            or subprocess.run([docker, "compose", "version"], capture_output=True, check=False).returncode
        ):
            pytest.skip("docker compose is not installed")
        command = [docker, "compose", "--profile", "sandbox", "config", "--quiet"]
        subprocess.run(command, cwd=ROOT, env={**os.environ, **secrets}, check=True, capture_output=True)
