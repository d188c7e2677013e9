"""Secrets at rest open for their organisation alone, and with any key that is still in use."""

import pytest

from common.secret_box import PREFIX, SecretBox, SecretError, secret_keys

OLD, NEW = "o" * 32, "n" * 32


def test_a_secret_opens_for_its_organisation_alone() -> None:
    box = SecretBox([OLD])
    sealed = box.seal("whsec_very secret", "org-1")
    assert sealed.startswith(PREFIX)
    assert "secret" not in sealed.removeprefix(PREFIX)
    assert box.open(sealed, "org-1") == "whsec_very secret"
    with pytest.raises(SecretError):
        box.open(sealed, "org-2")


def test_what_is_sealed_is_not_sealed_again_and_cannot_be_made_up() -> None:
    box = SecretBox([OLD])
    sealed = box.seal("s", "org-1")
    assert box.seal(sealed, "org-1") == sealed == box.seal("s", "org-1")
    for made_up in (f"{PREFIX}AAAA", PREFIX, f"{PREFIX}ü", sealed[:-6] + "AAAA=="):
        with pytest.raises(SecretError):
            box.seal(made_up, "org-1")


def test_keys_are_rotated() -> None:
    sealed = SecretBox([OLD]).seal("s", "org-1")
    both = SecretBox(secret_keys(f"{NEW}, {OLD}"))
    assert both.open(sealed, "org-1") == "s"
    assert SecretBox([NEW]).open(both.seal("s", "org-1"), "org-1") == "s"
    with pytest.raises(SecretError):
        SecretBox([NEW]).open(sealed, "org-1")


def test_without_a_key_no_secret_is_kept() -> None:
    with pytest.raises(SecretError):
        SecretBox([]).seal("s", "org-1")
    with pytest.raises(ValueError, match="32"):
        SecretBox(["short"])
