"""Containers: pinned, confined, checked, off the network; and no secret is written down."""

import re
import stat
from pathlib import Path

import pytest

from tests.support.deploy import (
    DEPLOY,
    REFERENCE,
    SECRET_NAME,
    compose,
    compose_text,
    containers,
    environment_of,
    init_env,
    interpolate,
    names_in_env_example,
    ours,
    read_env,
    strings,
)
from tests.support.sonant import ROOT


class TestContainers:
    @pytest.mark.parametrize("name", containers())
    def test_has_a_health_check(self, name: str) -> None:
        check = containers()[name]["healthcheck"]
        assert check["test"][0] in {"CMD", "CMD-SHELL"}
        assert {"interval", "timeout", "retries", "start_period"} <= set(check)

    @pytest.mark.parametrize("name", containers())
    def test_is_confined_and_comes_back(self, name: str) -> None:
        spec = containers()[name]
        assert spec["cap_drop"] == ["ALL"]
        assert spec["security_opt"] == ["no-new-privileges:true"]
        assert spec["restart"] == "unless-stopped"
        assert not {"privileged", "network_mode", "pid", "cap_add"} & set(spec)

    @pytest.mark.parametrize("name", containers())
    def test_root_file_system_is_read_only_where_the_image_allows(self, name: str) -> None:
        assert containers()[name].get("read_only", False) is (name != "kafka")

    @pytest.mark.parametrize("name", ["valkey", "postgres"])
    def test_images_that_start_as_root_are_given_an_account(self, name: str) -> None:
        assert re.fullmatch(r"[1-9]\d*:[1-9]\d*", containers()[name]["user"])

    @pytest.mark.parametrize("name", containers())
    def test_ports_are_published_on_the_loopback_alone(self, name: str) -> None:
        assert all(str(port).startswith("127.0.0.1:") for port in containers()[name].get("ports", []))

    def test_data_stores_are_off_the_network_with_a_way_out(self) -> None:
        assert compose()["networks"]["engines"]["internal"]
        assert [containers()[name]["networks"] for name in ("valkey", "postgres")] == [["engines"]] * 2

    @pytest.mark.parametrize("name", containers())
    def test_image_is_pinned(self, name: str) -> None:
        tag = containers()[name]["image"].rpartition(":")[2]
        assert re.match(r"v?\d+\.\d+\.\d+", tag), f"{name} runs {tag}"

    def test_kafka_is_the_one_the_tests_run_on(self) -> None:
        [version] = re.findall(r"<kafka.version>([^<]+)<", (DEPLOY / "kafka" / "pom.xml").read_text())
        assert containers()["kafka"]["image"] == f"apache/kafka:{version}"

    @pytest.mark.parametrize("name", containers())
    def test_volumes_are_named_or_files_of_the_tree(self, name: str) -> None:
        for volume in containers()[name].get("volumes", []):
            source = volume.split(":")[0]
            assert source in compose()["volumes"] or (ROOT / source).exists(), volume

    def test_nothing_is_ever_evicted_and_writes_are_kept(self) -> None:
        command = containers()["valkey"]["command"]
        options = dict(zip(command[1::2], command[2::2], strict=True))
        assert (options["--maxmemory-policy"], options["--appendonly"]) == ("noeviction", "yes")


class TestSecrets:
    def test_every_secret_is_required_from_outside(self) -> None:
        for name, spec in containers().items():
            for variable, value in spec.get("environment", {}).items():
                if SECRET_NAME.search(variable):
                    assert value is None or re.fullmatch(r"\$\{\w+:\?[^}]+\}", value), f"{name}: {variable}"

    def test_no_url_or_command_holds_a_password(self) -> None:
        for text in strings(compose()):
            assert not re.search(r"://[^/@\s${]*:[^$@][^@]*@", text), text
        command = containers()["valkey"]["command"]
        assert command[command.index("--requirepass") + 1].startswith("${VALKEY_PASSWORD:?")

    def test_env_example_lists_what_compose_asks_for(self) -> None:
        required, optional = names_in_env_example()
        kinds = [match.groups()[:2] for text in strings(compose()) for match in REFERENCE.finditer(text)]
        nested = [(name, "-") for name in re.findall(r"\$\{(\w+):-", compose_text())]
        unset = {name for service in ours() for name, value in environment_of(service).items() if value is None}
        assert required == {name for name, kind in kinds if kind == "?"}
        assert optional == {name for name, kind in [*kinds, *nested] if kind == "-"} | unset | {"COMPOSE_PROFILES"}

    def test_compose_refuses_to_start_without_them(self) -> None:
        with pytest.raises(KeyError):
            interpolate(environment_of("postgres")["POSTGRES_PASSWORD"] or "", {})

    def test_init_env_makes_a_secret_of_each(self, tmp_path: Path, secrets: dict[str, str]) -> None:
        assert set(secrets) == names_in_env_example()[0]
        path = tmp_path / ".env"
        assert init_env(str(path)).returncode == 0
        assert stat.S_IMODE(path.stat().st_mode) == 0o600
        made = [*secrets.values(), *read_env(path).values()]
        assert len(set(made)) == len(made)
        assert all(re.fullmatch(r"[0-9a-f]{48}", secret) for secret in made)

    def test_init_env_never_overwrites(self, tmp_path: Path) -> None:
        path = tmp_path / ".env"
        path.write_text("mine")
        assert init_env(str(path)).returncode == 1
        assert path.read_text() == "mine"

    def test_init_env_switches_the_sandbox_on(self, tmp_path: Path) -> None:
        path = tmp_path / ".env"
        init_env("--sandbox", str(path))
        made = read_env(path)
        assert made["COMPOSE_PROFILES"] in containers()["sandbox"]["profiles"]
        command = containers()["sandbox"]["command"]
        assert made["SONANT_SANDBOX_URL"] == f"http://sandbox:{command[command.index('--port') + 1]}"
