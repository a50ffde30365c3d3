"""Build the optional compiled kernels; everything else is in pyproject.toml."""

from pathlib import Path

from setuptools import Extension, setup

FOLDER = Path("gpt2cli/ops/c_kernels")


def files(*patterns: str) -> list[str]:
    return sorted(path.as_posix() for pattern in patterns for path in FOLDER.glob(pattern))


setup(
    ext_modules=[
        Extension(
            "gpt2cli.ops.kernels",
            files("*.c"),
            # Changes here rebuild the kernels; source distributions include these files.
            depends=files("*.h", "*.inc"),
            extra_compile_args=[
                "-O3",
                "-std=gnu11",
                "-ffp-contract=off",
                "-pthread",
                "-Wno-psabi",
                "-fvisibility=hidden",
                # The same bytes, wherever they are built.
                f"-fdebug-prefix-map={Path.cwd()}=.",
            ],
            extra_link_args=["-pthread"],
            # Without a compiler, the package still installs and uses numpy.
            optional=True,
        )
    ],
)
