# Two images: `train` does everything, `runtime` only segments (no PyTorch). Both run as a non-root user.
#   docker build --target train --tag wcr-med:train .
#   docker build --target runtime --tag wcr-med:runtime .
ARG BASE=python:3.12-slim-bookworm

# hadolint ignore=DL3006
FROM ${BASE} AS base
ENV PIP_NO_CACHE_DIR=1 \
    PIP_DISABLE_PIP_VERSION_CHECK=1 \
    PYTHONDONTWRITEBYTECODE=1 \
    PYTHONUNBUFFERED=1
RUN groupadd --gid 1000 wcr && useradd --uid 1000 --gid wcr --create-home wcr

FROM base AS wheel
# hadolint ignore=DL3008 # any compiler of the release will do
RUN apt-get update \
    && apt-get install --yes --no-install-recommends cmake g++ ninja-build \
    && rm -rf /var/lib/apt/lists/*
WORKDIR /src
COPY pyproject.toml README.md LICENSE ./
COPY wcr_med wcr_med
RUN pip wheel --no-deps --wheel-dir /wheels .

FROM base AS train
ARG COMMIT=unknown
ENV WCR_MED_COMMIT=${COMMIT} \
    MPLCONFIGDIR=/tmp/matplotlib
COPY --from=wheel /wheels /wheels
# hadolint ignore=DL3013 # the wheel is the one just built
RUN wheel="$(echo /wheels/*.whl)" && pip install "${wheel}[train]" && rm -r /wheels
COPY configs /home/wcr/configs
COPY pipelines /home/wcr/pipelines
RUN mkdir /data /runs && chown wcr:wcr /data /runs
USER 1000:1000
WORKDIR /home/wcr
VOLUME ["/data", "/runs"]
ENTRYPOINT ["wcr-med"]
CMD ["--help"]

FROM base AS runtime
COPY --from=wheel /wheels /wheels
RUN pip install /wheels/*.whl && rm -r /wheels
USER 1000:1000
WORKDIR /home/wcr
ENTRYPOINT ["wcr-med"]
CMD ["infer", "--help"]
