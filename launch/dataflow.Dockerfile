# The workers' image for Dataflow and other runners with containers, built from the repository root:
#
#   docker build -f launch/dataflow.Dockerfile -t IMAGE . && docker push IMAGE
#
# The Beam image's tag is that of requirements/base.lock: driver and workers must be of one version.
FROM apache/beam_python3.11_sdk:2.77.0
COPY requirements/base.lock /limbeck/requirements/
RUN pip install --no-cache-dir --require-hashes -r /limbeck/requirements/base.lock
COPY pyproject.toml README.md /limbeck/
COPY limbeck /limbeck/limbeck
COPY prep /limbeck/prep
COPY beam_pipelines /limbeck/beam_pipelines
COPY extract /limbeck/extract
COPY train /limbeck/train
COPY launch /limbeck/launch
RUN pip install --no-cache-dir --no-deps /limbeck
ENTRYPOINT ["/opt/apache/beam/boot"]
