# The image of cloud jobs, built by Azure ML from build/environment/: this file, the locks, and
# the wheels that are on no index. IMAGE, PYTHON and LOCKS are filled in from azureml.yml. A project
# that needs more (apt-get install ...) copies this file and names it: environment.dockerfile. LOCKS
# begins with --require-hashes where every lock holds hashes.
ARG IMAGE
FROM ${IMAGE}
ARG PYTHON
ARG LOCKS

# conda is in Azure ML's images, its default channel is not free for all companies; an older pip
# stumbles over extras of locked packages
ENV CONDA_PREFIX=/azureml-envs/project
RUN conda create --yes --quiet --prefix ${CONDA_PREFIX} --override-channels --channel conda-forge \
        python=${PYTHON} "pip>=24" && \
    conda clean --all --yes
ENV PATH=${CONDA_PREFIX}/bin:${PATH}

# wheels/ is there if a lock names one of its wheels
COPY . /tmp/environment/
WORKDIR /tmp/environment
# LOCKS are hashed locks (-r ...), which hadolint cannot see
# hadolint ignore=DL3013,SC2086
RUN mkdir -p wheels && \
    python -m pip install --no-cache-dir --find-links wheels ${LOCKS}
WORKDIR /
