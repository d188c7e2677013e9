"""The models file: what it may say, and what there is without one."""

from pathlib import Path

import pytest

from llm_stream.aliases import OPENAI_URL, ModelsFileError, Upstream, load

UPSTREAM = '{ name = "a", base_url = "http://h/v1", model = "m" }'


def write(directory: Path, text: str | bytes) -> Path:
    file = directory / "models.toml"
    file.write_bytes(text.encode() if isinstance(text, str) else text)
    return file


def test_an_alias_has_defaults_that_fit_its_upstreams(tmp_path: Path) -> None:
    text = f"[aliases]\none = {{ upstreams = [{UPSTREAM}] }}\ntwo = {{ upstreams = [{UPSTREAM}, {UPSTREAM}] }}"
    aliases = load(write(tmp_path, text), None).aliases
    assert not aliases["one"].holds_sentences
    assert aliases["two"].holds_sentences


@pytest.mark.parametrize(
    ("text", "complaint"),
    [
        ("", "no aliases"),
        ("aliases = 1", "aliases"),
        ("= nonsense", "Invalid"),
        (b"\xff\xfe", "utf-8"),
        ("[aliases]\na = { upstreams = [] }", "at least 1"),
        ("[aliases]\na = { }", "upstreams"),
        (f"[aliases]\na = {{ upstreams = [{UPSTREAM}], tries = 0 }}", "tries"),
        (f"[aliases]\na = {{ upstreams = [{UPSTREAM}], idle_timeout = 0 }}", "idle_timeout"),
        (f"[aliases]\na = {{ upstreams = [{UPSTREAM}], release = 'words' }}", "release"),
        (f"[aliases]\na = {{ upstreams = [{UPSTREAM}], typo = 1 }}", "typo"),
        (f"[aliases]\na = {{ upstreams = [{UPSTREAM}], larger = 'b' }}", "does not exist"),
        (f"[aliases]\na = {{ upstreams = [{UPSTREAM}], larger = 'a' }}", "leads back"),
        (
            f"[aliases]\na = {{ upstreams = [{UPSTREAM}], larger = 'b' }}\n"
            f"b = {{ upstreams = [{UPSTREAM}], larger = 'a' }}",
            "leads back",
        ),
        (f"[aliases]\n'a b' = {{ upstreams = [{UPSTREAM}] }}", "pattern"),
        ("[aliases]\na = { upstreams = [" + UPSTREAM.replace("http:", "file:") + "] }", "base_url"),
    ],
)
def test_a_models_file_that_contradicts_itself_is_refused_with_a_reason(
    tmp_path: Path, text: str | bytes, complaint: str
) -> None:
    with pytest.raises(ModelsFileError, match=complaint):
        load(write(tmp_path, text), None)


def test_a_models_file_that_is_not_there_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ModelsFileError, match="No such file"):
        load(tmp_path / "none.toml", None)


def test_a_chain_of_larger_aliases_is_fine(tmp_path: Path) -> None:
    chain = "\n".join(
        f"{name} = {{ upstreams = [{UPSTREAM}]{larger} }}"
        for name, larger in {"a": ", larger = 'b'", "b": ", larger = 'c'", "c": ""}.items()
    )
    assert set(load(write(tmp_path, f"[aliases]\n{chain}"), None).aliases) == {"a", "b", "c"}


def test_without_a_file_the_default_alias_is_what_there_is() -> None:
    [unconfigured] = load(None, None, {}).aliases["default"].upstreams
    with pytest.raises(KeyError, match="OPENAI_API_KEY"):
        unconfigured.key({})
    [sandbox] = load(None, "http://h", {}).aliases["default"].upstreams
    assert (sandbox.base_url, sandbox.provider, sandbox.key({})) == ("http://h/v1", "sandbox", None)
    [openai] = load(None, "http://h", {"OPENAI_API_KEY": "sk"}).aliases["default"].upstreams
    assert (openai.base_url, openai.key({"OPENAI_API_KEY": " sk\n"})) == (OPENAI_URL, "sk")


@pytest.mark.parametrize("environment", [{}, {"KEY": ""}, {"KEY": " \n"}])
def test_a_key_that_is_not_set_or_empty_is_missing(environment: dict[str, str]) -> None:
    upstream = Upstream(name="a", base_url="http://h", model="m", key_env="KEY")
    with pytest.raises(KeyError, match="KEY"):
        upstream.key(environment)
