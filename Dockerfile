# CPU:  docker build -t coupling .
# GPU:  docker build -t coupling --build-arg BASE=nvidia/cuda:12.8.1-runtime-ubuntu24.04 --build-arg INDEX=https://pypi.org/simple .
# Run:  docker run --rm --user "$(id -u):$(id -g)" -v "$PWD":/work coupling run /examples/faces.yaml
#       (add --gpus all for a GPU; --user gives you the files that it writes)
ARG BASE=python:3.12-slim
FROM ${BASE}
ARG INDEX=https://download.pytorch.org/whl/cpu
SHELL ["/bin/bash", "-o", "pipefail", "-c"]
# The GPU base has no Python of its own.
# hadolint ignore=DL3008
RUN if ! command -v python3 > /dev/null || ! python3 -m venv --help > /dev/null; then \
      apt-get update && apt-get install --yes --no-install-recommends python3 python3-venv \
      && rm -rf /var/lib/apt/lists/*; \
    fi \
    && python3 -m venv /opt/coupling
ENV PATH=/opt/coupling/bin:$PATH PIP_NO_CACHE_DIR=1 PIP_DISABLE_PIP_VERSION_CHECK=1
COPY . /src
# Not editable, so that the image needs no sources: a wheel of each distribution.
RUN pip install --extra-index-url "${INDEX}" -c /src/constraints.txt \
      "/src[onnx,plots,tensorboard,video]" /src/plugins/coupling-digits /src/plugins/coupling-faces \
      /src/plugins/coupling-rgbd /src/plugins/coupling-signals /src/plugins/coupling-explore \
    && useradd --create-home --uid 10001 coupling && mkdir /work && chown 10001 /work \
    && cp -r /src/examples /examples
USER 10001
WORKDIR /work
# HOME is where every user may write.
ENV COUPLING_DATA=/work/data HOME=/tmp
ENTRYPOINT ["coupling"]
CMD ["--help"]
