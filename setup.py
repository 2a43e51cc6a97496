"""Packaging of larq-groupnet. requirements.txt pins the tested versions."""

import runpy
from pathlib import Path

from setuptools import find_packages, setup

HERE = Path(__file__).parent


setup(
    name="larq-groupnet",
    version=runpy.run_path(str(HERE / "larq_groupnet" / "version.py"))["__version__"],
    description="Group-Net: structured binary neural networks in Keras and Larq, for ARM",
    long_description=(HERE / "README.md").read_text(),
    long_description_content_type="text/markdown",
    author="The larq-groupnet authors",
    license="Apache-2.0",
    packages=[
        *find_packages(include=["larq_groupnet", "larq_groupnet.*"]),
        "larq_groupnet.recipes.zoo",
    ],
    # Packages the recipes of zoo/.
    package_dir={"larq_groupnet.recipes.zoo": "zoo"},
    entry_points={"console_scripts": ["larq-groupnet = larq_groupnet.cli:main"]},
    package_data={
        "larq_groupnet": ["py.typed", "weights/*.json", "weights/files/*", "training/templates/*"]
    },
    python_requires=">=3.10,<3.14",
    install_requires=[
        "tensorflow>=2.16,<2.22",
        # Must have TensorFlow's minor version, which it requires itself.
        "tf_keras>=2.16,<2.22",
        # Larq excludes numpy 2, and no numpy 1 has a wheel for Python 3.13: see docs/install.md.
        "larq>=0.14,<0.15; python_version < '3.13'",
        # Has wheels up to Python 3.12, and none for Linux on ARM.
        "larq-compute-engine>=0.16,<0.17; python_version < '3.13' "
        "and (sys_platform != 'linux' or platform_machine == 'x86_64')",
        "keras-tuner>=1.4.7,<2",
        "tensorflow-datasets>=4.9.4,<5",
        # Comes with tensorflow-datasets. Newer ones need protobuf 5 without declaring it, and
        # TensorFlow 2.16 and 2.17 exclude it.
        "tensorflow-metadata>=1.16.1,<1.18",
        "absl-py>=2.1,<3",
        "numpy>=1.26.4,<2; python_version < '3.13'",
        # Comes with tensorflow-datasets. Newer ones need numpy 2 without declaring it.
        "pyarrow>=14.0.2,<22; python_version < '3.13'",
        "scipy>=1.11.4",
        "scikit-learn>=1.3.2",
        "matplotlib>=3.10.0",
        "tqdm>=4.66",
        "filelock>=3.12.4",
        "h5py>=3.10",
        "jinja2>=3.1.2",
        "pillow>=10.3",
        "requests>=2.31",
        "pooch>=1.8",
        "safetensors>=0.4.3",
        "terminaltables>=3.1.10",
        "wrapt>=1.16",
        # Writes the logs of a run; TensorFlow does not install it from 2.21 on.
        "tensorboard>=2.16,<2.22",
        "importlib_resources>=6.1",
    ],
    extras_require={
        "cuda": ["tensorflow[and-cuda]>=2.16,<2.22"],
        # Other dependencies of larq-zoo and zookeeper. Their own pin, protobuf<3.21, excludes every
        # supported TensorFlow, so install them with
        # `pip install --no-deps -r requirements-zoo.txt`.
        "zoo": ["click>=7", "typeguard>=3"],
        "torch": ["torch>=2.0"],
        "dev": [
            "pytest",
            "pytest-xdist",
            "ruff",
            "import-linter",
            "mypy",
            "mkdocs-material",
            "mkdocstrings[python]",
            "pre-commit",
        ],
    },
    classifiers=[
        "Development Status :: 3 - Alpha",
        "Intended Audience :: Science/Research",
        "License :: OSI Approved :: Apache Software License",
        "Programming Language :: Python :: 3.10",
        "Programming Language :: Python :: 3.11",
        "Programming Language :: Python :: 3.12",
        "Programming Language :: Python :: 3.13",
        "Topic :: Scientific/Engineering :: Artificial Intelligence",
    ],
)
