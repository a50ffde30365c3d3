"""Build the optional compiled kernels; everything else is in pyproject.toml."""

from setuptools import Extension, setup

SOURCES = ("module", "dispatch", "kv_cache", "pool", "generic", "avx2", "avx512", "amx")
HEADERS = ("arguments.h", "kernels.h", "pool.h", "rounding.h", "vectors.h")
PARTS = (
    *("kernels", "common", "finish", "linear", "linear_parts", "linear_panels", "head"),
    *("int8", "int8_bytes", "int8_tiles", "int8_pairs"),
    *("attention", "attention_tiles", "elementwise", "statistics"),
)

setup(
    ext_modules=[
        Extension(
            "gpt2cli.ops.kernels",
            [f"gpt2cli/ops/c_kernels/{name}.c" for name in SOURCES],
            depends=[
                f"gpt2cli/ops/c_kernels/{name}" for name in (*HEADERS, *(f"{part}.inc" for part in PARTS))
            ],
            extra_compile_args=["-O3", "-std=gnu11", "-ffp-contract=off", "-pthread", "-Wno-psabi"],
            extra_link_args=["-pthread"],
            # Without a compiler the package installs all the same, and computes on numpy.
            optional=True,
        )
    ],
)
