"""Write ``locks/jars.toml`` anew: ``python -m infra.lock_jars`` after changing a version in ``infra.versions``.

Resolves the transitive jars in pure Python (jgo reads the published POMs) and notes each one's coordinates and sha256.
The lock holds no address: where the jars come from is the resolver's own default.
"""

import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path

from infra.runtime import JARS_LOCK
from infra.versions import FLINK_CONNECTOR, KAFKA, KAFKA_LOGGING
from pipeline.adapters.files import sha256_of
from pipeline.errors import ConfigurationError

# The roots are resolved one by one: together, the dependency management of log4j's parent would replace kafka-clients 4.4
# by the release that log4j is tested with. Where two roots bring the same artifact, the first one's version counts.
ROOTS: Mapping[str, tuple[str, ...]] = {"kafka": (KAFKA, KAFKA_LOGGING), "flink-connector": (FLINK_CONNECTOR,)}
HEADER = "# The jars of the local stack, by Maven coordinates and sha256. Written by `python -m infra.lock_jars`.\n"


def resolve(roots: Sequence[str], folder: Path) -> dict[str, str]:
    """Return sha256 by ``group:artifact:version`` of all runtime jars below ``roots``."""
    jars: dict[tuple[str, str], tuple[str, str]] = {}
    for root in roots:
        jars = _resolve_one(root, folder) | jars
    return {f"{group}:{artifact}:{jars[group, artifact][0]}": jars[group, artifact][1] for group, artifact in sorted(jars)}


def _resolve_one(root: str, folder: Path) -> dict[tuple[str, str], tuple[str, str]]:
    """Return version and sha256 by group and artifact."""
    from jgo.env import EnvironmentBuilder
    from jgo.maven import MavenContext

    context = MavenContext(repo_cache=folder / "repository")
    environment = EnvironmentBuilder(context=context, cache_dir=folder / "environments").from_endpoint(root)
    if environment.lockfile is None:
        raise ConfigurationError(f"{root} resolved to nothing; check its version in infra/versions.py")
    files = {path.name: path for path in environment.all_jars}
    return {
        (each.groupId, each.artifactId): (each.version, sha256_of(files[f"{each.artifactId}-{each.version}.jar"]))
        for each in environment.lockfile.dependencies
    }


def render(resolved: Mapping[str, Mapping[str, str]]) -> str:
    """Return the lock's text: one table of coordinates and hashes for each set of jars."""
    tables = [
        f"\n[{name}]\n" + "".join(f'"{coordinates}" = "{sha256}"\n' for coordinates, sha256 in jars.items())
        for name, jars in resolved.items()
    ]
    return HEADER + "".join(tables)


if __name__ == "__main__":
    with tempfile.TemporaryDirectory() as folder:
        JARS_LOCK.write_text(render({name: resolve(roots, Path(folder)) for name, roots in ROOTS.items()}), "utf-8")
