"""Which interpreter runs this file: version, compiler and optimisations, and the versions of the packages it has.

A script of the standard library alone, so that the interpreter of any checkout can run it: `python -I interpreter.py
aiohttp uvloop` prints one JSON line.
"""

import importlib.metadata
import json
import platform
import sys
import sysconfig
from collections.abc import Sequence

# What a build with each optimisation leaves in its record: options of configure, or flags of the compiler.
PGO = ("--enable-optimizations", "-fprofile-use", "-fprofile-instr-use")
LTO = ("--with-lto", "-flto")
WITHOUT_LTO = "--with-lto=no"
# Distributions set both outside of configure, so for them an absent trace tells nothing.
OF_A_DISTRIBUTION = "--prefix=/usr'"


def optimisations(arguments: str, flags: str) -> str:
    """How an interpreter was built, by the arguments of its configure and the flags of its compiler."""
    record = f"{arguments} {flags}".replace(WITHOUT_LTO, "")
    found = {name: any(trace in record for trace in traces) for name, traces in (("PGO", PGO), ("LTO", LTO))}
    if not any(found.values()) and OF_A_DISTRIBUTION in arguments:
        return "built by a distribution, which does not record whether with PGO and LTO"
    return "built " + ", ".join(f"{'with' if there else 'without'} {name}" for name, there in found.items())


def interpreter() -> str:
    """Implementation, version, compiler, optimisations and place."""
    flags = ("PY_CFLAGS", "PY_CFLAGS_NODIST", "PY_CORE_CFLAGS", "PY_LDFLAGS", "PY_CORE_LDFLAGS")
    record = " ".join(str(sysconfig.get_config_var(name) or "") for name in flags)
    built = optimisations(str(sysconfig.get_config_var("CONFIG_ARGS") or ""), record)
    name = f"{platform.python_implementation()} {platform.python_version()}"
    return f"{name}, {platform.python_compiler()}, {built}, {sys.base_prefix}"


def versions(packages: Sequence[str]) -> str:
    """The installed ones of these packages with their versions."""
    installed = {distribution.name: distribution.version for distribution in importlib.metadata.distributions()}
    return ", ".join(f"{name} {installed[name]}" for name in packages if name in installed)


if __name__ == "__main__":
    print(json.dumps({"interpreter": interpreter(), "versions": versions(sys.argv[1:])}))
