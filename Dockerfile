# The service and the ingestion worker in one image: no torch, no compiler, no root; the models are part of it.
#
#   docker build -t domicile:local .
#   docker build -t domicile:local --secret id=pip.conf,src=$HOME/.config/pip/pip.conf .    # your own package index
#   docker build -t domicile:local --build-arg TORCH_INDEX=URL .            # an index of CPU builds of torch
#   docker build -t domicile:local --build-context models=.domicile/models .     # models that you built before
#
# Everything is installed from hash-locked files, wheels only, so that no code of a package runs while it is installed.
# torch alone has no hash: its builds for CPUs and for GPUs share one version. Its stage is thrown away.

FROM python:3.11-slim-bookworm AS python
# The secret is a file that need not be there; what an index needs in passwords never becomes part of a layer.
ENV ORT_DISABLE_TELEMETRY=1 \
    PIP_CACHE_DIR=/var/cache/pip \
    PIP_CONFIG_FILE=/run/secrets/pip.conf \
    PIP_DISABLE_PIP_VERSION_CHECK=1 \
    PIP_NO_INPUT=1 \
    PIP_ROOT_USER_ACTION=ignore
WORKDIR /build


# This project's wheel.
FROM python AS wheel
COPY requirements/tools.lock ./
RUN --mount=type=secret,id=pip.conf --mount=type=cache,target=/var/cache/pip \
    python -m venv /opt/tools \
 && /opt/tools/bin/python -m pip install --no-deps --require-hashes --only-binary :all: -r tools.lock
COPY pyproject.toml README.md ./
COPY src src
COPY ingest ingest
COPY eval eval
RUN /opt/tools/bin/python -m pip wheel --no-cache-dir --no-deps --no-index --no-build-isolation --wheel-dir /dist .


# The model artefacts. They are exported and quantised here, where torch is, and checked against the reference.
FROM python AS models-build
ARG TORCH_INDEX=""
COPY requirements/build.lock requirements/torch.txt ./
# torch comes after the lock, which holds all that a CPU build of it needs; a GPU build brings its own libraries along.
RUN --mount=type=secret,id=pip.conf --mount=type=cache,target=/var/cache/pip \
    python -m venv /opt/env \
 && /opt/env/bin/python -m pip install --no-deps --require-hashes --only-binary :all: -r build.lock \
 && /opt/env/bin/python -m pip install --only-binary :all: ${TORCH_INDEX:+--extra-index-url "$TORCH_INDEX"} -r torch.txt
RUN --mount=type=secret,id=pip.conf --mount=type=cache,target=/build/home/cache \
    --mount=type=bind,from=wheel,source=/dist,target=/dist \
    /opt/env/bin/python -m pip install --no-cache-dir --no-deps --no-index /dist/*.whl \
 && /opt/env/bin/domicile --home /build/home models build \
 && /opt/env/bin/domicile --home /build/home models verify \
 && rm -f /build/home/models/.build.lock \
 && chmod -R a=rX /build/home/models


# A stage of its own, so that `--build-context models=FOLDER` can take its place.
FROM scratch AS models
COPY --from=models-build /build/home/models/ /


# What serving needs, without pip. LOCK=hosted.lock adds what calls hosted providers; without sinks it need not be there.
FROM python AS dependencies
ARG LOCK=runtime.lock
COPY requirements/runtime.lock requirements/hosted.lock ./
RUN --mount=type=secret,id=pip.conf --mount=type=cache,target=/var/cache/pip \
    python -m venv --without-pip /opt/domicile/env \
 && python -m pip --python /opt/domicile/env/bin/python install \
      --no-deps --require-hashes --only-binary :all: -r "$LOCK"


FROM python:3.11-slim-bookworm AS runtime
ARG VERSION=0.1.0
ARG REVISION=""
LABEL org.opencontainers.image.title="domicile" \
      org.opencontainers.image.description="Answers questions over an organisation's documents and guarantees where each byte may travel." \
      org.opencontainers.image.licenses="Apache-2.0" \
      org.opencontainers.image.version="$VERSION" \
      org.opencontainers.image.revision="$REVISION"

# Fixed numbers: volumes and Kubernetes' runAsNonRoot know users by number only.
RUN groupadd --gid 10001 domicile \
 && useradd --uid 10001 --gid 10001 --no-log-init --no-create-home --home-dir /var/lib/domicile --shell /usr/sbin/nologin domicile \
 && install -d -o 10001 -g 10001 -m 0700 /var/lib/domicile

# From what changes least to what changes most; the wheel's own layer is small.
COPY --from=models / /opt/domicile/models/
COPY --from=dependencies /opt/domicile/env /opt/domicile/env
COPY --chmod=0555 deploy/start-api /opt/domicile/bin/start-api
RUN --mount=type=bind,from=wheel,source=/dist,target=/dist \
    python -m pip --python /opt/domicile/env/bin/python install --no-cache-dir --no-deps --no-index /dist/*.whl

# The models are named by path: a home on a fresh volume, or on one that an older image filled, then needs no copy of
# them. Your own model: mount its folder and set the same variable (the environment outranks domicile.toml).
ENV PATH=/opt/domicile/env/bin:/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin \
    PYTHONDONTWRITEBYTECODE=1 \
    PYTHONUNBUFFERED=1 \
    HF_HUB_OFFLINE=1 \
    HF_HUB_DISABLE_TELEMETRY=1 \
    ORT_DISABLE_TELEMETRY=1 \
    DOMICILE_HOME=/var/lib/domicile \
    DOMICILE_MODELS__EMBEDDER=/opt/domicile/models/all-minilm-l6-v2 \
    DOMICILE_MODELS__LLM=/opt/domicile/models/smollm2-135m

USER 10001:10001
WORKDIR /var/lib/domicile
VOLUME /var/lib/domicile
EXPOSE 8000

# http.client knows no proxy variables, which could send the question elsewhere. Loading is fast but a large index is
# hashed before the first answer, hence the long start.
HEALTHCHECK --interval=15s --timeout=5s --start-period=120s --retries=3 \
    CMD ["python", "-c", "import http.client as h; c = h.HTTPConnection('127.0.0.1', 8000, timeout=4); c.request('GET', '/readyz'); raise SystemExit(c.getresponse().status != 200)"]

# Other machines can reach this address, so the service starts only once there is a key: `domicile keys create` in the
# same volume, or /opt/domicile/bin/start-api instead of this entry point, which sees to that.
ENTRYPOINT ["domicile"]
CMD ["serve", "--host", "0.0.0.0", "--port", "8000"]
