"""Settings: read from the environment once, refused with every wrong name."""

from __future__ import annotations

import pytest
from pydantic import ValidationError

from workers.settings import Settings


def test_lists_are_read_as_people_write_them(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TAILRACE_POOLS", "cpu, gpu-h100,")
    monkeypatch.setenv("TAILRACE_STAGE_COMMAND", "python -m 'my stage'")
    monkeypatch.setenv("TAILRACE_JUDGE_ENDPOINTS", "127.0.0.1:8000, [::1]:8000")
    monkeypatch.setenv("TAILRACE_STAGE_ENVIRONMENT", "HF_TOKEN,HTTPS_PROXY")
    settings = Settings()
    assert settings.pools == ("cpu", "gpu-h100")
    assert settings.judge_endpoints == ("127.0.0.1:8000", "[::1]:8000")
    assert settings.stage_environment == ("HF_TOKEN", "HTTPS_PROXY")
    assert settings.stage_command == ("python", "-m", "my stage")


def test_every_wrong_setting_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    wrong = {
        "POOLS": "CPU",
        "WORKER_NAME": "../etc",
        "SLOTS": "-1",
        "SERVER": "http://host:1",
        "BROKER_URL": "127.0.0.1:5672",
        "GRACE_SECONDS": "0",
        "ACCELERATOR": "abacus",
        "STAGE_COMMAND": "",
        "STAGE_ENVIRONMENT": "HF_TOKEN, TAILRACE_BROKER_URL",
        "JUDGE_ENDPOINTS": "127.0.0.1:8000,http://host",
        "JUDGE_PROXY": "http://user:password@proxy:3128",
    }
    for name, value in wrong.items():
        monkeypatch.setenv(f"TAILRACE_{name}", value)
    with pytest.raises(ValidationError) as caught:
        Settings()
    assert {str(e["loc"][0]).upper() for e in caught.value.errors()} == set(wrong)


def test_settings_survive_the_way_to_a_pool_process() -> None:
    settings = Settings(pools=("a", "b"), grace_seconds=3.5)
    assert Settings(**settings.model_dump(mode="json")) == settings
