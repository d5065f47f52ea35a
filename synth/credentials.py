"""Credentials in what users write: refused, and shown to nobody. They come from the environment."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from typing import Any

from synth.errors import ConfigError

_HIDDEN = "***"
_SHOWN = 80  # characters of a value that a message quotes

# The forms that issuers gave their secrets so that they can be found. A key without a form of its
# own, such as AWS's secret key, looks like any hash: it shows only by its name or in a URL.
_ALONE = r"(?<![A-Za-z0-9])"
_AFTER_SCHEME = r"(?:(?<=://)|(?<=:/)(?!/))"  # a path that was tidied up has one slash left
_FORMS: Mapping[str, re.Pattern[str]] = {
    "a private key": re.compile(r"-----BEGIN [A-Z0-9 ]*PRIVATE KEY-----.*", re.DOTALL),
    "a Hugging Face token": re.compile(_ALONE + r"(?:hf_|api_org_)[A-Za-z0-9]{30,}"),
    "an AWS access key": re.compile(_ALONE + r"(?:AKIA|ASIA)[A-Z0-9]{16}(?![A-Za-z0-9])"),
    "a GitHub token": re.compile(_ALONE + r"(?:gh[pousr]_[A-Za-z0-9]{30,}|github_pat_\w{22,})"),
    "a GitLab token": re.compile(_ALONE + r"glpat-[\w-]{20,}"),
    "a Google API key": re.compile(_ALONE + r"AIza[\w-]{35}"),
    "an API key": re.compile(
        _ALONE + r"(?:sk-(?=[\w-]*[0-9])[\w-]{32,}|nvapi-[\w-]{40,}|xox[abeoprs]-[\w-]{10,})"
    ),
    "a JSON web token": re.compile(_ALONE + r"eyJ[\w-]{8,}\.eyJ[\w-]{8,}\.[\w-]*"),
    # Neither a port nor the container of an Azure account (container@account).
    "a URL with a password": re.compile(_AFTER_SCHEME + r"[^/\s:@]*:(?!\d+(?:/|$))[^\s@]+(?=@)"),
    "a URL with a token": re.compile(
        r"(?:(?<=https://)|(?<=http://)|(?<=https:/)(?!/)|(?<=http:/)(?!/))[^/\s:@]+(?=@)"
    ),
    "a signed URL": re.compile(
        r"(?<=[?&])(?:X-Amz-(?:Signature|Credential|Security-Token)|AWSAccessKeyId|Signature|sig|"
        r"(?:access_|auth_)?token|api_?key|password|secret)=[^&\s]+",
        re.IGNORECASE,
    ),
}
_NAMES = re.compile(
    r"(?:.*[_-])?(?:token|api_?key|access_key(?:_id)?|secret(?:_access)?(?:_key)?|private_key|"
    r"passw(?:or)?d|passphrase|credentials?)",
    re.IGNORECASE,
)
_REMEDY = (
    "Secrets come from the environment: set HF_TOKEN for the Hugging Face hub, AWS_ACCESS_KEY_ID "
    "and AWS_SECRET_ACCESS_KEY for S3, RAY_AUTH_TOKEN for a Ray cluster, and take it out here"
)


def refuse_credentials(where: str, value: object) -> None:
    """Refuse what users wrote if it holds a secret.

    Args:
        where: the file or option that it was written in.
        value: a text, or lists and mappings of them.

    Raises:
        ConfigError: names the key and what it looks like, not the secret.
    """
    if found := next(_found(value, ""), None):
        key, kind = found
        place = f"{masked(key)!r} holds" if key else "holds"
        raise ConfigError(masked(where), f"{place} what looks like {kind}", _REMEDY)


def masked(text: str) -> str:
    """A text with every secret in it replaced by asterisks."""
    for form in _FORMS.values():
        text = form.sub(_HIDDEN, text)
    return text


def shown(value: object) -> str:
    """A value as a message may quote it: in Python's notation, short, and without secrets."""
    text = masked(repr(_without_named(value)))
    return text if len(text) <= _SHOWN else f"{text[: _SHOWN - 3]}..."


def _found(value: object, key: str) -> Iterator[tuple[str, str]]:
    """The keys that hold secrets, and what kind of secret it seems to be."""
    if isinstance(value, str):
        for kind, form in _FORMS.items():
            if form.search(value):
                yield key, kind
                return
        if _is_named_secret(key.rpartition(".")[2], value):
            yield key, "a secret, by its name"
    elif isinstance(value, Mapping):
        for name, inner in value.items():
            yield from _found(str(name), key)
            yield from _found(inner, f"{key}.{name}" if key else str(name))
    elif isinstance(value, list | tuple):
        for inner in value:
            yield from _found(inner, key)


def _is_named_secret(name: str, value: object) -> bool:
    return bool(_NAMES.fullmatch(name)) and isinstance(value, str) and bool(value)


def _without_named(value: object) -> Any:
    if isinstance(value, Mapping):
        return {
            name: _HIDDEN if _is_named_secret(str(name), inner) else _without_named(inner)
            for name, inner in value.items()
        }
    if isinstance(value, list | tuple):
        return [_without_named(inner) for inner in value]
    return value
