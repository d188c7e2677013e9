"""The models file: what it may say, and what there is without one."""

import re
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
        (f"[aliases]\na = {{ upstreams = [{UPSTREAM}], context_tokens = 0 }}", "context_tokens"),
        (f"[aliases]\na = {{ upstreams = [{UPSTREAM}], context_tokens = 1000 }}", "answer_reserve leaves nothing"),
        (f"[aliases]\na = {{ upstreams = [{UPSTREAM}], tokenizer = 'gpt2' }}", "tokenizer"),
        (
            f"[aliases]\na = {{ upstreams = [{UPSTREAM}], serves = 'embeddings', context_tokens = 8000 }}",
            "context_tokens is of conversations",
        ),
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


def two_embedding_upstreams(other: str, options: str = "") -> str:
    second = UPSTREAM.replace('model = "m"', f'model = "{other}"')
    return f"[aliases]\nv = {{ serves = 'embeddings', upstreams = [{UPSTREAM}, {second}]{options} }}"


def test_vectors_of_an_alias_come_from_one_model(tmp_path: Path) -> None:
    for text in (two_embedding_upstreams("m"), two_embedding_upstreams("n", ", same_vectors = true")):
        assert load(write(tmp_path, text), None).aliases["v"].serves == "embeddings"
    with pytest.raises(ModelsFileError, match="cannot be compared"):
        load(write(tmp_path, two_embedding_upstreams("n")), None)


def test_no_conversation_moves_to_embeddings_and_no_embeddings_move(tmp_path: Path) -> None:
    vectors = f"v = {{ serves = 'embeddings', upstreams = [{UPSTREAM}] }}"
    with pytest.raises(ModelsFileError, match="which makes embeddings"):
        load(write(tmp_path, f"[aliases]\n{vectors}\na = {{ upstreams = [{UPSTREAM}], larger = 'v' }}"), None)
    moving = vectors.replace("'embeddings'", "'embeddings', larger = 'a'")
    with pytest.raises(ModelsFileError, match="larger would change the model"):
        load(write(tmp_path, f"[aliases]\n{moving}\na = {{ upstreams = [{UPSTREAM}] }}"), None)


@pytest.mark.parametrize("page", ["models.md", "compatibility.md"])
def test_the_files_of_the_documentation_load(tmp_path: Path, page: str) -> None:
    text = (Path(__file__).parents[3] / "docs" / page).read_text()
    files = re.findall(r"```toml\n(.*?)```", text, re.DOTALL)
    assert files
    for file in files:
        assert load(write(tmp_path, file), None).aliases


def test_without_a_file_the_default_alias_is_what_there_is() -> None:
    [unconfigured] = load(None, None, {}).aliases["default"].upstreams
    with pytest.raises(KeyError, match="OPENAI_API_KEY"):
        unconfigured.key({})
    assert load(None, None, {}).aliases["embeddings"].serves == "embeddings"
    [sandbox] = load(None, "http://h", {}).aliases["default"].upstreams
    assert (sandbox.base_url, sandbox.provider, sandbox.key({})) == ("http://h/v1", "sandbox", None)
    [openai] = load(None, "http://h", {"OPENAI_API_KEY": "sk"}).aliases["default"].upstreams
    assert (openai.base_url, openai.key({"OPENAI_API_KEY": " sk\n"})) == (OPENAI_URL, "sk")


@pytest.mark.parametrize("environment", [{}, {"KEY": ""}, {"KEY": " \n"}])
def test_a_key_that_is_not_set_or_empty_is_missing(environment: dict[str, str]) -> None:
    upstream = Upstream(name="a", base_url="http://h", model="m", key_env="KEY")
    with pytest.raises(KeyError, match="KEY"):
        upstream.key(environment)


def test_the_model_on_this_machine_is_the_default_one_even_where_there_is_a_key() -> None:
    aliases = load(None, "http://sandbox", {"OPENAI_API_KEY": "k"}, local_model_url="http://127.0.0.1:7/").aliases
    (upstream,) = aliases["default"].upstreams
    assert upstream.base_url == "http://127.0.0.1:7/v1"
    assert aliases["local"] == aliases["default"]
    assert not aliases["default"].calls_tools


def test_a_models_file_keeps_its_default_and_gets_the_model_on_this_machine_beside_it(tmp_path: Path) -> None:
    file = write(tmp_path, f"[aliases]\ndefault = {{ upstreams = [{UPSTREAM}] }}")
    aliases = load(file, None, local_model_url="http://127.0.0.1:7").aliases
    assert aliases["default"].upstreams[0].base_url == "http://h/v1"
    assert aliases["local"].upstreams[0].base_url == "http://127.0.0.1:7/v1"


def test_an_alias_of_the_file_is_not_taken_by_the_model_on_this_machine(tmp_path: Path) -> None:
    file = write(tmp_path, f"[aliases]\nlocal = {{ upstreams = [{UPSTREAM}] }}")
    assert (
        load(file, None, local_model_url="http://127.0.0.1:7").aliases["local"].upstreams[0].base_url == "http://h/v1"
    )
