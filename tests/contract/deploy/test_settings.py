"""Settings of services: compose gives those that exist, and all that are required."""

import os
import re

import pytest

from common.bus.port import MAX_RECORD_BYTES, MAX_VALUE_BYTES
from tests.support.deploy import (
    CLOSING_SECONDS,
    SERVICES,
    containers,
    environment_of,
    image_environment,
    interpolate,
    ours,
    settings_of,
    variables_of,
)


class TestSettings:
    def test_compose_runs_every_service_of_the_tree(self) -> None:
        assert set(ours()) == {*SERVICES, "sandbox"}

    @pytest.mark.parametrize("service", SERVICES)
    def test_a_variable_of_compose_is_a_setting_of_that_service(self, service: str) -> None:
        given = {name for name in environment_of(service) if name.startswith("SONANT_")}
        assert given <= variables_of(settings_of(service))

    @pytest.mark.parametrize("service", SERVICES)
    def test_a_required_setting_is_given(self, service: str) -> None:
        settings = settings_of(service)
        required = {f"SONANT_{name.upper()}" for name, field in settings.model_fields.items() if field.is_required()}
        assert required <= {*environment_of(service), *image_environment()}

    @pytest.mark.parametrize("service", SERVICES)
    def test_settings_read_what_compose_says(
        self, service: str, secrets: dict[str, str], monkeypatch: pytest.MonkeyPatch
    ) -> None:
        for name in [name for name in os.environ if name.startswith("SONANT_")]:
            monkeypatch.delenv(name)
        for name, value in environment_of(service).items():
            if value is not None:
                monkeypatch.setenv(name, interpolate(value, secrets))
        settings = settings_of(service)()
        assert settings.log_url == "kafka://kafka:9092"
        assert settings.redis_url == f"redis://:{secrets['VALKEY_PASSWORD']}@valkey:6379/0"
        assert (settings.ops_host, settings.ops_port) == ("0.0.0.0", 9100)

    def test_the_image_names_settings_that_exist(self) -> None:
        assert set(image_environment()) <= variables_of(settings_of("gateway"))

    def test_instances_are_told_apart_by_their_host_name(self) -> None:
        assert all("SONANT_INSTANCE" not in environment_of(service) for service in SERVICES)
        assert "SONANT_INSTANCE" not in image_environment()

    @pytest.mark.parametrize("service", SERVICES)
    def test_a_drain_may_finish(self, service: str) -> None:
        grace = containers()[service]["stop_grace_period"]
        drain = environment_of(service)["SONANT_DRAIN_SECONDS"]
        assert float(grace.removesuffix("s")) >= float(drain or 0) + CLOSING_SECONDS

    def test_the_largest_request_of_text_fits_into_a_record(self) -> None:
        # Numbers may be written longer than they came; a request that grows too long by that is refused.
        assert settings_of("gateway").model_fields["max_body_bytes"].default < MAX_VALUE_BYTES
        assert int(environment_of("kafka")["KAFKA_MESSAGE_MAX_BYTES"] or 0) >= MAX_RECORD_BYTES

    def test_the_health_check_of_kafka_fits_beside_the_broker(self) -> None:
        check = " ".join(containers()["kafka"]["healthcheck"]["test"])
        heaps = re.findall(r"-Xmx(\d+)m", f"{environment_of('kafka')['KAFKA_HEAP_OPTS']} {check}")
        assert len(heaps) == 2
        limit = containers()["kafka"]["deploy"]["resources"]["limits"]["memory"]
        # What a JVM needs beside its heap: the broker about 250 MB, a check about 80.
        assert sum(map(int, heaps)) + 330 <= 1024 * int(limit.removesuffix("g"))

    def test_the_fsync_policy_of_a_log_on_valkey_can_be_chosen(self) -> None:
        command = containers()["valkey"]["command"]
        assert command[command.index("--appendfsync") + 1] == "${SONANT_FSYNC:-everysec}"

    def test_topics_come_from_the_declarations_alone(self) -> None:
        assert environment_of("kafka")["KAFKA_AUTO_CREATE_TOPICS_ENABLE"] == "false"
