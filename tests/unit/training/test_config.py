from __future__ import annotations

from pathlib import Path

import pytest

from tailrace.formats.spec.run_spec import FinalModel, LoraSpec, Schedule
from training.config import read_config
from training.errors import ConfigError

CONFIGS = Path(__file__).parents[3] / "training" / "configs"


def test_the_guide_is_followed() -> None:
    config = read_config(CONFIGS / "train_golden_v2.yaml")
    train = config.train
    assert config.model.source == "distilgpt2"
    assert (train.epochs, train.batch_size, train.max_seq_length) == (100, 4, 128)
    assert (train.learning_rate, train.seed, train.eval_fraction) == (2e-5, 42, 0)


def test_the_offline_twin() -> None:
    config = read_config(CONFIGS / "train_golden_v2_nano.yaml")
    train = config.train
    assert config.model.preset == "gpt2-nano"
    assert (train.max_steps, train.batch_size, train.warmup_steps) == (400, 16, 30)
    assert (train.learning_rate, train.min_learning_rate_ratio) == (1e-3, 0.1)
    assert train.schedule is Schedule.COSINE
    assert train.eval_fraction == 0.2


def test_the_adapter_on_a_pretrained_model() -> None:
    config = read_config(CONFIGS / "train_golden_v2_lora.yaml")
    train = config.train
    assert train.adapter is not None
    assert train.adapter.lora == LoraSpec(rank=16, alpha=32.0)
    assert train.final_model is FinalModel.BEST
    assert train.max_steps is not None
    assert train.max_steps <= 100
    assert train.packing


def test_every_wrong_key_is_named_and_old_names_get_the_new(tmp_path: Path) -> None:
    path = tmp_path / "old.yaml"
    path.write_text(
        "model: {model_id: distilgpt2}\ntraining: {num_epochs: 3}\ndevice: cpu\n"
        "train: {batch_size: 0, epochs: 1}\n"
    )
    with pytest.raises(ConfigError) as caught:
        read_config(path)
    message = str(caught.value)
    for expected in (
        "training: is an old name: use train",
        "device: is an old name: use the --device flag",
        "model.model_id: is an old name: use model.source",
        "train.batch_size: must be at least 1",
    ):
        assert expected in message


@pytest.mark.parametrize(
    ("content", "complaint"), [("a: [", "is not YAML"), ("", "must be a mapping"), ("- 1", "must")]
)
def test_no_configuration(tmp_path: Path, content: str, complaint: str) -> None:
    path = tmp_path / "config.yaml"
    path.write_text(content)
    with pytest.raises(ConfigError, match=complaint):
        read_config(path)
    with pytest.raises(ConfigError, match="no configuration file"):
        read_config(tmp_path / "nothing.yaml")


def test_a_path_of_a_chat_template_is_read_next_to_the_configuration(tmp_path: Path) -> None:
    path = tmp_path / "config.yaml"
    path.write_text(
        "model: {preset: gpt2-nano, chat_template: my/own.jinja}\ntrain: {max_steps: 1}\n"
    )
    with pytest.raises(ConfigError, match=r"model.chat_template: .*own.jinja cannot be read"):
        read_config(path)
    (tmp_path / "my").mkdir()
    (tmp_path / "my" / "own.jinja").write_text("{{ messages }}")
    assert read_config(path).model.chat_template == "{{ messages }}"
