"""Which modules are compiled, and the switches for it.

``KHEAP_PURE=1`` compiles none; ``KHEAP_COMPILED=1`` makes a failed compilation an error.
By default a module that cannot be compiled is left to its Python source, and
``kheap.COMPILED`` and ``kheap --version`` tell so.
"""

import os
import sysconfig

from setuptools import Extension, setup

COMPILED_MODULES = (
    "_native.pyx",
    "heap.py",
    "aligned.py",
    "calls.py",
    "synced.py",
    "block_tree.py",
    "quad.py",
    "buddy.py",
    "check.py",
    "survey.py",
    "replay.py",
    "fit.py",
    "yardstick.py",
)

DIRECTIVES = {
    "annotation_typing": False,
    "binding": False,
    "boundscheck": False,
    "cdivision": True,
    "embedsignature": True,
    "freethreading_compatible": True,
    "infer_types": True,
    "initializedcheck": False,
    "language_level": 3,
    "wraparound": False,
}

# The engine's steps are small functions in a row; GCC's limits stop halfway through it.
GCC_INLINES_MORE = [
    "-finline-limit=4000",
    "--param=inline-unit-growth=500",
    "--param=large-function-growth=1000",
    "--param=max-inline-insns-single=2000",
]


def extensions():
    """The extensions to build; none for a pure build."""
    if os.environ.get("KHEAP_PURE") == "1":
        return []
    from Cython.Build import cythonize

    flags = [] if os.name == "nt" else ["-O3", "-g0", "-fno-tree-slp-vectorize"]
    if "gcc" in (sysconfig.get_config_var("CC") or ""):
        flags += GCC_INLINES_MORE
    found = [
        Extension(
            "kheap._core." + name.partition(".")[0],
            ["src/kheap/_core/" + name],
            extra_compile_args=flags,
        )
        for name in COMPILED_MODULES
    ]
    built = cythonize(found, include_path=["src"], compiler_directives=DIRECTIVES)
    for extension in built:
        # Set here: given to Extension(), cythonize() drops it.
        extension.optional = os.environ.get("KHEAP_COMPILED") != "1"
    return built


setup(ext_modules=extensions())
