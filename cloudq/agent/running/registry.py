"""Registries of container images: which image a name stands for just now.

https://distribution.github.io/distribution/spec/api/ and .../spec/auth/token/
"""

from __future__ import annotations

import ipaddress
import json
import re
import urllib.request
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Callable, Optional
from urllib.error import HTTPError
from urllib.parse import urlencode, urlsplit

TIMEOUT_SECONDS = 15

_DOCKER_HUB = "docker.io"
_DOCKER_HUB_KEYS = ("https://index.docker.io/v1/", "index.docker.io", "registry-1.docker.io")
_DIGEST = re.compile(r"sha256:[0-9a-f]{64}\Z")
_REFERENCE = re.compile(
    r"(?P<scheme>docker|oras)://"
    r"(?P<name>(?:(?P<host>[\w-]*[.:\[][\w.:\[\]-]*|localhost)/)?(?P<repository>[a-z0-9][a-z0-9._/-]*))"
    r"(?::(?P<tag>[\w.-]+))?\Z"
)
_MANIFESTS = ", ".join(
    f"application/vnd.{kind}+json"
    for kind in (
        "oci.image.index.v1",
        "docker.distribution.manifest.list.v2",
        "oci.image.manifest.v1",
        "docker.distribution.manifest.v2",
    )
)


@dataclass(frozen=True)
class Answer:
    """What a server says: status, headers (names in lower case), body."""

    status: int
    headers: Mapping[str, str]
    body: bytes = b""


Ask = Callable[[str, str, Mapping[str, str]], Answer]
"""Sends one request: method, URL, headers. Raises OSError when there is no answer."""


def registry_of(reference: str) -> str:
    """Return the host of the registry that `docker://NAME` or `oras://NAME` is in."""
    match = _REFERENCE.match(reference.partition("@")[0])
    return (match and match["host"]) or _DOCKER_HUB


def pin(reference: str, auth_file: Optional[Path] = None, ask: Optional[Ask] = None) -> Optional[str]:
    """Return the same image by its digest, None if the registry does not tell.

    Args:
        reference: `docker://` or `oras://` and a name; without a tag it means `latest`.
        auth_file: Credentials for the registry, in the form of Docker's `config.json`.
        ask: How to send a request.
    """
    match = _REFERENCE.match(reference)
    if not match:
        return reference if "@sha256:" in reference else None
    host, repository = match["host"] or _DOCKER_HUB, match["repository"]
    basic = _credentials(host, auth_file)
    if host == _DOCKER_HUB:
        host = "registry-1.docker.io"
        repository = repository if "/" in repository else f"library/{repository}"
    for scheme in ("https", "http") if _is_loopback(host) else ("https",):
        url = f"{scheme}://{host}/v2/{repository}/manifests/{match['tag'] or 'latest'}"
        try:
            digest = _digest(url, basic, ask or _ask)
        except (OSError, ValueError, RecursionError):
            continue
        return f"{match['scheme']}://{match['name']}@{digest}" if digest else None
    return None


def _digest(url: str, basic: str, ask: Ask) -> Optional[str]:
    headers = {"Accept": _MANIFESTS}
    answer = ask("HEAD", url, headers)
    if answer.status == 401:
        authorization = _authorization(answer.headers.get("www-authenticate", ""), basic, ask)
        answer = ask("HEAD", url, {**headers, "Authorization": authorization})
    digest = answer.headers.get("docker-content-digest", "")
    return digest if answer.status == 200 and _DIGEST.match(digest) else None


def _authorization(challenge: str, basic: str, ask: Ask) -> str:
    """Return the header that a registry asked for. Raises ValueError if it cannot be had."""
    kind, _, rest = challenge.partition(" ")
    if kind.lower() == "basic" and basic:
        return f"Basic {basic}"
    fields = dict(re.findall(r'(\w+)="([^"]*)"', rest))
    realm = urlsplit(fields.pop("realm", ""))
    if realm.scheme != "https" and not (realm.scheme == "http" and _is_loopback(realm.netloc)):
        raise ValueError(f"no way to log in: {challenge}")
    query = urlencode({name: fields[name] for name in ("service", "scope") if name in fields})
    url = realm._replace(query="&".join(filter(None, (realm.query, query)))).geturl()
    answer = json.loads(ask("GET", url, {"Authorization": f"Basic {basic}"} if basic else {}).body)
    if not isinstance(answer, dict):
        raise ValueError(f"no token from {url}")
    return f"Bearer {answer.get('token') or answer.get('access_token')}"


def _credentials(host: str, auth_file: Optional[Path]) -> str:
    """Return `user:password` in base64, as the file has it; empty if it has none for the host."""
    if auth_file is None:
        return ""
    try:
        auths = json.loads(auth_file.read_text(encoding="utf-8")).get("auths", {})
        names = (host, f"https://{host}", *(_DOCKER_HUB_KEYS if host == _DOCKER_HUB else ()))
        return next((str(auths[name]["auth"]) for name in names if "auth" in auths.get(name, {})), "")
    except (OSError, ValueError, AttributeError, TypeError):
        return ""


def _is_loopback(host: str) -> bool:
    """Tell whether plain http will do, as for Docker."""
    name = host.rpartition(":")[0] or host
    try:
        return name == "localhost" or ipaddress.ip_address(name.strip("[]")).is_loopback
    except ValueError:
        return False


class _NoRedirects(urllib.request.HTTPRedirectHandler):
    def redirect_request(self, *_: object) -> None:
        """Go nowhere else: the credentials are for this host."""


def _ask(method: str, url: str, headers: Mapping[str, str]) -> Answer:
    request = urllib.request.Request(url, method=method, headers=dict(headers))  # noqa: S310 - made by us
    opener = urllib.request.build_opener(_NoRedirects)
    try:
        with opener.open(request, timeout=TIMEOUT_SECONDS) as response:
            return Answer(response.status, _by_name(response.headers.items()), response.read(1 << 20))
    except HTTPError as error:
        with error:
            return Answer(error.code, _by_name(error.headers.items()))


def _by_name(headers: Iterable[tuple[str, str]]) -> Mapping[str, str]:
    return {name.lower(): value for name, value in headers}
