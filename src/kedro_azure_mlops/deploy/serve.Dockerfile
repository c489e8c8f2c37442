# The image of online deployments, built by Azure ML from build/deployment/environment/: this file,
# serve.txt and, if the lock names the plugin, wheels/. `kedro mlops deploy online` fills in IMAGE
# from mlops.yml. Model and code are mounted by Azure ML, which names them in AZUREML_MODEL_DIR,
# AML_APP_ROOT, AZUREML_ENTRY_SCRIPT.
ARG IMAGE
FROM ${IMAGE}

COPY . /tmp/build/
RUN python -m pip install --no-cache-dir --require-hashes --find-links /tmp/build/wheels \
        -r /tmp/build/serve.txt && \
    useradd --create-home --uid 1000 server
USER 1000
EXPOSE 5001
# not azmlinfsrv: it would start a worker for each core, each with a model of its own
CMD ["gunicorn", "--bind", "0.0.0.0:5001", "--workers", "1", "--threads", "4", \
     "azureml_inference_server_http.server.entry:app"]
