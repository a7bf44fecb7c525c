"""What pyproject.toml cannot say: the C kernels, extensions for all Pythons, left out where no compiler is."""

from setuptools import setup

setup(
    cffi_modules=["daemon/kernels/build.py:ffibuilder", "pulse/kernels/build.py:ffibuilder"],
    options={"bdist_wheel": {"py_limited_api": "cp311"}},
)
