# Two images: `train` does everything, `runtime` only segments (no PyTorch, no compiler). docs/images.md says more.
#   docker build --target train --tag wcr-med:train .
#   docker build --target runtime --tag wcr-med:runtime .
# Any base of Debian's family will do: one with Python 3.11 to 3.13, or one without Python, which then gets its own release's.
ARG BASE=python:3.12-slim-bookworm

# hadolint ignore=DL3006 # BASE names a tag or a digest
FROM ${BASE} AS base
# The root file system may be read-only: whatever wants to write beside the run writes to /tmp. With USER set, a user id that
# the image does not know has a name.
ENV PATH=/opt/venv/bin:$PATH \
    PIP_DISABLE_PIP_VERSION_CHECK=1 \
    PIP_NO_CACHE_DIR=1 \
    PIP_ROOT_USER_ACTION=ignore \
    PYTHONDONTWRITEBYTECODE=1 \
    PYTHONUNBUFFERED=1 \
    HOME=/tmp \
    USER=wcr \
    MPLCONFIGDIR=/tmp/matplotlib \
    XDG_CACHE_HOME=/tmp/cache
# hadolint ignore=DL3008 # the Python of the base's release
RUN if ! python3 -c "import ensurepip"; then \
        apt-get update \
        && apt-get install --yes --no-install-recommends python3 python3-venv \
        && rm -rf /var/lib/apt/lists/*; \
    fi \
    && { getent group 1000 || groupadd --gid 1000 wcr; } \
    && { getent passwd 1000 || useradd --uid 1000 --gid 1000 --no-create-home --home-dir /home/wcr wcr; } \
    && mkdir -p /home/wcr

FROM base AS wheel
# hadolint ignore=DL3008 # any compiler of the release will do
RUN apt-get update \
    && apt-get install --yes --no-install-recommends g++ \
    && rm -rf /var/lib/apt/lists/*
COPY requirements/build.lock /requirements/
RUN python3 -m venv /opt/tools \
    && /opt/tools/bin/pip install --require-hashes --only-binary :all: --requirement /requirements/build.lock
WORKDIR /src
COPY pyproject.toml README.md LICENSE ./
COPY wcr_med wcr_med
# The same sources give the same wheel; one without the accelerator is an error here. The build is called without pip, which
# would compile twice. The wheel is installed under /installed, for the environment that both images have at /opt/venv.
RUN export PATH=/opt/tools/bin:$PATH SOURCE_DATE_EPOCH=315532800 \
    && mkdir /wheels \
    && python -c "import zipfile; from scikit_build_core.build import build_wheel; \
files = zipfile.ZipFile('/wheels/' + build_wheel('/wheels')).namelist(); \
assert any('libwcr_med_ops' in file for file in files), 'the accelerator was not built'" \
    && python3 -m venv --without-pip /opt/venv \
    && pip --python /opt/venv/bin/python install --no-deps --no-index --root /installed /wheels/*.whl

FROM base AS train
# hadolint ignore=DL3008,SC2046 # any compiler of the release will do: training.compile calls it, and needs Python's headers
RUN headers="$(python3 -c "import sysconfig; print(sysconfig.get_path('include'))")/Python.h" \
    && apt-get update \
    && apt-get install --yes --no-install-recommends g++ $(test -e "$headers" || echo python3-dev) \
    && rm -rf /var/lib/apt/lists/*
# Name an index of CPU builds of torch here for an image without the CUDA libraries. Those two packages then have the locked
# version, but no locked hash.
ARG TORCH_INDEX=
# hadolint ignore=SC2046 # two requirements
RUN --mount=type=bind,source=requirements/train.lock,target=/requirements/train.lock \
    python3 -m venv --without-pip /opt/venv \
    && python3 -m venv /tmp/pip \
    && install="/tmp/pip/bin/pip --python /opt/venv/bin/python install" \
    && if [ -z "$TORCH_INDEX" ]; then \
        $install --require-hashes --only-binary :all: --requirement /requirements/train.lock; \
    else \
        awk '/^[a-z]/ {keep = !/^(torch|torchvision|triton|nvidia-[a-z0-9-]+|cuda-[a-z]+)==/} keep' \
            /requirements/train.lock > /tmp/other.lock \
        && $install --require-hashes --only-binary :all: --no-deps --requirement /tmp/other.lock \
        && $install --no-deps --index-url "$TORCH_INDEX" \
            $(grep --extended-regexp --only-matching '^(torch|torchvision)==[0-9.]+' /requirements/train.lock) \
        && rm /tmp/other.lock; \
    fi \
    && rm -r /tmp/pip
# Relative paths of the shipped configurations (runs/..., .cache/...) lie on the volume of the runs.
RUN mkdir /data /runs && chown 1000:1000 /data /runs && ln -s /runs /home/wcr/runs && ln -s /runs /home/wcr/.cache
WORKDIR /home/wcr
VOLUME ["/data", "/runs"]
COPY configs configs
COPY pipelines pipelines
COPY --from=wheel /installed /
ARG COMMIT=unknown
ARG VERSION=unknown
# The driver's part that torch needs; it does nothing where there is no GPU.
ENV WCR_MED_COMMIT=${COMMIT} \
    NVIDIA_DRIVER_CAPABILITIES=compute,utility
LABEL org.opencontainers.image.title="WCR-Med, training" \
      org.opencontainers.image.description="Train, prune, evaluate and export medical segmentation networks; for research use only" \
      org.opencontainers.image.licenses="Apache-2.0" \
      org.opencontainers.image.version="${VERSION}" \
      org.opencontainers.image.revision="${COMMIT}"
USER 1000:1000
ENTRYPOINT ["wcr-med"]
CMD ["--help"]

FROM base AS runtime
# EXTRA=dicom reads and writes DICOM, too. The packages' own tests are left out.
ARG EXTRA=
RUN --mount=type=bind,source=requirements,target=/requirements \
    python3 -m venv --without-pip /opt/venv \
    && python3 -m venv /tmp/pip \
    && /tmp/pip/bin/pip --python /opt/venv/bin/python install --require-hashes --only-binary :all: \
        --requirement "/requirements/${EXTRA:-runtime}.lock" \
    && rm -r /tmp/pip \
    && find /opt/venv -type d -name tests -prune -exec rm -r {} +
WORKDIR /home/wcr
COPY --from=wheel /installed /
ARG COMMIT=unknown
ARG VERSION=unknown
ENV WCR_MED_COMMIT=${COMMIT}
LABEL org.opencontainers.image.title="WCR-Med, runtime" \
      org.opencontainers.image.description="Segment medical images with an exported network; for research use only" \
      org.opencontainers.image.licenses="Apache-2.0" \
      org.opencontainers.image.version="${VERSION}" \
      org.opencontainers.image.revision="${COMMIT}"
USER 1000:1000
ENTRYPOINT ["wcr-med"]
CMD ["infer", "--help"]
