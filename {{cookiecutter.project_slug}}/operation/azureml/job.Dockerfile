# The image of cloud jobs, built by Azure ML from build/environment/: this file and the locks.
# `provision` and `submit` fill in IMAGE and PYTHON from azureml.yml. What you add here (apt-get
# install ...) makes a new version of the environment by itself.
ARG IMAGE
FROM ${IMAGE}
ARG PYTHON

# conda is in Azure ML's images, its default channel is not free for all companies; an older pip
# stumbles over extras of locked packages
ENV CONDA_PREFIX=/azureml-envs/project
RUN conda create --yes --quiet --prefix ${CONDA_PREFIX} --override-channels --channel conda-forge \
        python=${PYTHON} "pip>=24" && \
    conda clean --all --yes
ENV PATH=${CONDA_PREFIX}/bin:${PATH}

COPY run.txt job.txt /tmp/
RUN python -m pip install --no-cache-dir --require-hashes -r /tmp/run.txt -r /tmp/job.txt
