"""YAML as people write it: a key that stands twice is an error, where the library would silently drop the first."""

from collections.abc import Hashable
from pathlib import Path
from typing import Any

import yaml

from pipeline.errors import ConfigurationError


class _Loader(yaml.SafeLoader):
    """Safe, and strict about doubled keys."""

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Hashable, Any]:
        """Return the mapping. Raises ConstructorError for a key that stands twice."""
        seen: set[str] = set()
        for key, _ in node.value:
            if isinstance(key, yaml.ScalarNode) and key.tag != "tag:yaml.org,2002:merge":
                if key.value in seen:
                    raise yaml.constructor.ConstructorError(None, None, f"the key {key.value!r} stands twice", key.start_mark)
                seen.add(key.value)
        return super().construct_mapping(node, deep)


def parse_yaml(text: str, origin: str) -> Any:
    """Return the one document of a text. Raises ConfigurationError that names ``origin`` and the place."""
    try:
        return yaml.load(text, _Loader)
    except (yaml.YAMLError, RecursionError) as error:
        raise ConfigurationError(f"{origin} cannot be read as YAML: {error}") from error


def read_yaml(path: Path) -> Any:
    """Return the one document of a file. Raises ConfigurationError that names the file and the place."""
    try:
        text = path.read_text("utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigurationError(f"{path} cannot be read ({error}); give a YAML file in UTF-8") from error
    return parse_yaml(text, str(path))
